"""Unpacks gzip as a stream, more strictly than `gzip` does.

`gzip` reads a name in a header byte by byte, however many there are, and says of what follows the
end only that it is no gzip. zlib looks at the checksum and the length at each end.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import IO, Any

from medpipe.fetching.refusals import DamagedError, RefusedError

_MAGIC = b"\x1f\x8b\x08"
_PIECE = 1 << 17
_GZIP = 31
"""What tells zlib to expect gzip's header and end."""
_ALWAYS_FINE = 16 << 20
"""Bytes up to which no archive is a bomb, however well it is packed."""


class _Gunzipped(io.RawIOBase):
    def __init__(self, file: IO[bytes], most_ratio: int) -> None:
        self._file, self._ratio = file, most_ratio
        self._most = max(_ALWAYS_FINE, most_ratio * os.fstat(file.fileno()).st_size)
        self._came = 0
        self._inflate: Any = None  # zlib does not name its type
        self._packed = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if (self._inflate is None or self._inflate.eof) and not self._begin():
            return 0
        content = b""
        while not content:
            packed = self._packed or self._file.read(_PIECE)
            try:
                content = self._inflate.decompress(packed, len(buffer))
            except zlib.error as error:
                why = str(error).rpartition(": ")[2]
                raise DamagedError(f"it can't be unpacked ({why})") from error
            self._packed = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._packed = self._inflate.unused_data
                if not content and not self._begin():
                    return 0
            elif not content and not packed:
                raise DamagedError("it is cut")
        self._came += len(content)
        if self._came > self._most:
            raise RefusedError(
                f"it unpacks to more than {self._ratio:,} times its own size (most_ratio)"
            )
        buffer[: len(content)] = content
        return len(content)

    def _begin(self) -> bool:
        """Begin the first of several gzip files one behind the other, or the next; if there is."""
        packed = self._packed
        while len(packed) < len(_MAGIC) or (self._inflate and not packed.strip(b"\0")):
            more = self._file.read(_PIECE)
            if not more:
                break
            packed = (packed.lstrip(b"\0") if self._inflate else packed) + more
        if self._inflate and not packed.strip(b"\0"):
            return False  # the end, with zeros behind it as on a tape
        if not packed.startswith(_MAGIC):
            if self._inflate is None:
                raise DamagedError(f"it is {_kind(packed)}")
            raise RefusedError("something follows its end")
        self._inflate, self._packed = zlib.decompressobj(_GZIP), packed
        return True


def _kind(start: bytes) -> str:
    """What a file is that is no gzip, as far as its first bytes tell."""
    kinds = {b"PK": "a zip archive", b"\xfd7z": "packed by xz", b"BZ": "packed by bzip2"}
    return next((kind for mark, kind in kinds.items() if start.startswith(mark)), "no gzip file")


def gunzipped(file: IO[bytes], most_ratio: int) -> io.BufferedReader:
    """The unpacked bytes of a gzip file, from its beginning.

    Args:
        file: The file.
        most_ratio: Refuse what unpacks to more than so many times its size, over 16 MiB.

    Raises, when it is read:
        RefusedError: It unpacks to too much, or something that is no gzip follows its end.
        DamagedError: It is cut, changed or no gzip at all.
    """
    file.seek(0)
    return io.BufferedReader(_Gunzipped(file, most_ratio), _PIECE)
