"""Lock a run directory for one writer, and refuse outputs that exist."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from medpipe.errors import RunError
from medpipe.system.file_errors import failure, mode_of, reason
from medpipe.system.files import beside, make_directories, new_file, remove_file
from medpipe.system.locks import SILENCE, WORD, Lock
from medpipe.system.options import option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

logger = logging.getLogger("medpipe")

LOCK = ".lock"


@contextmanager
def only_writer(directory: Path) -> Iterator[Callable[[], None]]:
    """Let one process at a time write to a directory; the claim ends with the process.

    A claim of a process of this machine that has ended is void. One of another machine is watched
    for a sign of life, for a minute at most.

    Yields:
        A function that raises `RunError` where the claim was lost meanwhile: this process had
        been stopped for so long that another took the directory over.

    Raises:
        RunError: Another process writes to it.
    """
    lock = Lock(directory / LOCK)
    try:
        _take(lock, directory)
    except OSError as error:
        logger.warning(
            "The folder %s can't be locked (%s). Make sure that no other process writes there.",
            directory,
            reason(error),
        )
        yield _nothing
        return

    def see_ours() -> None:
        if lock.is_lost():
            raise RunError(
                f"The folder {directory} was taken over by another process, since this process "
                f"was stopped or could not reach the disk for more than {SILENCE:.0f} s. This "
                "process no longer writes there."
            )

    try:
        yield see_ours
    finally:
        lock.release()


def _nothing() -> None:
    pass


def _take(lock: Lock, directory: Path) -> None:
    began, told = time.monotonic(), False
    while (other := lock.try_once()) is not None:
        holder = other.holder
        alive = holder.alive()
        if alive == "alive" or lock.showed_life():
            raise RunError(
                f"Another process writes to {directory}: {holder}. Wait until it ends, end it, or "
                f"choose another folder with {option('output')}."
            )
        if not told and time.monotonic() - began >= WORD:
            told = True
            logger.info(
                "%s was claimed by %s. If it shows no sign of life, it is taken over, within "
                "%.0f s.",
                directory,
                holder,
                SILENCE,
            )
        time.sleep(0.1)


def _is_content(entry: Path) -> bool:
    """Whether it is more than what a killed process left."""
    left = entry.name == LOCK or entry.name.startswith(f"{LOCK}.") or entry.suffix == ".part"
    return not left


def refuse_existing(
    output: Path, *, kind: Literal["file", "folder"], parameter: str | None = "output"
) -> None:
    """Refuse an output that exists.

    Args:
        output: The file or the folder.
        kind: What to choose instead.
        parameter: The parameter that chooses it; None: the first argument.

    Raises:
        RunError: It exists already, or that can't be determined.
    """
    if mode_of(output):
        way = "" if parameter is None else f" with {option(parameter)}"
        raise RunError(
            f"The output {output} is there already, and medpipe does not overwrite it. Choose "
            f"another {kind}{way}."
        )


def claim_directory(path: Path, *, marker: str) -> None:
    """Claim an output directory for this process, before any long work.

    Args:
        path: The directory; it is made if it is not there.
        marker: The file of a directory that has been claimed before.

    Raises:
        RunError: It is a file, holds something else already, or can't be written.
    """
    try:
        if path.exists() and not path.is_dir():
            raise RunError(f"The output {path} is a file. Choose a folder with {option('output')}.")
        ours = (path / marker).exists()
        if path.exists() and not ours and any(map(_is_content, path.iterdir())):
            raise RunError(
                f"The output {path} is not empty and holds no run. "
                f"Choose an empty or a new folder with {option('output')}."
            )
        make_directories(path)
        probe = beside(path / marker)
        with new_file(probe, sync=False):
            pass
        remove_file(probe)
    except OSError as error:
        why = failure(f"The output {path}", "written", error, option("output"))
        raise RunError(why) from error
