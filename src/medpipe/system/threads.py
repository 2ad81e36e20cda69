"""The threads that torch computes with, and whether the cores for them are free."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOKS, _PAUSE = 9, 0.01


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch compute with this many threads in the block; None: as many as it does."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def warning_of_busy_cores() -> str:
    """Say that others use the CPU cores that torch's threads need; empty where they don't.

    Threads wait for each other after each operation: with one core taken by another process, a
    run with two threads took 18 times as long as with one.
    """
    import torch

    own, cores = torch.get_num_threads(), os.cpu_count() or 1
    others = _others_at_work() if own > 1 else 0
    if own + others <= cores or not others:
        return ""
    free = max(1, cores - others)
    return (
        f"other processes use {min(others, cores)} of the {cores} CPU cores, and torch computes "
        f"with {own} threads, which wait for each other: that can take many times as long. Set "
        f"run.threads = {free}, or end the others."
    )


def _others_at_work() -> int:
    """Threads of other processes that compute or wait for a core now; 0 where it isn't known."""
    found = []
    for _ in range(_LOOKS):
        try:
            at_work = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
            found.append(int(at_work) - 1)  # this one is at work too
        except (OSError, ValueError, IndexError):  # not Linux
            return 0
        time.sleep(_PAUSE)
    return max(0, int(statistics.median(found)))
