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
"""What file systems answer that have no way to sync a folder, such as those over a network."""


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_OLD = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


class Disk:
    """The disk as it is."""

    def create(self, path: Path) -> int:
        """Make a new file and open it for writing; give its descriptor."""
        return os.open(path, _NEW, 0o666)

    def append(self, path: Path) -> int:
        """Open a file that is there for writing at its end; give its descriptor."""
        return os.open(path, _OLD)

    def write(self, path: Path, file: int, content: bytes | memoryview) -> int:
        """Write the beginning of `content`, all of it or less; give how many bytes."""
        return os.write(file, content)

    def sync(self, path: Path, file: int) -> None:
        """See that a file's content is on the disk."""
        os.fsync(file)

    def close(self, path: Path, file: int) -> None:
        """Close a file."""
        os.close(file)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or a folder another name; a file of that name is replaced."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def make_directory(self, path: Path) -> None:
        """Make a folder; its parent is there."""
        path.mkdir()

    def remove_directory(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        """See that a folder's names are on the disk."""
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
        """See that everything is on the disk that any process has written."""
        if os.name == "posix":
            os.sync()
