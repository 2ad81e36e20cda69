"""The single operations that change a disk, for `medpipe.system.files` alone.

Each is a point at which a process may be killed or the disk may fail. The fault suite puts a
`Disk` of its own in place of this one.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NOT_SYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""Error numbers of file systems that can't sync a folder, such as network file systems."""


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_OLD = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


class Disk:
    """The disk as it is."""

    def create(self, path: Path) -> int:
        """Create a file and return its descriptor, open for writing."""
        return os.open(path, _NEW, 0o666)

    def append(self, path: Path) -> int:
        """Open an existing file for appending and return its descriptor."""
        return os.open(path, _OLD)

    def write(self, path: Path, file: int, content: bytes | memoryview) -> int:
        """Write `content` or the beginning of it; return how many bytes were written."""
        return os.write(file, content)

    def sync(self, path: Path, file: int) -> None:
        """Flush a file's content to the disk."""
        os.fsync(file)

    def close(self, path: Path, file: int) -> None:
        """Close a file."""
        os.close(file)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or a folder; an existing file of the new name is replaced."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Create a hard link to a file."""
        os.link(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def make_directory(self, path: Path) -> None:
        """Make a folder whose parent exists."""
        path.mkdir()

    def remove_directory(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        """Flush a folder's entries to the disk."""
        if os.name != "posix":
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NOT_SYNCED:
                raise
        finally:
            os.close(handle)

    def sync_all(self) -> None:
        """Flush everything to the disk that any process has written."""
        if os.name == "posix":
            os.sync()
