"""Reading that fails: every look at a file and every read of one, each at its turn."""

from __future__ import annotations

import builtins
import errno
import io
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CODES = (errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENAMETOOLONG)
"""May not be read, a disk that fails, one that went away, links in a circle, a name too long."""


@attrs.define
class Reads:
    """Counts the operations below a folder, and fails one of them.

    Attributes:
        root: The folder.
        place: Which operation fails; None: none does.
        code: With which error.
        lasting: Whether what follows on the same path fails as well.
        names: The operations so far.
    """

    root: str
    place: int | None = None
    code: int = errno.EIO
    lasting: bool = False
    names: list[str] = attrs.field(factory=list)
    _open: dict[int, str] = attrs.field(factory=dict)
    _dead: str | None = None

    def reach(self, operation: str, path: Any) -> None:
        """Called before each operation."""
        if isinstance(path, int):
            path = self._open.get(path, "")
        text = os.fsdecode(path)
        if text != self.root and not text.startswith(self.root + os.sep):
            return
        self.names.append(f"{operation} {os.path.relpath(text, self.root)}")
        if len(self.names) - 1 == self.place or text == self._dead:
            self._dead = text if self.lasting else None
            raise OSError(self.code, os.strerror(self.code), text)

    @contextmanager
    def on(self) -> Iterator[Reads]:
        """While the block runs, operations are counted."""
        with ExitStack() as stack:
            for name in ("stat", "lstat", "readlink", "read", "fstat"):
                stack.enter_context(mock.patch.object(os, name, self._passing(name)))
            stack.enter_context(mock.patch.object(os, "open", self._opening(os.open)))
            stack.enter_context(mock.patch.object(os, "scandir", self._scanning(os.scandir)))
            stack.enter_context(mock.patch.object(builtins, "open", self._file(open)))
            stack.enter_context(mock.patch.object(io, "open", self._file(open)))
            yield self

    def _passing(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def operate(path: Any, *args: Any, **options: Any) -> Any:
            self.reach(name, path)
            return real(path, *args, **options)

        return operate

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def operate(path: Any, *args: Any, **options: Any) -> int:
            self.reach("open", path)
            number = real(path, *args, **options)
            self._open[number] = os.fsdecode(path)
            return number

        return operate

    def _file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def operate(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, int) or not os.fsdecode(path).startswith(self.root):
                return real(path, *args, **options)
            self.reach("open", path)
            if args and "b" not in args[0]:
                return real(path, *args, **options)
            return io.BufferedReader(_Raw(self, os.fsdecode(path)))

        return operate

    def _scanning(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def operate(path: Any = ".") -> _Scan:
            self.reach("scandir", path)
            return _Scan(self, path, real(path))

        return operate


class _Raw(io.RawIOBase):
    def __init__(self, reads: Reads, path: str) -> None:
        self._reads, self._path = reads, path
        self._real = io.FileIO(path)
        self.name = path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._reads.reach("read", self._path)
        return self._real.readinto(buffer)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._real.seek(place, whence)

    def tell(self) -> int:
        return self._real.tell()

    def close(self) -> None:
        self._real.close()
        super().close()


class _Scan:
    """As `os.scandir` gives it, with entries that may fail."""

    def __init__(self, reads: Reads, path: Any, real: Any) -> None:
        self._reads, self._path, self._real = reads, path, real

    def __enter__(self) -> _Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def __iter__(self) -> _Scan:
        return self

    def __next__(self) -> _Entry:
        self._reads.reach("next", self._path)
        return _Entry(self._reads, next(self._real))


class _Entry:
    def __init__(self, reads: Reads, real: os.DirEntry[str]) -> None:
        self._reads, self._real = reads, real
        self.name, self.path = real.name, real.path

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        self._reads.reach("is_file", self.path)
        return self._real.is_file(follow_symlinks=follow_symlinks)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        self._reads.reach("is_dir", self.path)
        return self._real.is_dir(follow_symlinks=follow_symlinks)

    def is_symlink(self) -> bool:
        self._reads.reach("is_symlink", self.path)
        return self._real.is_symlink()


def operations(root: Path, work: Callable[[], object]) -> list[str]:
    """The operations that some work needs."""
    with Reads(str(root)).on() as reads:
        work()
    return reads.names
