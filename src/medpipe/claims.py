"""Whose a folder is: locks between processes, and outputs that nothing has yet."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from medpipe.errors import RunError
from medpipe.files import beside, failure, make_directories, new_file, remove_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the lock ends with the process."""
    import filelock

    make_directories(path.parent)
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
        make_directories(path)
        probe = beside(path / marker)
        with new_file(probe, sync=False):
            pass
        remove_file(probe)
    except OSError as error:
        raise RunError(failure(f"The output {path}", "written", error, "--output")) from error
