"""The archive reader on spoilt and drawn input: an error of medpipe's, or the files and no more.

``MEDPIPE_FUZZ=20000`` tries so many examples of each test in place of a few.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drawn_archives import END, file, folder, header, long_name, padded, pax
from medpipe.fetching import archives
from medpipe.fetching.archives import MARKER
from medpipe.plugin import DataError, extract_archive

EXAMPLES = int(os.environ.get("MEDPIPE_FUZZ", "150"))
LONGEST = 5.0
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _without_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "sync_all", lambda: None)  # or thousands of tests would wait


def everything(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def attempt(content: bytes) -> dict[str, bytes | None] | None:
    """Extract it: what it gave, or None where it was refused. All that must hold is seen to."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "outside").write_bytes(b"untouched")
        archive, target = top / "in.tar.gz", top / "a" / "b" / "out"
        archive.write_bytes(content)
        began = time.monotonic()
        try:
            extract_archive(archive, target, most_bytes=1 << 20, most_members=200)
        except DataError as error:
            found = None
            told = str(error)
            assert told.startswith(f"{archive} ")
            assert told.endswith(".")
            assert len(told.splitlines()) == 1
            assert len(told) < 900
        else:
            found = everything(target)
            assert found.pop(MARKER)
            for path in target.rglob("*"):
                assert not path.is_symlink()
                assert path.is_file() or path.is_dir()
        assert time.monotonic() - began < LONGEST
        shutil.rmtree(target, ignore_errors=True)
        assert everything(top) == {
            "outside": b"untouched",
            "in.tar.gz": content,
            "a": None,
            "a/b": None,
        }
        return found


def real(form: int) -> bytes:
    """An archive as tarfile writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, size in (("set/a.png", 700), (f"set/{'b' * 120}.png", 3), ("set/\u00fc.png", 0)):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = size, 1.5
            tar.addfile(info, io.BytesIO(bytes(range(256)) * 3))
    return buffer.getvalue()


REAL = [real(tarfile.GNU_FORMAT), real(tarfile.PAX_FORMAT)]
PACKED = [gzip.compress(tar, mtime=0) for tar in REAL]
WHOLE = [attempt(content) for content in PACKED]
assert None not in WHOLE

change = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["flip", "cut", "drop", "twice", "set", "insert"]),
    st.binary(min_size=1, max_size=12),
)
changes = st.lists(change, min_size=1, max_size=4)


def changed(content: bytes, how: list[tuple[float, str, bytes]]) -> bytes:
    for where, kind, new in how:
        at = int(where * len(content))
        before, after = content[:at], content[at:]
        if kind == "flip":
            content = before + bytes(byte ^ (1 << new[0] % 8) for byte in after[:1]) + after[1:]
        elif kind == "cut":
            content = before
        elif kind == "drop":
            content = before + after[len(new) :]
        elif kind == "twice":
            content = before + after[:512] + after
        elif kind == "set":
            content = before + new + after[len(new) :]
        else:
            content = before + new + after
    return content


@fuzzed
@given(st.binary(max_size=3000))
@pytest.mark.long
def test_any_bytes(content: bytes) -> None:
    attempt(content)


@fuzzed
@given(st.sampled_from(range(2)), changes)
@pytest.mark.long
def test_a_file_that_was_spoilt(which: int, how: list[tuple[float, str, bytes]]) -> None:
    # What gzip's checksum does not cover is its own header, such as the time.
    assert attempt(changed(PACKED[which], how)) in (None, WHOLE[which])


def read_by_tarfile(tar: bytes) -> dict[str, bytes]:
    """The files of an archive, as tarfile reads them into memory."""
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", encoding="utf-8") as opened:
        return {
            os.path.normpath(member.name): content.read()
            for member in opened
            if (content := opened.extractfile(member)) is not None
        }


def attempt_tar(tar: bytes) -> None:
    """Pack and extract it: it is refused, or gives the files that it holds."""
    found = attempt(gzip.compress(tar, compresslevel=1))
    if found is not None:
        files = {name: content for name, content in found.items() if content is not None}
        assert files == read_by_tarfile(tar)


HEADERS = [
    [at for at in range(len(tar)) if tar[at // 512 * 512 :][257:262] == b"ustar"] for tar in REAL
]
"""The places of the bytes that belong to headers."""


@fuzzed
@pytest.mark.long
@given(st.sampled_from(range(2)), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
def test_a_tar_of_which_a_header_was_spoilt(which: int, where: float, new: int) -> None:
    tar = bytearray(REAL[which])
    tar[HEADERS[which][int(where * len(HEADERS[which]))]] = new
    found = attempt(gzip.compress(bytes(tar), compresslevel=1))
    assert found in (None, WHOLE[which])  # what the header's checksum does not notice is the same


@fuzzed
@pytest.mark.long
@given(st.sampled_from(range(2)), st.integers(0, 1 << 20))
def test_a_tar_that_was_cut_before_it_was_packed(which: int, where: int) -> None:
    tar = REAL[which]
    found = attempt(gzip.compress(tar[: where % len(tar)], compresslevel=1))
    assert found in (None, WHOLE[which])  # only the zeros at the end may be missing


@fuzzed
@pytest.mark.long
@given(st.sampled_from(range(2)), changes)
def test_a_tar_that_was_spoilt_before_it_was_packed(
    which: int, how: list[tuple[float, str, bytes]]
) -> None:
    attempt_tar(changed(REAL[which], how))


def resealed(tar: bytes) -> bytes:
    """The same with right checksums wherever a header may be, so that the reader goes on."""
    blocks = []
    for start in range(0, len(tar), 512):
        block = tar[start : start + 512]
        if block[257:262] == b"ustar" and len(block) == 512:
            total = sum(block[:148]) + 256 + sum(block[156:])
            block = block[:148] + b"%06o\0 " % total + block[156:]
        blocks.append(block)
    return b"".join(blocks)


@fuzzed
@pytest.mark.long
@given(st.sampled_from(range(2)), changes)
def test_a_tar_that_was_spoilt_with_right_checksums(
    which: int, how: list[tuple[float, str, bytes]]
) -> None:
    attempt_tar(resealed(changed(REAL[which], how)))


names = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            ["a", "A", "..", ".", "", "con", "\u00e9", "e\u0301", "a ", "d" * 90, "\0"]
        ),
        max_size=8,
    ).map("/".join),
    st.sampled_from(["/etc/passwd", "C:\\x", "../../outside", MARKER, "a/" * 40]),
)
kinds = st.one_of(st.sampled_from([b"0", b"\0", b"5", b"7"]), st.binary(min_size=1, max_size=1))
sizes = st.one_of(st.none(), st.binary(min_size=12, max_size=12))
Draw = Callable[..., bytes]


@st.composite
def members(draw: Draw) -> bytes:
    """One member with whatever headers before it, right or wrong."""
    blocks = b""
    for _ in range(draw(st.integers(0, 2))):
        name = draw(names)
        blocks += draw(
            st.sampled_from(
                [
                    long_name(name),
                    long_name(name, b"K"),
                    pax(path=name),
                    pax(b"g", path=name),
                    pax(size=name),
                    pax(comment=name),
                    pax(GNU__sparse__size=name),
                ]
            )
        )
    content = draw(st.binary(max_size=40))
    written = draw(names).encode()[:100]
    block = header(written, len(content), draw(kinds), size_field=draw(sizes))
    return blocks + block + padded(content)


@fuzzed
@given(st.lists(members(), max_size=6), st.sampled_from([END, b"", bytes(512)]))
@pytest.mark.long
def test_members_of_all_kinds(drawn: list[bytes], end: bytes) -> None:
    attempt_tar(b"".join(drawn) + end)


@fuzzed
@given(st.lists(names, max_size=8))
@pytest.mark.long
def test_what_is_taken_lies_where_its_name_says(drawn: list[str]) -> None:
    written = [name for name in drawn if len(name.encode()) <= 100]
    blocks = [file(name, bytes([n])) for n, name in enumerate(written)]
    found = attempt(gzip.compress(folder("top") + b"".join(blocks) + END, compresslevel=1))
    if found is not None:
        files = {name: content for name, content in found.items() if content is not None}
        clean = ["/".join(p for p in n.split("\0")[0].split("/") if p != ".") for n in written]
        assert files == {os.path.normpath(n): bytes([k]) for k, n in enumerate(clean)}
