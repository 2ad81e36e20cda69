"""Write files: atomically and durably; the only place that does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from medpipe.errors import RunError
from medpipe.system.disk import Disk
from medpipe.system.file_errors import failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""Error numbers of file systems without hard links."""


class NewFile:
    """A file that is being written; see `new_file`."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    def write(self, content: bytes | memoryview) -> None:
        """Write all of it, in as many pieces as the disk takes it."""
        left = memoryview(content).cast("B")
        while left:
            left = left[_disk.write(self._path, self._handle, left) :]

    def sync(self) -> None:
        """Flush what was written so far to the disk."""
        _disk.sync(self._path, self._handle)


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[NewFile]:
    """Write a new file piece by piece, inside a folder that no process reads yet.

    Args:
        path: The file, which must not exist.
        sync: Whether to flush it to the disk when the block ends. For very many files one
            `sync_all` is quicker.

    Raises:
        OSError: It can't be written; a partial file may be left.
    """
    with _opened(path, _disk.create(path), sync=sync) as file:
        yield file


@contextmanager
def continued_file(path: Path) -> Iterator[NewFile]:
    """Append to a file that nobody reads yet, piece by piece; see `finish_file`.

    Raises:
        OSError: It does not exist or can't be written.
    """
    with _opened(path, _disk.append(path), sync=False) as file:
        yield file


@contextmanager
def _opened(path: Path, handle: int, *, sync: bool) -> Iterator[NewFile]:
    try:
        yield NewFile(path, handle)
        if sync:
            _disk.sync(path, handle)
    except BaseException:
        with suppress(OSError):
            _disk.close(path, handle)
        raise
    _disk.close(path, handle)


def write_bytes(path: Path, *parts: bytes | memoryview, keep: Path | None = None) -> None:
    """Write a file whole: a reader finds the old content or the new, never a part.

    Args:
        path: The file.
        parts: What it is to hold, one after the other.
        keep: The name in the same folder under which the old content is kept. A file of that name
            is removed only when the new content is on the disk.

    Raises:
        RunError: The file can't be written; the old one, if any, is untouched.
    """
    temporary = beside(path)
    old = None if keep is None else beside(keep)
    try:
        make_directories(path.parent)
        try:
            with new_file(temporary) as file:
                for part in parts:
                    file.write(part)
            if old is not None and path.exists():
                _second_name(path, old)
            _disk.rename(temporary, path)
            _disk.sync_directory(path.parent)
            if keep is not None and old is not None and old.exists():
                _disk.rename(old, keep)
                _disk.sync_directory(path.parent)
        except BaseException:
            for left in filter(None, (temporary, old)):
                with suppress(OSError):
                    _disk.remove(left)
            raise
    except OSError as error:
        raise RunError(failure(path, "written", error)) from error


def _second_name(path: Path, second: Path) -> None:
    """Add a hard link to a file, which keeps its content when the first name is reused."""
    try:
        _disk.link(path, second)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with new_file(second) as file:
            file.write(path.read_bytes())


def finish_file(partial: Path, target: Path) -> None:
    """Flush a complete file to the disk, then rename it to its final name.

    Raises:
        OSError: It can't be done; a file that was at `target` is untouched.
    """
    with _opened(partial, _disk.append(partial), sync=True):
        pass
    _disk.rename(partial, target)
    _disk.sync_directory(target.parent)


def append_passing(path: Path, text: str) -> None:
    """Append to a file, or make it, that is of no use once its process has ended.

    It is not flushed to the disk, and not written through `Disk`.

    Raises:
        OSError: It can't be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def remove_passing(path: Path) -> None:
    """Remove a file of `append_passing`, if it exists.

    Raises:
        OSError: It can't be removed.
    """
    path.unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        OSError: It can't be removed.
    """
    with suppress(FileNotFoundError):
        _disk.remove(path)


def make_directories(path: Path, *, sync: bool = True) -> None:
    """Make a folder and its missing parents.

    Args:
        path: The folder.
        sync: Whether to flush them to the disk. For very many one `sync_all` is quicker.

    Raises:
        OSError: One can't be made.
    """
    if path.is_dir():
        return
    make_directories(path.parent, sync=sync)
    try:
        _disk.make_directory(path)
    except FileExistsError:  # another process was quicker
        if not path.is_dir():
            said = os.strerror(errno.ENOTDIR)
            raise NotADirectoryError(errno.ENOTDIR, said, str(path)) from None
    if sync:
        _disk.sync_directory(path.parent)


def remove_directory(path: Path) -> None:
    """Remove a folder with all that is in it, as far as it can be removed."""
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            _disk.remove(path)
        return
    with suppress(OSError):
        for entry in path.iterdir():
            remove_directory(entry)
        _disk.remove_directory(path)


def remove_leftovers(directory: Path) -> None:
    """Remove partial files of killed processes from a folder that only this process writes to."""
    for entry in list(directory.rglob(".*.part")):
        remove_directory(entry)


def sync_all() -> None:
    """Flush everything to the disk that any process has written so far."""
    _disk.sync_all()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def keep_text(path: Path, text: str) -> bool:
    """Write a text unless the file holds it already; see `write_bytes`.

    Returns:
        Whether it had to be written.
    """
    content = text.encode("utf-8")
    with suppress(OSError):
        if path.read_bytes() == content:
            return False
    write_bytes(path, content)
    return True


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that people can read, whole; see `write_bytes`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(*parts: bytes | memoryview) -> str:
    """The SHA-256 of some bytes, one part after the other, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's content, which need not fit into memory.

    Raises:
        OSError: It can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` by one rename when the block ends well.

    If the block raises, the staging folder is removed and `target` is as it was.

    Raises:
        RunError: The folder can't be made beside `target`, or `target` exists by then.
    """
    staging = beside(target)
    try:
        make_directories(target.parent)
        _disk.make_directory(staging)
    except OSError as error:
        raise RunError(failure(target, "made", error)) from error
    try:
        yield staging
        try:
            _disk.sync_directory(staging)
            _disk.rename(staging, target)
        except OSError as error:
            raise RunError(failure(target, "made", error)) from error
    except BaseException:
        remove_directory(staging)
        raise
    try:
        _disk.sync_directory(target.parent)
    except OSError as error:
        raise RunError(failure(target, "made", error)) from error


def remove_leftovers_of(target: Path) -> None:
    """Remove what killed processes left of a `staged_directory` that no process makes right now.

    Raises:
        OSError: The folder that `target` lies in can't be read.
    """
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.part")
    for entry in target.parent.iterdir():
        if ours.fullmatch(entry.name):
            remove_directory(entry)


def rename(source: Path, target: Path) -> None:
    """Rename a file or a folder in its folder; an existing file of the new name is replaced.

    Raises:
        RunError: It can't be renamed.
    """
    try:
        _disk.rename(source, target)
        _disk.sync_directory(target.parent)
    except OSError as error:
        raise RunError(failure(source, f"renamed to {target}", error)) from error


def beside(path: Path) -> Path:
    """A temporary name in the same folder for what will become `path`; nobody reads such files."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")


_disk = Disk()


@contextmanager
def through(disk: Disk) -> Iterator[None]:
    """Send every write inside the block through another `Disk`; for the fault suite."""
    global _disk
    before, _disk = _disk, disk
    try:
        yield
    finally:
        _disk = before
