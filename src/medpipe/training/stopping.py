"""Stop a run by a time limit or a signal, at the end of an iteration."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Stopped(Exception):  # noqa: N818  (it is no error)
    """Leaves work that can be done again, such as an evaluation, because the run is to stop."""


class StopRequest:
    """Whether a run is to stop, and why.

    Args:
        max_seconds: Stop when so many seconds have passed from now; None: never.
    """

    def __init__(self, max_seconds: float | None = None) -> None:
        self._end = None if max_seconds is None else time.monotonic() + max_seconds
        self._signal: signal.Signals | None = None

    @property
    def reason(self) -> str | None:
        """Why the run is to stop; None: it is not."""
        if self._signal is not None:
            return self._signal.name
        if self._end is not None and time.monotonic() >= self._end:
            return "the time limit"
        return None

    @property
    def signalled(self) -> bool:
        """Whether a signal asked."""
        return self._signal is not None

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C that asked."""
        return self._signal is signal.SIGINT

    def check(self, *, first: bool = False) -> None:
        """Leave what can be done again.

        Args:
            first: Whether it is the first one of the run's session. A time limit then waits for its
                end: otherwise each session would leave it at the same place as the one before.

        Raises:
            Stopped: The run is to stop.
        """
        if self.signalled or (self.reason is not None and not first):
            raise Stopped

    def agree(self, *, save: bool = False) -> bool:
        """Agree with the other processes of the run, if there are any, on what comes next.

        Args:
            save: Whether it is time for a checkpoint.

        Returns:
            Whether all save one.
        """
        return save

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM, SIGUSR1, SIGHUP and SIGINT for requests inside the block.

        A second Ctrl-C raises KeyboardInterrupt at once. Handlers that a script has set itself
        stay, and only the main thread can listen.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGUSR1", "SIGHUP", "SIGINT"):
                number = getattr(signal, name, None)  # Windows has neither SIGUSR1 nor SIGHUP
                if number is None:
                    continue
                current = signal.getsignal(number)
                if current in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = current
                    signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number)
