"""Reads the headers of a tar archive, more strictly than `tarfile` does.

`tarfile` guesses where a header is wrong, reads whatever size an extended header announces into
memory, calls itself once for each of them, and takes what two readers would read in two ways.
Here each of these is an error. POSIX.1-2008 pax, ustar and GNU's long names are read.
"""

from __future__ import annotations

import re
from typing import Protocol

import attrs

from medpipe.fetching.refusals import DamagedError, RefusedError, shown

BLOCK = 512
_MOST_EXTENDED = 1 << 20
"""Bytes of an extended header. Real ones hold a name, times and a few attributes."""
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_FILES = (b"0", b"\0", b"7")
_LINKS = (b"1", b"2")
_SPARSE = "GNU.sparse."
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


class Stream(Protocol):
    """The unpacked bytes of an archive."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes; fewer only at the end."""


@attrs.frozen(kw_only=True)
class Member:
    """A file or a folder, as its header tells of it.

    Attributes:
        name: As it stands there; not looked at yet.
        is_file: Whether it is a file; else a folder.
        size: Bytes of content that follow.
    """

    name: str
    is_file: bool
    size: int


@attrs.define(kw_only=True)
class _Extended:
    """What the headers before a member's own say of it."""

    name: str | None = None
    size: int | None = None
    kinds: set[bytes] = attrs.field(factory=set)


def next_member(stream: Stream) -> tuple[Member | None, int]:
    """Read up to the next member's content; its content was read or passed over.

    Returns:
        The member, or None at the archive's end mark, and the bytes of its extended headers.

    Raises:
        RefusedError: It is neither a file nor a folder, or its headers say strange things.
        DamagedError: There is no such header.
    """
    extended = _Extended()
    extra = 0
    while True:
        block = _exactly(stream, BLOCK)
        if not block.strip(b"\0"):
            if extended.kinds:
                raise DamagedError("an extended header has no member")
            return None, extra
        _check_sum(block)
        kind = block[156:157]
        if kind not in (b"x", b"g", b"L", b"K"):
            return _member(block, kind, extended), extra
        if kind in extended.kinds:
            raise RefusedError("a member of it has two extended headers of one kind")
        extended.kinds.add(kind)
        size = _size(block)
        if size > _MOST_EXTENDED:
            raise RefusedError(
                f"an extended header in it has {size:,} bytes, and none needs more than "
                f"{_MOST_EXTENDED:,}"
            )
        content = _exactly(stream, size + padding(size))[:size]
        extra += len(content)
        if kind == b"L":
            _set_name(extended, content.split(b"\0", 1)[0])
        elif kind != b"K":  # the name of a link's target is nothing to us: links are refused
            _read_pax(extended, content, for_all=kind == b"g")


def padding(size: int) -> int:
    """How many bytes follow a content of `size` bytes until the next header."""
    return -size % BLOCK


def _exactly(stream: Stream, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise DamagedError("it ends before its end mark")
    return content


def _check_sum(block: bytes) -> None:
    found = _OCTAL.fullmatch(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * 32
    sums = (total, total - 256 * _high_bytes(block))
    if found is None or int(found[1], 8) not in sums:
        for start, name in _PACKED.items():
            if block.startswith(start):
                raise RefusedError(f"it holds {name} data in place of a tar archive")
        raise DamagedError("a member's header is wrong")


def _high_bytes(block: bytes) -> int:
    """The bytes that old programs took for negative when they added a header up."""
    return sum(byte > 127 for byte in block[:148] + block[156:])


def _size(block: bytes) -> int:
    field = block[124:136]
    if field[0] == 0xFF:
        raise RefusedError("a member of it has a negative size")
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise DamagedError("a member's size is no number")
    return int(found[1], 8)


def _member(block: bytes, kind: bytes, extended: _Extended) -> Member:
    name = extended.name
    if name is None:
        name = _text(block[:100].split(b"\0", 1)[0])
        before = block[345:500].split(b"\0", 1)[0]
        if before and block[257:263] == b"ustar\0":
            name = f"{_text(before)}/{name}"
    if not name:
        raise RefusedError("a member of it has no name")
    if kind in _LINKS:
        raise RefusedError(f"its member {shown(name)} is a link")
    if kind == b"S":
        raise RefusedError(f"its member {shown(name)} has holes")
    if kind != b"5" and kind not in _FILES:
        raise RefusedError(f"its member {shown(name)} is neither a file nor a folder")
    is_file = kind != b"5" and not (kind == b"\0" and name.endswith("/"))
    size = _size(block) if extended.size is None else extended.size
    if not is_file and size:
        raise RefusedError(f"its folder {shown(name)} has content")
    if is_file and name.endswith("/"):
        raise RefusedError(f"its member {shown(name)} is a file and has the name of a folder")
    return Member(name=name, is_file=is_file, size=size)


def _set_name(extended: _Extended, name: bytes) -> None:
    if extended.name is not None:
        raise RefusedError("a member of it has two names")
    extended.name = _text(name)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"the name {name[:97]!r} in it is not UTF-8") from error


def _read_pax(extended: _Extended, content: bytes, *, for_all: bool) -> None:
    """Take the name and the size from records ``<length> <key>=<value>``, and pass over others."""
    place = 0
    while place < len(content):
        digits, space, _ = content[place : place + 12].partition(b" ")
        if not (space and digits.isdigit()):
            raise DamagedError("an extended header is wrong")
        end = place + int(digits)
        record = content[place + len(digits) + 1 : end]
        key, equals, value = record.partition(b"=")
        if end > len(content) or not (equals and value.endswith(b"\n")):
            raise DamagedError("an extended header is wrong")
        _take(extended, key.decode("latin-1"), value[:-1], for_all=for_all)
        place = end


def _take(extended: _Extended, key: str, value: bytes, *, for_all: bool) -> None:
    if key.startswith(_SPARSE):
        raise RefusedError("a member of it has holes")
    if key not in ("path", "size"):
        return
    if for_all:
        raise RefusedError(f"an extended header in it sets the {key} of all members")
    if key == "path":
        _set_name(extended, value)
        return
    if extended.size is not None:
        raise RefusedError("a member of it has two sizes")
    if value.startswith(b"-"):
        raise RefusedError("a member of it has a negative size")
    if not value.isdigit() or len(value) > 30:
        raise DamagedError("a member's size is no number")
    extended.size = int(value)
