"""The time that an epoch takes, and a progress bar that is updated a few times a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpipe.system.progress import Bar


class ShownProgress:
    """A progress bar that changes a few times a second: people see no more, and it costs."""

    PAUSE = 0.1

    def __init__(self, plain: Bar) -> None:
        self._plain = plain
        self._done = 0
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to show something else."""
        return time.perf_counter() >= self._next

    def describe(self, description: str, *, done: int) -> None:
        """Show a description, and that so much is done."""
        self._plain.describe(description)
        self._plain.advance(done - self._done)
        self._done = done
        self._next = time.perf_counter() + self.PAUSE


class Clock:
    """How long an epoch has taken, over all the runs that it took."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._start = time.perf_counter() - seconds

    @property
    def seconds(self) -> float:
        """How long the epoch has taken."""
        return time.perf_counter() - self._start

    def restart(self) -> None:
        """Begin with the next epoch."""
        self._start = time.perf_counter()
