"""The only place that writes files: whole or not at all, and on the disk before it says so."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medpipe.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def cache_directory() -> Path:
    """The folder for what medpipe can make again: ``MEDPIPE_CACHE`` or the user's cache."""
    chosen = os.environ.get("MEDPIPE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("medpipe"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole: a reader finds the old content or the new, never a part.

    Raises:
        RunError: The file can't be written; the old one, if any, is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise RunError(f"{path} can't be written: {_reason(error)}.") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that people can read, whole; see `write_bytes`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` by one rename when the block ends well.

    If the block raises, the staging folder is removed and `target` is as it was.

    Raises:
        RunError: The folder can't be made beside `target`, or `target` exists by then.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(
            tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        )
    except OSError as error:
        raise RunError(f"{target} can't be made: {_reason(error)}.") from error
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync_directory(target.parent)


def rename_directory(source: Path, target: Path) -> None:
    """Give a folder another name beside the old one, by one rename.

    Raises:
        RunError: It can't be renamed.
    """
    try:
        source.rename(target)
    except OSError as error:
        raise RunError(f"{source} can't be renamed to {target}: {_reason(error)}.") from error
    _sync_directory(target.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the lock ends with the process."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path):
        yield


LOCK = ".lock"


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Let one process at a time write to a directory; the claim ends with the process.

    Raises:
        RunError: Another process writes to it.
    """
    import filelock

    lock = filelock.FileLock(directory / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise RunError(
            f"Another process writes to {directory}. Wait until it ends, or choose another folder "
            "with --output."
        ) from error
    except (OSError, NotImplementedError):  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            (directory / LOCK).unlink()
        lock.release()


def _is_content(entry: Path) -> bool:
    """Whether it is more than what a killed process left."""
    return entry.name != LOCK and entry.suffix != ".part"


def refuse_existing(output: Path, *, kind: Literal["file", "folder"]) -> None:
    """See that an output is new.

    Raises:
        RunError: It is there already.
    """
    if output.exists():
        raise RunError(
            f"The output {output} is there already, and medpipe does not overwrite it. Choose "
            f"another {kind} with --output."
        )


def claim_directory(path: Path, *, marker: str) -> None:
    """Make an output directory ours, before any long work.

    Args:
        path: The directory; it is made if it is not there.
        marker: The file that a directory in use holds.

    Raises:
        RunError: It holds something already, or can't be written.
    """
    try:
        if path.exists() and not path.is_dir():
            raise RunError(f"The output {path} is a file. Choose a folder with --output.")
        if (path / marker).exists():
            raise RunError(
                f"The output {path} holds another run, which medpipe does not overwrite. "
                "Go on with it by --resume, choose another folder with --output, or remove it."
            )
        if path.exists() and any(map(_is_content, path.iterdir())):
            raise RunError(
                f"The output {path} is not empty and holds no run. "
                "Choose an empty or a new folder with --output."
            )
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RunError(
            f"The output {path} can't be written: {_reason(error)}. "
            "Choose a folder that you may write to with --output."
        ) from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
