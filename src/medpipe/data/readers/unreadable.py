"""The error for an image file that can't be decoded."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, ClassVar

from medpipe.errors import DataError
from medpipe.system.resource_errors import limit_of

if TYPE_CHECKING:
    from medpipe.errors import FaultKind

READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
READ_ONLY |= getattr(os, "O_NONBLOCK", 0)
"""Flags for opening files: otherwise a pipe that nobody writes to would block for ever."""
HEAD = 512
"""The bytes by which readers recognise a file."""
_TRIES = 3
"""How often a file is read that changes meanwhile."""
_CUT_OFF = ("truncated", "less than expected")
"""What Pillow and pydicom say of a file that ends too early."""
_WAIT = "Wait until the program that writes it has finished, then start again."
_AT_ONCE = 1 << 30
"""Bytes of one call: no system takes more than 2 GB."""


class UnreadableImageError(DataError):
    """An image file can't be decoded.

    Attributes:
        path: The file.
        reason: What is wrong with it, as the end of a sentence that begins with the file.
        remedy: What to do about it.
        kind: What is wrong, as `Fault.kind` has it.
    """

    REMEDY: ClassVar[str] = "Remove or repair it."

    def __init__(
        self,
        path: str | os.PathLike[str],
        reason: str,
        remedy: str = REMEDY,
        *,
        kind: FaultKind = "unsupported",
    ) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        self.remedy = remedy
        self.kind: FaultKind = kind
        super().__init__(f"The image {self.path} {reason}. {remedy}")


def damaged(path: str | os.PathLike[str], error: Exception) -> UnreadableImageError:
    """The error for a file that made its decoder fail."""
    text = " ".join(str(error).split()).strip(" .") or type(error).__name__
    cut_off = isinstance(error, EOFError) or any(word in text.lower() for word in _CUT_OFF)
    return UnreadableImageError(
        path, f"is damaged: {text}", kind="truncated" if cut_off else "damaged"
    )


def file_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of an image file; pipes, sockets and devices are refused at once.

    Raises:
        DataError: It can't be read, or is empty.
    """
    try:
        # The calls themselves: for small files a file object takes longer than the reading.
        number = os.open(path, READ_ONLY)
        try:
            content = _whole(path, number)
        finally:
            os.close(number)
    except (OSError, ValueError) as error:
        raise _not_read(path, error) from error
    if not content:
        raise UnreadableImageError(path, "is empty", kind="empty")
    return content


def first_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes by which readers recognise a file; of a folder none.

    Raises:
        DataError: It does not exist or can't be read.
    """
    try:
        number = os.open(path, READ_ONLY)
        try:
            content = os.read(number, HEAD)
            while len(content) < HEAD and (more := os.read(number, HEAD - len(content))):
                content += more
        finally:
            os.close(number)
    except IsADirectoryError:
        return b""
    except (OSError, ValueError) as error:
        raise _not_read(path, error) from error
    return content


def _not_read(path: str | os.PathLike[str], error: OSError | ValueError) -> UnreadableImageError:
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError(path, "is not there", kind="missing")
    limit = limit_of(error)
    if limit is not None:  # nothing is wrong with the file
        raise limit from error
    reason = " ".join((getattr(error, "strerror", None) or str(error)).split()).lower()
    return UnreadableImageError(path, f"can't be read: {reason}", kind="unreadable")


def _whole(path: str | os.PathLike[str], number: int) -> bytes:
    """The content of an open file, as it was at one time."""
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        raise _no_file(path, status.st_mode)
    for _ in range(_TRIES):
        size, time = status.st_size, status.st_mtime_ns
        content = os.read(number, min(size + 1, _AT_ONCE))
        if len(content) != size:
            content += _rest(number)
        status = os.fstat(number)
        if status.st_mtime_ns == time and status.st_size == size == len(content):
            return content
        os.lseek(number, 0, os.SEEK_SET)
    raise UnreadableImageError(path, "is being written to", _WAIT, kind="unreadable")


def _rest(number: int) -> bytes:
    parts = []
    while part := os.read(number, _AT_ONCE):
        parts.append(part)
    return b"".join(parts)


def _no_file(path: str | os.PathLike[str], mode: int) -> UnreadableImageError:
    if stat.S_ISDIR(mode):
        reason = "can't be read: is a directory"
    else:
        what = "a pipe" if stat.S_ISFIFO(mode) else "a device"
        reason = f"is not a file but {what}"
    return UnreadableImageError(path, reason, kind="unreadable")
