"""Errors of memory, shared memory, file handles and processes, with the setting to change."""

from __future__ import annotations

import errno
import re
import shutil
import signal
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from medpipe.errors import LimitError, MedpipeError, StepError
from medpipe.system.raised import causes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

BATCH_SIZE = "loader.batch_size"
SHARED = "/dev/shm"  # where torch's workers put their batches under Linux
FILES = (
    "Too many files are open at once: the limit of open files is reached. Raise it with "
    "'ulimit -n 4096', or set loader.workers lower."
)
PROCESSES = (
    "No further process can be started: the limit of processes is reached. Raise it with "
    "'ulimit -u 4096', or set loader.workers = 0."
)
KILLED = (
    "A worker process of the loader was killed, probably for lack of memory. Set loader.workers or "
    "loader.batch_size lower, or give the job more memory."
)
MEMORY = (
    "The machine's memory is not enough{why}. Set loader.batch_size or loader.workers lower, or "
    "give the job more memory."
)

_NO_FILES = ("Too many open files", "items of ancdata", "Unable to open /dev/urandom")
"""Messages of torch; the last two when it needs a file handle for a tensor or for a seed."""
_NO_MEMORY = ("DefaultCPUAllocator", "Cannot allocate memory")
_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (.*)", re.DOTALL)
_SIGNALS = {signal.strsignal(number): number for number in signal.valid_signals()}


class _EndedError(StepError):
    """A worker process ended, and not by a limit."""


@contextmanager
def limits_named(
    *,
    sparing: Sequence[str] = (),
    batch_size: str = BATCH_SIZE,
    ended: Callable[[], Collection[int]] = tuple,
) -> Iterator[None]:
    """Turn errors of the block that come from a limit of the machine into ones that name it.

    Args:
        sparing: Settings that save device memory, beside a smaller batch, such as
            ``trainer.recompute = true``.
        batch_size: The setting that makes a batch smaller.
        ended: Returns the exit codes of worker processes that have ended.

    Raises:
        LimitError: A limit was reached.
        StepError: A worker process ended by itself.
    """
    try:
        yield
    except Exception as error:
        named = limit_of(error, sparing=sparing, batch_size=batch_size, ended=ended)
        if named is None or named is error:
            raise
        raise named from error


def limit_of(
    error: BaseException,
    *,
    sparing: Sequence[str] = (),
    batch_size: str = BATCH_SIZE,
    ended: Callable[[], Collection[int]] = tuple,
) -> MedpipeError | None:
    """The error for a limit that an exception, or one of its causes, is about; None if none is."""
    for cause in causes(error):
        if isinstance(cause, (LimitError, _EndedError)):
            return cause
        text, number = str(cause), getattr(cause, "errno", None)
        worker = _WORKER.search(text) if isinstance(cause, RuntimeError) else None
        if worker:
            return _ended(_codes(worker[1]) or ended())
        if isinstance(cause, (ConnectionError, EOFError)) and (codes := ended()):
            return _ended(codes)
        if type(cause).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:
            return LimitError(_device_memory(text, [f"{batch_size} lower", *sparing]))
        if not isinstance(cause, (OSError, RuntimeError, MemoryError)):
            continue
        if number in (errno.EMFILE, errno.ENFILE) or any(said in text for said in _NO_FILES):
            return LimitError(FILES)
        if "shared memory" in text or (number == errno.ENOSPC and _of_a_semaphore(cause)):
            return LimitError(_shared_memory())
        if number == errno.EAGAIN:
            return LimitError(PROCESSES)
        if isinstance(cause, MemoryError) or any(said in text for said in _NO_MEMORY):
            return LimitError(MEMORY.format(why=_wanted(text)))
    return None


def _of_a_semaphore(error: BaseException) -> bool:
    """Whether it was raised while Python made a lock between processes, in shared memory."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.endswith("synchronize.py")


def _codes(text: str) -> list[int]:
    """The exit code of a worker in a message of torch."""
    by_signal = re.search(r"killed by signal: (.+?)\.", text)
    by_code = re.search(r"exit code (\d+)", text)
    if by_signal:
        return [-_SIGNALS[by_signal[1]]] if by_signal[1] in _SIGNALS else []
    return [int(by_code[1])] if by_code else []


def _ended(codes: Collection[int]) -> MedpipeError:
    """The error for worker processes that ended with these codes, negative for signals."""
    if -signal.SIGBUS in codes:  # the memory behind a batch could not be had
        return LimitError(_shared_memory())
    if -signal.SIGKILL in codes or not codes:
        return LimitError(KILLED)
    code = min(codes)
    how = f"with the exit code {code}"
    if code < 0:
        how = f"by the signal {signal.Signals(-code).name}"
    return _EndedError(
        f"A worker process of the loader ended {how}, without an error message. Set "
        "loader.workers = 0: then transforms run, and fail, in the main process."
    )


def _shared_memory() -> str:
    from medpipe.system.file_errors import size_text

    size = ""
    with suppress(OSError):
        size = f", which has {size_text(shutil.disk_usage(SHARED).total)}"
    return (
        f"The shared memory is too small for the batches that worker processes hand over: it is "
        f"{SHARED}{size}. Set loader.workers = 0, set loader.batch_size lower, or make it larger "
        "(of a container: --shm-size=8g)."
    )


def _device_memory(text: str, settings: Sequence[str]) -> str:
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
    free = re.search(r"total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", text)
    said = f": {wanted[1]} more were asked for" if wanted else ""
    if free:
        said += f"{' and' if wanted else ':'} {free[2]} of {free[1]} were free"
    return (
        f"The device's memory is not enough for a batch{said}. Set {', or '.join(settings)}, or "
        "end what else takes memory there."
    )


def _wanted(text: str) -> str:
    found = re.search(r"allocate ([\d.]+) (bytes|[KMGTP]iB)", text, re.IGNORECASE)
    if found:
        return f": {found[1]} {found[2]} were asked for at once"
    return f": {' '.join(text.split()).rstrip('.')}" if text else ""
