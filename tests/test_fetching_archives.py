"""Archives: what is taken, and what is refused before the first byte is written."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import tarfile
import time
import tracemalloc
from pathlib import Path

import pytest

from drawn_archives import END, file, folder, header, long_name, packed, padded, pax
from medpipe.fetching import archives, member_names
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
        ["out"],
    )
    return str(caught.value)


def refused(archive: Path, reason: str) -> str:
    return f"{archive} is refused: {reason}. Nothing was extracted; get it again."


def damaged(archive: Path, reason: str) -> str:
    return (
        f"{archive} is damaged or not a .tar.gz: {reason}. Nothing was extracted; get the archive "
        "again."
    )


ONE = "where capitals or the spelling of accents don't count"
LONG = "x" * 256
DEEP = "/".join("d" * 33)
REFUSED = {
    "up": (file("../out"), "its member '../out' leads out of the folder"),
    "up from within": (file("set/../../out"), "its member 'set/../../out' leads out of the folder"),
    "absolute": (file("/etc/out"), "its member '/etc/out' leads out of the folder"),
    "backslash": (file("..\\out"), "its member '..\\\\out' leads out of the folder"),
    "drive": (file("C:out"), "its member 'C:out' leads out of the folder"),
    "up, by a pax name": (
        pax(path="../out") + file("set/fine"),
        "its member '../out' leads out of the folder",
    ),
    "up, by a long name": (
        long_name("../out") + file("set/fine"),
        "its member '../out' leads out of the folder",
    ),
    "up, by a prefix": (
        header("out", before=b"set/.."),
        "its member 'set/../out' leads out of the folder",
    ),
    "symbolic link": (header("set/l", kind=b"2"), "its member 'set/l' is a link"),
    "hard link": (header("set/l", kind=b"1"), "its member 'set/l' is a link"),
    "character device": (
        header("set/d", kind=b"3"),
        "its member 'set/d' is neither a file nor a folder",
    ),
    "pipe": (header("set/p", kind=b"6"), "its member 'set/p' is neither a file nor a folder"),
    "unknown kind": (
        header("set/p", kind=b"Z"),
        "its member 'set/p' is neither a file nor a folder",
    ),
    "sparse": (header("set/s", kind=b"S"), "its member 'set/s' has holes"),
    "sparse, by pax": (
        pax(GNU__sparse__size="9") + file("set/s"),
        "a member of it has holes",
    ),
    "twice": (file("set/a.png"), "it holds 'set/a.png' twice"),
    "capitals": (file("set/A.png"), f"its members 'set/a.png' and 'set/A.png' are one file {ONE}"),
    "capitals of a folder": (
        file("Set/c.png"),
        f"its members 'set' and 'Set' are one file {ONE}",
    ),
    "accents": (
        file("set/\u00e9.png") + file("set/e\u0301.png"),
        f"its members 'set/\\xe9.png' and 'set/e\\u0301.png' are one file {ONE}",
    ),
    "folded letters": (
        file("set/\u00df.png") + file("set/SS.png"),
        f"its members 'set/\\xdf.png' and 'set/SS.png' are one file {ONE}",
    ),
    "a file, then a folder": (
        file("set/a.png/b"),
        "'set/a.png' is a file and a folder in it",
    ),
    "a folder, then a file": (file("set"), "'set' is a file and a folder in it"),
    "a listed folder over a file": (
        folder("set/A.png"),
        "'set/a.png' is a file and a folder in it",
    ),
    "long part": (
        long_name(f"set/{LONG}") + file("x"),
        f"its member {'set/' + 93 * 'x'!r}... has a part of more than 255 bytes in its name",
    ),
    "long part in bytes": (
        pax(path="\u00e9" * 128) + file("x"),
        f"its member {97 * chr(0xE9)!r}... has a part of more than 255 bytes in its name",
    ),
    "long path": (
        pax(path="/".join(["y" * 99] * 11)) + file("x"),
        f"its member {97 * 'y'!r}... has a name of more than 1,024 bytes",
    ),
    "deep": (file(DEEP), f"its member {DEEP!r} lies more than 32 folders deep"),
    "control character": (
        file("set/a\nb"),
        "its member 'set/a\\nb' has a character that is not seen",
    ),
    "turned text": (
        file("set/\u202egnp.exe"),
        "its member 'set/\\u202egnp.exe' has a character that is not seen",
    ),
    "nothing in a pax name": (
        pax(path=b"set/a\0b") + file("x"),
        "its member 'set/a\\x00b' has a character that is not seen",
    ),
    "device on Windows": (
        file("set/aux.png"),
        "its member 'set/aux.png' has the name of a device on Windows",
    ),
    "dot at the end": (
        file("set/a."),
        "its member 'set/a.' has a name that ends with a dot or a space, which Windows drops",
    ),
    "space at the end": (
        file("set /a"),
        "its member 'set /a' has a name that ends with a dot or a space, which Windows drops",
    ),
    "the marker's name": (
        file(".Medpipe-complete.json"),
        "its member '.Medpipe-complete.json' has a name that medpipe itself writes",
    ),
    "not UTF-8": (file(b"set/\xff"), "the name b'set/\\xff' in it is not UTF-8"),
    "no name": (file(""), "a member of it has no name"),
    "a file without a name": (file("./"), "its member './' is a file and has the name of a folder"),
    "a file at the top": (file("."), "its member '.' has no name"),
    "negative size": (
        header("set/n", size_field=b"\xff" * 12),
        "a member of it has a negative size",
    ),
    "negative size by pax": (
        pax(size="-512") + file("set/n"),
        "a member of it has a negative size",
    ),
    "huge size": (
        header("set/h", size_field=b"\x80" + b"\x7f" * 11),
        "it unpacks to more than 2,000,000,000 bytes (most_bytes)",
    ),
    "huge size by pax": (
        pax(size="9" * 30) + file("set/n"),
        "it unpacks to more than 2,000,000,000 bytes (most_bytes)",
    ),
    "folder with content": (
        header("set/f", 5, b"5") + padded(b"image"),
        "its folder 'set/f' has content",
    ),
    "pax header of gigabytes": (
        header("pax", BIG, b"x"),
        "an extended header in it has 8,589,934,591 bytes, and none needs more than 1,048,576",
    ),
    "long name of gigabytes": (
        header("././@LongLink", BIG, b"L"),
        "an extended header in it has 8,589,934,591 bytes, and none needs more than 1,048,576",
    ),
    "many pax headers": (
        2 * pax(comment="x") + file("set/x"),
        "a member of it has two extended headers of one kind",
    ),
    "two names": (
        long_name("set/one") + pax(path="set/two") + file("set/three"),
        "a member of it has two names",
    ),
    "two sizes": (
        header("pax", 22, b"x") + padded(b"11 size=10\n11 size=20\n") + file("set/x"),
        "a member of it has two sizes",
    ),
    "a name for all": (
        pax(b"g", path="set/all") + file("set/x"),
        "an extended header in it sets the path of all members",
    ),
    "a size for all": (
        pax(b"g", size="5") + file("set/x"),
        "an extended header in it sets the size of all members",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_archives_are_refused_whole(case: str, tmp_path: Path) -> None:
    blocks, reason = REFUSED[case]
    archive = packed(tmp_path / "in.tar.gz", GOOD, blocks)
    assert message(archive) == refused(archive, reason)


DAMAGED = {
    "no end mark": (GOOD, b"", "it ends before its end mark"),
    "cut inside a member": (GOOD + header("set/c", 9), b"123", "it ends before its end mark"),
    "cut inside the padding": (
        GOOD + header("set/c", 9),
        b"123456789",
        "it ends before its end mark",
    ),
    "cut inside a header": (GOOD, b"set/c", "it ends before its end mark"),
    "wrong header": (GOOD + b"x" * 512, END, "a member's header is wrong"),
    "header that was changed": (
        GOOD + header("set/c").replace(b"set/c", b"set/d"),
        END,
        "a member's header is wrong",
    ),
    "size without digits": (
        GOOD + header("set/c", size_field=b"+0000000005\0"),
        END,
        "a member's size is no number",
    ),
    "pax size without digits": (
        GOOD + pax(size="1_0") + file("set/c"),
        END,
        "a member's size is no number",
    ),
    "pax header without a member": (
        GOOD + pax(comment="x"),
        END,
        "an extended header has no member",
    ),
    "pax record that is too long": (
        GOOD + header("pax", 9, b"x") + padded(b"99 path=a") + file("set/c"),
        END,
        "an extended header is wrong",
    ),
    "pax record without a length": (
        GOOD + header("pax", 9, b"x") + padded(b"path=aaaa") + file("set/c"),
        END,
        "an extended header is wrong",
    ),
    "pax record of no length": (
        GOOD + header("pax", 9, b"x") + padded(b"0 path=a\n") + file("set/c"),
        END,
        "an extended header is wrong",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archives_are_refused_whole(case: str, tmp_path: Path) -> None:
    blocks, end, reason = DAMAGED[case]
    archive = packed(tmp_path / "in.tar.gz", blocks, end=end)
    assert message(archive) == damaged(archive, reason)


def test_archives_that_hold_too_much(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    assert message(archive, most_members=2) == refused(
        archive, "it holds more than 2 members (most_members)"
    )
    assert message(archive, most_bytes=4) == refused(
        archive, "it unpacks to more than 4 bytes (most_bytes)"
    )
    out = extract_archive(archive, tmp_path / "out" / "set", most_members=3, most_bytes=5)
    assert listed(out) == [".medpipe-complete.json", "set", "set/a.png", "set/b.png"]


def test_extended_headers_count_as_bytes(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", *[pax(comment="x" * 900) + file("a")], GOOD)
    assert message(archive, most_bytes=500) == refused(
        archive, "it unpacks to more than 500 bytes (most_bytes)"
    )


def test_the_top_named_very_often_counts_as_members(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", 50 * folder("./"))
    assert message(archive, most_members=49) == refused(
        archive, "it holds more than 49 members (most_members)"
    )


def test_bombs(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", file("zeros", bytes(17 << 20)))
    reason = "it unpacks to more than 200 times its own size (most_ratio)"
    assert message(archive) == refused(archive, reason)
    reason = "it unpacks to more than 900 times its own size (most_ratio)"
    assert message(archive, most_ratio=900) == refused(archive, reason)
    assert extract_archive(archive, tmp_path / "out" / "set", most_ratio=2000)


def test_what_follows_the_end(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD, end=END + bytes(9000))
    assert listed(extract_archive(archive, tmp_path / "padded"))
    shutil.rmtree(tmp_path / "padded")
    after = refused(archive, "something follows its end")
    packed(archive, GOOD, end=END + file("set/hidden"))
    assert message(archive) == after
    packed(archive, GOOD)
    whole = archive.read_bytes()
    for more in (b"#!/bin/sh", whole, b"\0\0x", bytes(200_000) + b"x", b"\0" + whole):
        archive.write_bytes(whole + more)
        assert message(archive) == after
    archive.write_bytes(whole + gzip.compress(bytes(20_000_000)))
    assert message(archive, most_ratio=10**6) == refused(archive, "it goes on after its end")


def test_a_sum_of_minus_one_is_not_a_missing_sum(tmp_path: Path) -> None:
    rest = b"PK\x03\x04" + b"\xff" * 419 + bytes(81)  # as signed bytes, with 8 spaces: -1
    assert sum(rest) - 256 * 419 + 8 * 32 == -1
    archive = tmp_path / "in.tar.gz"
    archive.write_bytes(gzip.compress(rest[:148] + b"no sum\0 " + rest[148:] + bytes(1024)))
    assert message(archive) == refused(archive, "it holds zip data in place of a tar archive")


def test_files_that_are_no_tar_gz(tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    archive.write_bytes(b"<html>Not found</html>")
    assert message(archive) == damaged(archive, "it is no gzip file")
    archive.write_bytes(b"")
    assert message(archive) == damaged(archive, "it is no gzip file")
    whole = packed(archive, GOOD).read_bytes()
    for length in (3, 9, 20, len(whole) - 9, len(whole) - 1):
        archive.write_bytes(whole[:length])
        assert message(archive) == damaged(archive, "it is cut")
    for place, why in (
        (3, "unknown header flags set"),
        (10, "invalid block type"),
        (-8, "incorrect data check"),
        (-4, "incorrect length check"),
    ):
        spoilt = bytearray(whole)
        spoilt[place] = 0xFF  # none of them is that
        archive.write_bytes(spoilt)
        assert message(archive) == damaged(archive, f"it can't be unpacked ({why})")
    for name, inner in (
        ("gzip", whole),
        ("bzip2", bz2.compress(os.urandom(900))),
        ("zip", b"PK\x03\x04" + os.urandom(600)),
    ):
        archive.write_bytes(gzip.compress(inner + bytes(600)))
        reason = f"it holds {name} data in place of a tar archive"
        assert message(archive) == refused(archive, reason)


def test_several_gzip_files_one_behind_the_other_are_one(tmp_path: Path) -> None:
    tar = GOOD + END
    archive = tmp_path / "in.tar.gz"
    pieces = [gzip.compress(tar[start : start + 700]) for start in range(0, len(tar), 700)]
    archive.write_bytes(b"".join(pieces) + gzip.compress(b"") + bytes(200_000))
    assert listed(extract_archive(archive, tmp_path / "out"))


def test_a_name_of_megabytes_in_the_header_takes_no_time(tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    archive.write_bytes(b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (50 << 20))
    began = time.monotonic()
    assert message(archive) == damaged(archive, "it is cut")
    assert time.monotonic() - began < 2


def test_an_archive_that_can_not_be_read(tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    assert message(archive) == f"There is no archive {archive}. Get it first."


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04", "a zip archive"),
        (b"\xfd7zXZ\0", "packed by xz"),
        (b"BZh91", "packed by bzip2"),
    ],
)
def test_other_archives_are_called_by_their_names(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    archive = tmp_path / "in.tar.gz"
    archive.write_bytes(content)
    assert message(archive) == damaged(archive, f"it is {kind}")


def test_an_extended_header_is_not_read_into_memory(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", header("pax", 100 << 20, b"x"), bytes(100 << 20))
    tracemalloc.start()
    try:
        message(archive, most_ratio=10**6)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    state = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: state)
    assert message(archive) == (
        f"{archive} can't be extracted to {tmp_path / 'out' / 'set'}: it takes 12,293 bytes, and "
        "10,000 are free. Make room on that disk, or choose another one."
    )


def test_an_archive_that_changes_between_the_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    look = archives.look_through

    def change(*arguments: object) -> object:
        found = look(*arguments)  # type: ignore[arg-type]
        packed(archive, folder("set"), file("set/a.png"), file("../out", b""))
        return found

    monkeypatch.setattr(archives, "look_through", change)
    told = message(archive)
    assert told == refused(archive, "its member '../out' leads out of the folder")
    monkeypatch.setattr(archives, "look_through", look)

    def shorten(*arguments: object) -> object:
        found = look(*arguments)  # type: ignore[arg-type]
        packed(archive, folder("set"), file("set/a.png"), file("set/c.png", b""))
        return found

    packed(archive, GOOD)
    monkeypatch.setattr(archives, "look_through", shorten)
    assert message(archive) == damaged(archive, "it changed while it was read")


def content_of(directory: Path) -> dict[str, bytes | None]:
    return {
        name: (directory / name).read_bytes() if (directory / name).is_file() else None
        for name in listed(directory)
        if name != member_names.MARKER
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
            info.size, info.mtime = 700 * number, 1.5
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    out = extract_archive(archive, tmp_path / "out")
    found = content_of(out)
    assert {name for name, content in found.items() if content is not None} == set(names)
    assert all(found[name] == bytes([n]) * 700 * n for n, name in enumerate(names))
    assert (out / "empty").is_dir()
    assert (out / "a/b/c.txt").stat().st_mode & 0o111 == 0


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
    marker = json.loads((out / member_names.MARKER).read_text())
    assert marker["files"] == 2
    assert marker["bytes"] == 5
    assert marker["names"] == ["set"]
    monkeypatch.setattr(archives, "look_through", None)
    extract_archive(archive, out)
    os.utime(archive, (1, 1))  # a copy, which is read and known again
    extract_archive(archive, out)


def test_a_folder_that_is_not_whole_is_made_again(tmp_path: Path) -> None:
    archive = packed(tmp_path / "in.tar.gz", GOOD)
    out = extract_archive(archive, tmp_path / "out")
    whole = (out / member_names.MARKER).read_bytes()
    for broken in (b"", whole[:40], b"[]", b'{"format": 1}', b"\xff", b"[" * 100_000):
        (out / member_names.MARKER).write_bytes(broken)
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
        f"{out} holds what another archive than {archive} held. Remove it, or choose another "
        "folder."
    )
    assert "set/c.png" in content_of(extract_archive(archive, out, replace=True))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError) as caught:
        extract_archive(archive, mine)
    assert str(caught.value) == (
        f"{mine} is there already and was not extracted from {archive}. Remove it, or choose "
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
