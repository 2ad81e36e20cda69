"""Archives: what is taken, and what is refused before the first byte is written."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from drawn_archives import END, file, folder, header, long_name, packed, padded, pax
from medpipe.fetching import archives
from medpipe.plugin import DataError, extract_archive

GOOD = folder("set") + file("set/a.png") + file("set/b.png", b"")
BIG = 8**11 - 1
"""The largest size that eleven digits announce: 8 GiB."""


def listed(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def message(archive: Path, **limits: int) -> str:
    """What refuses it; nothing is left then."""
    target = archive.parent / "out" / "set"
    with pytest.raises(DataError) as caught:
        extract_archive(archive, target, **limits)
    assert listed(archive.parent) in (
        ["in.tar.gz", "out"],
        [],
    )
    return str(caught.value)


def refused(archive: Path, reason: str) -> str:
    return f"{archive} is refused: {reason}. Nothing was extracted; get it again."


def damaged(archive: Path, reason: str = "") -> Any:
    """The message for a damaged archive; the reason, in part, where it is not tarfile's own."""
    start = re.escape(f"{archive} is damaged or not a .tar.gz: ")
    end = re.escape(". Nothing was extracted; get the archive again.")
    return Matching(f"{start}.*{re.escape(reason)}.*{end}")


@attrs.frozen(eq=False)
class Matching:
    """Equal to each text of a form."""

    form: str

    def __eq__(self, other: object) -> bool:
        return re.fullmatch(self.form, str(other)) is not None

    __hash__ = None  # type: ignore[assignment]


def one(first: str, second: str) -> str:
    return f"its members {first!a} and {second!a} are the same file on some file systems"


OUT = "leads out of the folder"
LINK = "is neither a file nor a folder"
UNSEEN = "has an invisible character"
TOO_LONG = "has too long a name"
WINDOWS = "has a name that Windows does not take"
HEADER = "an extended header has more than 65,536 bytes"
MEMBERS = "members (most_members)"
BYTES = "bytes (most_bytes, most_ratio)"
TOO_MUCH = f"it holds more than 1,500 {BYTES}"
FOR_ALL = "an extended header is for all members"
HOLES = "a member is a sparse file"
DEEP = "/".join("d" * 33)
REFUSED = {
    "up": (file("../out"), f"its member '../out' {OUT}"),
    "up from within": (file("set/../../out"), f"its member 'set/../../out' {OUT}"),
    "up as a folder": (folder("../out"), f"its member '../out' {OUT}"),
    "absolute": (file("/etc/out"), f"its member '/etc/out' {OUT}"),
    "backslash": (file("..\\out"), f"its member '..\\\\out' {OUT}"),
    "drive": (file("C:out"), f"its member 'C:out' {OUT}"),
    "up, by a pax name": (pax(path="../out") + file("set/fine"), f"its member '../out' {OUT}"),
    "up, by a long name": (long_name("../out") + file("set/fine"), f"its member '../out' {OUT}"),
    "up, by a prefix": (header("out", before=b"set/.."), f"its member 'set/../out' {OUT}"),
    "symbolic link": (header("set/l", kind=b"2"), f"its member 'set/l' {LINK}"),
    "hard link": (header("set/l", kind=b"1"), f"its member 'set/l' {LINK}"),
    "character device": (header("set/d", kind=b"3"), f"its member 'set/d' {LINK}"),
    "block device": (header("set/d", kind=b"4"), f"its member 'set/d' {LINK}"),
    "pipe": (header("set/p", kind=b"6"), f"its member 'set/p' {LINK}"),
    "unknown kind": (header("set/p", kind=b"Z"), f"its member 'set/p' {LINK}"),
    "sparse": (header("set/s", kind=b"S"), HOLES),
    "sparse, by pax 0.0": (pax(GNU__sparse__size="9") + file("set/s"), HOLES),
    "sparse, by pax 0.1": (pax(GNU__sparse__map="0,9") + file("set/s"), HOLES),
    "sparse, by pax 1.0": (
        pax(GNU__sparse__major="1", GNU__sparse__minor="0") + file("set/s"),
        HOLES,
    ),
    "sparse, by Sun's pax": (pax(b"X", GNU__sparse__size="9") + file("set/s"), HOLES),
    "twice": (file("set/a.png"), one("set/a.png", "set/a.png")),
    "capitals": (file("set/A.png"), one("set/a.png", "set/A.png")),
    "capitals of a folder": (file("Set/c.png"), one("set", "Set")),
    "accents": (
        file("set/\u00e9.png") + file("set/e\u0301.png"),
        one("set/\u00e9.png", "set/e\u0301.png"),
    ),
    "accents in another order": (
        file("set/\u03b1\u0345\u0301") + file("set/\u03b1\u0301\u0345"),
        one("set/\u03b1\u0345\u0301", "set/\u03b1\u0301\u0345"),
    ),
    "folded letters": (
        file("set/\u00df.png") + file("set/SS.png"),
        one("set/\u00df.png", "set/SS.png"),
    ),
    "a file, then a folder": (file("set/a.png/b"), one("set/a.png", "set/a.png")),
    "a folder, then a file": (file("set"), one("set", "set")),
    "a listed folder over a file": (folder("set/A.png"), one("set/a.png", "set/A.png")),
    "the marker's name": (
        file(".Medpipe-complete.json"),
        one(".medpipe-complete.json", ".Medpipe-complete.json"),
    ),
    "long part": (
        long_name(f"set/{256 * 'x'}") + file("x"),
        f"its member {'set/' + 93 * 'x'!r}... {TOO_LONG}",
    ),
    "long part in bytes": (
        pax(path="\u00e9" * 128) + file("x"),
        f"its member {97 * chr(0xE9)!a}... {TOO_LONG}",
    ),
    "long path": (
        pax(path="/".join(["y" * 99] * 11)) + file("x"),
        f"its member {97 * 'y'!r}... {TOO_LONG}",
    ),
    "deep": (file(DEEP), f"its member {DEEP!r} {TOO_LONG}"),
    "control character": (file("set/a\nb"), f"its member 'set/a\\nb' {UNSEEN}"),
    "turned text": (file("set/\u202egnp.exe"), f"its member 'set/\\u202egnp.exe' {UNSEEN}"),
    "nothing in a pax name": (
        pax(path=b"set/a\0b") + file("x"),
        f"its member 'set/a\\x00b' {UNSEEN}",
    ),
    "not UTF-8": (file(b"set/\xff"), f"its member 'set/\\udcff' {UNSEEN}"),
    "device on Windows": (file("set/aux.png"), f"its member 'set/aux.png' {WINDOWS}"),
    "dot at the end": (file("set/a."), f"its member 'set/a.' {WINDOWS}"),
    "space at the end": (file("set /a"), f"its member 'set /a' {WINDOWS}"),
    "no name": (file(""), "a member has no name"),
    "a file without a name": (file("./"), "a member has no name"),
    "a file at the top": (file("."), "a member has no name"),
    "a name for all": (pax(b"g", path="set/all") + file("set/x"), FOR_ALL),
    "a size for all": (pax(b"g", size="5") + file("set/x"), FOR_ALL),
    "huge size": (
        header("set/h", size_field=b"\x80" + b"\x7f" * 11),
        f"it holds more than 16,777,216 {BYTES}",
    ),
    "huge size by pax": (
        pax(size="9" * 30) + file("set/n"),
        f"it holds more than 16,777,216 {BYTES}",
    ),
    "pax header of gigabytes": (header("pax", BIG, b"x"), HEADER),
    "pax header a little too long": (pax(comment=65_600 * "x") + file("set/x"), HEADER),
    "long name of gigabytes": (header("././@LongLink", BIG, b"L"), HEADER),
    "long link of gigabytes": (header("././@LongLink", BIG, b"K"), HEADER),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_archives_are_refused_whole(case: str, tmp_path: Path) -> None:
    blocks, reason = REFUSED[case]
    archive = packed(tmp_path / "in.tar.gz", GOOD, blocks)
    assert message(archive) == refused(archive, reason)
    packed(archive, blocks, GOOD)  # what TarFile reads while it is made
    if reason != one("set/a.png", "set/A.png"):
        assert message(archive).startswith(f"{archive} is refused: ")


@pytest.mark.parametrize("case", ["up", "absolute", "symbolic link", "twice", "sparse"])
def test_they_are_refused_by_a_python_without_filters(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = tarfile.TarFile.extract

    def without(self: Any, member: Any, path: Any = "", set_attrs: bool = True) -> None:
        extract(self, member, path, set_attrs)

    monkeypatch.setattr(tarfile.TarFile, "extract", without)
    monkeypatch.delattr(tarfile, "data_filter")
    test_hostile_archives_are_refused_whole(case, tmp_path)
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    out = extract_archive(archive, tmp_path / "out" / "set")
    assert content_of(out) == {"set": None, "set/a.png": b"image", "set/b.png": b""}
    assert (out / "set").stat().st_mode == (tmp_path / "out").stat().st_mode


NEGATIVE = b"\xff" * 10 + b"\xfc\0"
DAMAGED = {
    "no end mark": (GOOD, b""),
    "cut inside a member": (GOOD + header("set/c", 9), b"123"),
    "cut inside the padding": (GOOD + header("set/c", 9), b"123456789"),
    "cut inside a header": (GOOD, b"set/c"),
    "cut inside a pax header": (GOOD + header("pax", 900, b"x"), b"9 path=a\n"),
    "wrong header": (GOOD + b"x" * 512, END),
    "wrong header at the beginning": (b"x" * 512 + GOOD, END),
    "header that was changed": (GOOD + header("set/c").replace(b"set/c", b"set/d"), END),
    "wrong header after a pax header": (GOOD + pax(comment="x") + b"x" * 512, END),
    "size without digits": (GOOD + header("set/c", size_field=b"0000000000x\0"), END),
    "pax size without digits": (GOOD + pax(size="many") + file("set/c"), END),
    "pax header without a member": (GOOD + pax(comment="x"), END),
    "negative size": (GOOD + header("set/n", size_field=NEGATIVE), END),
    "negative size by pax": (GOOD + pax(size="-512") + file("set/n"), END),
    "folder with content": (GOOD + header("set/f", 5, b"5") + padded(b"image"), END),
    "very many pax headers": (GOOD + 2000 * pax(comment="x") + file("set/x"), END),
    "pax records with a number of many digits": (GOOD + pax(a=100 * "1") + file("set/x"), END),
    **{
        f"pax record {number}": (GOOD + header("pax", 9, b"x") + padded(record) + file("c"), END)
        for number, record in enumerate(
            [b"99 path=a", b"path=aaaa", b"0 path=a\n", b"9 path=aa", b"4 path=a\n", b"9 patha\n\n"]
        )
    },
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archives_are_refused_whole(case: str, tmp_path: Path) -> None:
    blocks, end = DAMAGED[case]
    archive = packed(tmp_path / "in.tar.gz", blocks, end=end)
    assert message(archive) == damaged(archive)


def test_archives_that_hold_too_much(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    assert message(archive, most_members=2) == refused(
        archive, "it holds more than 2 members (most_members)"
    )
    assert message(archive, most_bytes=1500) == refused(
        archive, f"it holds more than 1,500 {BYTES}"
    )
    out = extract_archive(archive, tmp_path / "out" / "set", most_members=3, most_bytes=4096)
    assert listed(out) == [".medpipe-complete.json", "set", "set/a.png", "set/b.png"]


def test_extended_headers_count_as_bytes(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", *[pax(comment="x" * 900) + file("a")], GOOD)
    assert message(archive, most_bytes=1500) == refused(
        archive, f"it holds more than 1,500 {BYTES}"
    )


def test_the_top_named_very_often_counts_as_members(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", 50 * folder("./"))
    assert message(archive, most_members=49) == refused(
        archive, "it holds more than 49 members (most_members)"
    )


def test_bombs(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", file("zeros", bytes(17 << 20)))
    size = archive.stat().st_size
    assert message(archive) == refused(archive, f"it holds more than {16 << 20:,} {BYTES}")
    reason = f"it holds more than {1000 * size:,} {BYTES}"
    assert message(archive, most_ratio=1000) == refused(archive, reason)
    assert extract_archive(archive, tmp_path / "out" / "set", most_ratio=2000)


def test_what_follows_the_end(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD, end=END + bytes(9000))
    assert listed(extract_archive(archive, tmp_path / "padded"))
    shutil.rmtree(tmp_path / "padded")
    after = refused(archive, "data follow the end of the archive")
    packed(archive, GOOD, end=END + file("set/hidden"))
    assert message(archive) == after
    packed(archive, GOOD)
    whole = archive.read_bytes()
    archive.write_bytes(whole + whole)
    assert message(archive) == after
    for more in (b"#!/bin/sh", b"\0\0x", bytes(200_000) + b"x"):
        archive.write_bytes(whole + more)
        assert message(archive) == damaged(archive)
    archive.write_bytes(whole + gzip.compress(bytes(20_000_000)))
    assert message(archive) == refused(archive, f"it holds more than {16 << 20:,} {BYTES}")


def test_files_that_are_no_tar_gz(tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    for start in (b"<html>Not found</html>", b"", b"PK\x03\x04", b"\xfd7zXZ\0", b"BZh91"):
        archive.write_bytes(start)
        assert message(archive) == damaged(archive)
    whole = packed(archive, GOOD).read_bytes()
    for length in (3, 9, 20, len(whole) - 9, len(whole) - 1):
        archive.write_bytes(whole[:length])
        assert message(archive) == damaged(archive)
    for place in (3, 10, -8, -4):  # flags, the first block, the checksum and the length at the end
        spoilt = bytearray(whole)
        spoilt[place] = 0xFF  # none of them is that
        archive.write_bytes(spoilt)
        assert message(archive) == damaged(archive)
    spoilt = bytearray(packed(archive, file("a", b"%d" * 99_999 % (*range(99_999),))).read_bytes())
    spoilt[100_000:100_100] = 100 * b"\xff"
    archive.write_bytes(spoilt)
    assert message(archive) == damaged(archive)
    no_header = bytearray(os.urandom(600))
    inners = [whole, bz2.compress(os.urandom(900)), b"PK\x03\x04" + os.urandom(600)]
    for kind in b"S5xgLK0":  # the byte that says what kind of member it is
        no_header[156] = kind
        inners.append(bytes(no_header))
    for inner in inners:
        archive.write_bytes(gzip.compress(inner + bytes(600)))
        assert message(archive) == damaged(archive)


def test_several_gzip_files_one_behind_the_other_are_one(tmp_path: Path) -> None:
    tar = GOOD + END
    archive = tmp_path / "in.tar.gz"
    pieces = [gzip.compress(tar[start : start + 700]) for start in range(0, len(tar), 700)]
    archive.write_bytes(b"".join(pieces) + gzip.compress(b"") + bytes(200_000))
    assert listed(extract_archive(archive, tmp_path / "out"))


def test_a_name_of_megabytes_in_the_header_takes_no_memory(tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    archive.write_bytes(b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (2 << 20))
    assert message(archive) == damaged(archive)


def test_an_archive_that_can_not_be_read(tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    assert message(archive) == f"There is no archive {archive}. Download it first."


MANY = range(300)
HARMFUL: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "announced": lambda: (header("pax", 60 << 20, b"x"), bytes(60 << 20)),
    "a table of holes without an end": lambda: (header("set/s", kind=b"S"), b"\1" * (60 << 20)),
    "holes without an end": lambda: (
        pax(GNU__sparse__major="1", GNU__sparse__minor="0") + file("set/s", b"9" * 40 + b"\n"),
        b"1\n" * (30 << 20),
    ),
    "negative": lambda: (header("pax", 0, b"x", size_field=NEGATIVE), bytes(60 << 20)),
    "digits": lambda: (40 * pax(a=60_000 * "1"), END),
    "records in records": lambda: (
        40 * (header("pax", 60_000, b"x") + padded(30_000 * b"2 ")),
        END,
    ),
    "attributes of many members": lambda: (
        b"".join(pax(uname=60_000 * "u") + file(f"set/{n}") for n in MANY)
        + b"".join(pax(comment=60_000 * "u") + folder("./") for n in MANY),
        header("set/l", kind=b"2"),
    ),
    "many for all": lambda: (
        200 * pax(b"g", **{f"k{n}": "v" for n in range(3000)}) + file("set/x"),
        END,
    ),
}


@pytest.mark.parametrize("case", HARMFUL)
def test_headers_that_cost_much(case: str, tmp_path: Path) -> None:
    """What tarfile would read into memory, or would need minutes for."""
    blocks, rest = HARMFUL[case]()
    archive = packed(tmp_path / "in.tar.gz", blocks, rest)
    began = time.monotonic()
    tracemalloc.start()
    try:
        told = message(archive, most_ratio=10**6)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    link = f"its member 'set/l' {LINK}"
    reasons = [refused(archive, why) for why in (HEADER, HOLES, FOR_ALL, link)]
    assert told in [*reasons, damaged(archive)]
    assert time.monotonic() - began < 10


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    state = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: state)
    assert message(archive) == (
        f"{archive} can't be extracted to {tmp_path / 'out' / 'set'}: it takes 12,293 bytes, and "
        "10,000 are free. Make room on that disk, or choose another one."
    )


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)

    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile, "copyfileobj", fill)
    assert message(archive) == (
        f"{archive} can't be extracted to {tmp_path / 'out' / 'set'}: no space left on device. "
        "Make room on that disk, or choose another one."
    )


def test_an_archive_that_changes_between_the_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    look = archives._look_through

    def change(*arguments: Any) -> object:
        found = look(*arguments)
        packed(archive, folder("set"), file("set/a.png"), file("../out", b"more"))
        return found

    monkeypatch.setattr(archives, "_look_through", change)
    assert message(archive) == damaged(archive)
    packed(archive, GOOD)

    def replace(*arguments: Any) -> object:
        found = look(*arguments)
        packed(tmp_path / "new", GOOD).replace(archive)
        return found

    monkeypatch.setattr(archives, "_look_through", replace)
    assert message(archive) == damaged(archive, "the archive changed while it was read")


def content_of(directory: Path) -> dict[str, bytes | None]:
    return {
        name: (directory / name).read_bytes() if (directory / name).is_file() else None
        for name in listed(directory)
        if name != archives.MARKER
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes_is_taken(form: int, tmp_path: Path) -> None:
    names = ["top.txt", "a/b/c.txt", f"{'d' * 90}/{'e' * 80}/f.txt", ".hidden", "a/with space", "-"]
    if form != tarfile.USTAR_FORMAT:
        names += ["a/\u00fcber.txt", f"{'g' * 200}/{'h' * 200}.txt", "\u60a3\u8005/1.dcm"]
    archive = tmp_path / "in.tar.gz"
    with tarfile.open(archive, "w:gz", format=form) as tar:
        for name in ("./", "empty"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for number, name in enumerate(names):
            info = tarfile.TarInfo(f"./{name}" if number % 2 else name)
            info.size, info.mtime, info.mode = 700 * number, 1.5, 0o4777
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    out = extract_archive(archive, tmp_path / "out")
    found = content_of(out)
    assert {name for name, content in found.items() if content is not None} == set(names)
    assert all(found[name] == bytes([n]) * 700 * n for n, name in enumerate(names))
    assert (out / "empty").is_dir()
    made = (out / "a/b/c.txt").stat()
    assert made.st_mode & 0o7111 == 0
    assert made.st_mtime > 2


def test_old_and_odd_forms_are_taken(tmp_path: Path) -> None:
    old = header("old/", kind=b"\0")
    seven = header("old/seven", 5, b"7") + padded(b"seven")
    spaces = header("old/spaces", size_field=b"         5 \0") + padded(b"image")
    binary = header("old/binary", size_field=b"\x80" + (5).to_bytes(11, "big")) + padded(b"image")
    sized = pax(size="3") + header("old/sized", 0) + padded(b"abc")
    every = pax(b"g", comment="made by git") + file("old/every")
    link = long_name("old/link-target", b"K") + file("old/link")
    prefix = header("name", before=b"old/prefix")
    signed = header("old/\u00fc")  # its two high bytes were added up as negative numbers
    signed = signed[:148] + b"%06o\0 " % (int(signed[148:154], 8) - 512) + signed[156:]
    archive = packed(
        tmp_path / "in.tar.gz", old, seven, spaces, binary, sized, every, link, prefix, signed
    )
    assert content_of(extract_archive(archive, tmp_path / "out")) == {
        "old": None,
        "old/seven": b"seven",
        "old/spaces": b"image",
        "old/binary": b"image",
        "old/sized": b"abc",
        "old/every": b"image",
        "old/link": b"image",
        "old/prefix": None,
        "old/prefix/name": b"",
        "old/\u00fc": b"",
    }


def test_a_whole_folder_is_taken_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    out = extract_archive(archive, tmp_path / "out")
    marker = json.loads((out / archives.MARKER).read_text())
    assert marker["archive"]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert marker["names"] == ["set"]
    monkeypatch.setattr(archives, "_look_through", None)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "sha256_of_file", None)  # it is not even read
        extract_archive(archive, out)
    os.utime(archive, (1, 1))  # a copy, which is read and known again
    extract_archive(archive, out)


def test_a_folder_that_is_not_whole_is_made_again(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    out = extract_archive(archive, tmp_path / "out")
    whole = (out / archives.MARKER).read_bytes()
    for broken in (b"", whole[:40], b"[]", b'{"format": 1}', b"\xff", b"[" * 100_000):
        (out / archives.MARKER).write_bytes(broken)
        (out / "set" / "a.png").unlink()
        extract_archive(archive, out)
        assert content_of(out) == {"set": None, "set/a.png": b"image", "set/b.png": b""}
    shutil.rmtree(out / "set")
    (tmp_path / ".out.0123456789ab.part").mkdir()
    (tmp_path / ".out.more.0123456789ab.part").mkdir()  # of another target
    extract_archive(archive, out)
    assert content_of(out) == {"set": None, "set/a.png": b"image", "set/b.png": b""}
    assert sorted(p.name for p in tmp_path.glob(".out*")) == [
        ".out.more.0123456789ab.part",
    ]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    out = tmp_path / "out"
    out.mkdir()
    extract_archive(archive, out)  # an empty one is nobody's
    packed(archive, GOOD, file("set/c.png"))
    with pytest.raises(DataError) as caught:
        extract_archive(archive, out)
    assert str(caught.value) == (
        f"{out} exists already and was not extracted from {archive}. Remove it, or choose another "
        "folder."
    )
    assert "set/c.png" in content_of(extract_archive(archive, out, replace=True))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError) as caught:
        extract_archive(archive, mine)
    assert str(caught.value) == (
        f"{mine} exists already and was not extracted from {archive}. Remove it, or choose "
        "another folder."
    )
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_what_the_check_raises_leaves_nothing(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)

    def check(staging: Path) -> None:
        assert content_of(staging) == {"set": None, "set/a.png": b"image", "set/b.png": b""}
        raise DataError("no images")

    with pytest.raises(DataError, match=r"^no images$"):
        extract_archive(archive, tmp_path / "out", check=check)
    assert listed(tmp_path) == ["in.tar.gz"]
