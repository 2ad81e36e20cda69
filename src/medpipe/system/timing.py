"""Record where the time of a run goes.

`timed` names a block; what it took is added to the record that is open, if one is.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_UP = {
    "imports": "imports",
    "listing": "listing the samples",
    "scanning": "reading the images",
    "splitting": "dividing the samples",
    "checking": "checking data, network, loss and trainer",
    "packing": "making or opening the packed cache",
    "building": "building network and trainer",
    "first_batch": "first batch",
    "first_step": "first training step",
}
"""The parts of the start-up in their order, and their names for people."""

WHOLE_START_UP = "start_up"
"""All of the start-up, also what is in none of its parts."""

PHASES = {
    "compile": "compiling the network, part of training",
    "training": "training and validation",
    "test": "test",
    "total": "training, test and writing",
}


class Timings:
    """Seconds by name. A block inside another one counts for itself alone.

    Args:
        before: Seconds that had passed when it was made.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._started = time.perf_counter() - before
        self._seconds: dict[str, float] = {}
        self._inner = [0.0]

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each name, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in self._seconds.items()}

    def add(self, name: str, seconds: float) -> None:
        """Add to a name's seconds."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what the block takes, without the blocks in it that are timed themselves."""
        self._inner.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - began
            self.add(name, max(0.0, taken - self._inner.pop()))
            self._inner[-1] += taken


_open: ContextVar[Timings | None] = ContextVar("medpipe_timings", default=None)


@contextmanager
def recording(timings: Timings | None = None) -> Iterator[Timings]:
    """Open a record for the blocks that are timed inside.

    Args:
        timings: The record; None: the one that is open already, or else a new one.
    """
    record = timings or _open.get() or Timings()
    token = _open.set(record)
    try:
        yield record
    finally:
        _open.reset(token)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add what the block takes to the record that is open; without one nothing is kept."""
    record = _open.get()
    if record is None:
        yield
        return
    with record.timed(name):
        yield


def table(timings: Mapping[str, float]) -> str:
    """The timings of a run, for people: a line for each, the start-up's parts first."""
    rows: list[tuple[str, float]] = []
    if WHOLE_START_UP in timings:
        parts = [(text, timings[name]) for name, text in START_UP.items() if name in timings]
        rest = timings[WHOLE_START_UP] - sum(seconds for _, seconds in parts)
        rows.append(("start-up, to the end of the first step", timings[WHOLE_START_UP]))
        rows += [(f"  {text}", seconds) for text, seconds in [*parts, ("the rest", max(0.0, rest))]]
    rows += [(text, timings[name]) for name, text in PHASES.items() if name in timings]
    width = max((len(text) for text, _ in rows), default=0)
    return "\n".join(f"{text:{width}}  {seconds:9.2f} s" for text, seconds in rows)
