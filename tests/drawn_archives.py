"""Archives made block by block, so that they can hold what no program writes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

END = bytes(1024)


def header(
    name: str | bytes,
    size: int = 0,
    kind: bytes = b"0",
    *,
    size_field: bytes | None = None,
    before: bytes = b"",
) -> bytes:
    """One block that announces a member."""
    written = name.encode() if isinstance(name, str) else name
    fields = [
        written.ljust(100, b"\0"),
        b"0000644\0" + 2 * b"0000000\0",
        size_field or b"%011o\0" % size,
        b"00000000000\0",
        8 * b" ",
        kind,
        bytes(100),
        b"ustar\x0000",
        bytes(64 + 16),
        before.ljust(155, b"\0"),
        bytes(12),
    ]
    block = b"".join(fields)
    assert len(block) == 512
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def file(name: str | bytes, content: bytes = b"image") -> bytes:
    return header(name, len(content)) + padded(content)


def folder(name: str) -> bytes:
    return header(name, kind=b"5")


def pax(kind: bytes = b"x", /, **values: str | bytes) -> bytes:
    """An extended header; in the names of its keys ``__`` stands for a dot."""
    records = b""
    for key, value in values.items():
        written = value.encode() if isinstance(value, str) else value
        rest = b" %s=%s\n" % (key.replace("__", ".").encode(), written)
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        records += str(length).encode() + rest
    return header("pax", len(records), kind) + padded(records)


def long_name(name: str, kind: bytes = b"L") -> bytes:
    written = name.encode() + b"\0"
    return header("././@LongLink", len(written), kind) + padded(written)


def packed(path: Path, *blocks: bytes, end: bytes = END) -> Path:
    """A ``.tar.gz`` of these blocks."""
    path.write_bytes(gzip.compress(b"".join(blocks) + end, compresslevel=6, mtime=0))
    return path
