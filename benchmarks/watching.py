"""The most memory that a process and its workers hold, sampled while it runs (Linux)."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

EVERY = 0.1
"""Seconds between two looks, at least."""
SHARE = 0.02
"""Of the time that looks may take: each stops a process that holds gigabytes for milliseconds."""


class MemoryWatch:
    """Looks at a process until it ends.

    Attributes:
        most: The most bytes that it and its children held together. Pages that they share are
            divided among them (``Pss``), so that none counts twice; pages of mapped files count.
        most_own: The same without pages of files, which the system can take back at any time.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.most = 0
        self.most_own = 0
        self._process = process
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._ended = threading.Event()
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = EVERY
        while not self._ended.wait(pause):
            started = time.perf_counter()
            held, own = resident(self._process.pid)
            pause = max(EVERY, (time.perf_counter() - started) / SHARE)
            self.most, self.most_own = max(self.most, held), max(self.most_own, own)


def resident(pid: int) -> tuple[int, int]:
    """The bytes that a process and its children hold: all, and without pages of files."""
    found = {"Pss": 0, "Pss_File": 0}
    held = own = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
        held, own = found["Pss"], found["Pss"] - found["Pss_File"]
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                more, more_own = resident(int(child))
                held, own = held + more, own + more_own
    except (OSError, ValueError):  # it has ended, or this is no Linux
        pass
    return held, own
