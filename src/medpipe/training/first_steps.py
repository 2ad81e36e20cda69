"""Time the first batch and the first steps of an engine."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ignite.engine import Engine

LATER_STEPS = 9
"""How many steps after the first say what a step takes."""


class FirstSteps:
    """Times the first steps of an engine that has not run yet.

    Args:
        engine: The engine.
        on_first: Called after the first step, with the seconds until its batch was there and
            those that it took.
        on_later: Called once, with the seconds of the first step and the median of those after
            it: after `LATER_STEPS` of them, or as many as there are in the first epoch.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        on_first: Callable[[float, float], None],
        on_later: Callable[[float, float], None],
    ) -> None:
        from ignite.engine import Events

        self._on_first, self._on_later = on_first, on_later
        self._began = self._waited = 0.0
        self._taken: list[float] = []
        self._done = False
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start_step)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _begin(self) -> None:
        self._began = time.perf_counter()

    def _start_step(self) -> None:
        if self._done:
            return
        now = time.perf_counter()
        self._waited, self._began = now - self._began, now

    def _end_step(self) -> None:
        if self._done:
            return
        self._taken.append(time.perf_counter() - self._began)
        if len(self._taken) == 1:
            self._on_first(self._waited, self._taken[0])
        if len(self._taken) > LATER_STEPS:
            self._finish()

    def _finish(self) -> None:
        if not self._done and len(self._taken) > 1:
            self._on_later(self._taken[0], statistics.median(self._taken[1:]))
        self._done = True
