"""`Sender`: a thread that sends a run to its tracker while the run trains; and sending it later."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from typing import TYPE_CHECKING

import attrs

from medpipe.errors import MedpipeError, RunError
from medpipe.tracking.facts import Point, RunFacts, unsent, unsent_name, unsent_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from medpipe.tracking.tracker import Destination, TrackedStatus, Tracker

MOST_WAITING = 20_000
"""Points of iterations that wait for a tracker; of more, the oldest are dropped."""
AT_ONCE = 1000
"""Points in one request: MLflow takes no more."""
TOGETHER = 1.0
"""Seconds for which points are collected, to be sent together."""
PAUSES = (5.0, 300.0)
"""Seconds until a tracker that failed is tried again: at first, and at most after doubling."""

logger = logging.getLogger("medpipe")


class Sender:
    """Sends a run to its tracker from a thread of its own.

    What the tracker has not taken yet is in the run directory from each checkpoint on, so that
    neither a power cut nor a machine without a network loses it.

    Args:
        destination: The tracker.
        path: The run directory.
        write_text: Writes a file of the run directory by its name.
    """

    def __init__(
        self, destination: Destination, path: Path, write_text: Callable[[str, str], None]
    ) -> None:
        self._destination, self._path = destination, path
        self._write_text = write_text
        self._waiting: deque[Point] = deque(unsent(path, destination.name), maxlen=MOST_WAITING)
        self._under_way: list[Point] = []
        self._written = bool(self._waiting)
        self._dropped = 0
        self._read_again = True
        self._ending: TrackedStatus | None = None
        self._given_up = False
        self._error: str | None = None
        self._connection: _Connection | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self._work, name=f"medpipe-{destination.name}", daemon=True
        )

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def add(self, points: Sequence[Point]) -> None:
        """Send points, soon; returns at once."""
        with self._changed:
            self._put(points)
            self._changed.notify()

    def read_again(self) -> None:
        """Send what the run directory has and the tracker has not, soon; keep what is not sent."""
        with self._changed:
            self._read_again = True
            self._changed.notify()
        self._write_unsent()

    def close(self, status: TrackedStatus) -> None:
        """Send the rest and how the run ended, or warn after so many seconds as it waits."""
        with self._changed:
            self._ending = status
            self._changed.notify()
        if self._thread.ident is not None:
            self._end()
        self._write_unsent()

    def _end(self) -> None:
        self._thread.join(self._destination.wait)
        if self._thread.is_alive():
            self._given_up = True
            self._warn_of_rest(
                self._error or f"it did not take all within {self._destination.wait:g} s"
            )
        elif self._error is not None:
            self._warn_of_rest(self._error)
        elif self._dropped:
            logger.warning(
                "The tracker %s lacks %d points of single iterations, since it was away for too "
                "long.",
                self._destination.name,
                self._dropped,
            )

    def _work(self) -> None:
        pause = PAUSES[0]
        while not self._given_up:
            with self._changed:
                self._changed.wait_for(self._has_work)
                points, again, ending = list(self._waiting), self._read_again, self._ending
                self._waiting.clear()
                self._under_way, self._read_again = points, False
            try:
                self._deliver(points, again=again, ending=ending)
            # A library may also raise SystemExit, which must end no more than the sending.
            except (Exception, SystemExit) as error:
                self._keep(points, again=again)
                self._note(error)
                wait, pause = pause, min(2 * pause, PAUSES[1])
            else:
                self._under_way = []
                self._error, wait, pause = None, TOGETHER, PAUSES[0]
            if ending is not None:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._ending is not None, wait)

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._read_again or self._ending is not None

    def _deliver(
        self, points: Sequence[Point], *, again: bool, ending: TrackedStatus | None
    ) -> None:
        if self._connection is None:
            self._connection = _Connection.to(self._destination, RunFacts.read(self._path))
        connection = self._connection
        connection.send(points)
        if not again and ending is None:
            return
        facts = RunFacts.read(self._path)
        connection.send(facts.history())
        if ending == "finished":
            connection.send(facts.results())
            for path in facts.artifacts(self._destination.artifacts):
                if self._given_up:
                    return
                connection.tracker.send_file(path)
        if ending is not None:
            connection.tracker.close(ending)

    def _write_unsent(self) -> None:
        with self._changed:
            points = [*self._under_way, *self._waiting]
        if not points and not self._written:
            return
        try:
            self._write_text(unsent_name(self._destination.name), unsent_text(points))
            self._written = True
        except MedpipeError as error:
            logger.warning(
                "What the tracker %s lacks is not kept: %s", self._destination.name, error
            )

    def _put(self, points: Sequence[Point]) -> None:
        self._dropped += max(0, len(self._waiting) + len(points) - MOST_WAITING)
        self._waiting.extend(points)

    def _keep(self, points: Sequence[Point], *, again: bool) -> None:
        """Keep what could not be sent; a new connection asks what the tracker has got of it."""
        self._connection = None
        with self._changed:
            later = list(self._waiting)
            self._waiting.clear()
            self._under_way = []
            self._put([*points, *later])
            self._read_again |= again

    def _note(self, error: BaseException) -> None:
        first, self._error = self._error is None, described(error)
        if first and self._ending is None:
            logger.warning(
                "The tracker %s failed: %s. The run goes on, and the tracker is tried again.",
                self._destination.name,
                self._error,
            )

    def _warn_of_rest(self, why: str) -> None:
        logger.warning(
            "The tracker %s lacks a part of the run: %s. Nothing is lost; send the run again with "
            "medpipe track %s --to %s.",
            self._destination.name,
            why,
            self._path,
            self._destination.name,
        )


@attrs.frozen
class _Connection:
    """A run at its tracker, and the last step that it has of each curve."""

    tracker: Tracker
    sent: dict[str, int]

    @classmethod
    def to(cls, destination: Destination, facts: RunFacts) -> _Connection:
        tracker = destination.open(facts)
        return cls(tracker, dict(tracker.sent()))

    def send(self, points: Iterable[Point]) -> int:
        """Send what the tracker lacks: steps rise, also where iterations were repeated.

        Returns:
            How many points that were.
        """
        finite, steps = [], dict(self.sent)
        for point in points:
            if point.step <= steps.get(point.name, -1):
                continue
            steps[point.name] = point.step
            if math.isfinite(value := float(point.value)):
                finite.append(attrs.evolve(point, value=value))
        for start in range(0, len(finite), AT_ONCE):
            self.tracker.send(finite[start : start + AT_ONCE])
        self.sent.update(steps)
        return len(finite)


def send_run(path: Path, destination: Destination) -> int:
    """Send a run directory to a tracker, without what the tracker has of it.

    Args:
        path: The run directory.
        destination: The tracker.

    Returns:
        How many points were sent.

    Raises:
        RunError: The tracker is not installed, does not answer, or refuses.
    """
    facts = RunFacts.read(path)
    status = _STATUS[facts.status]
    try:
        destination.load()
    except ImportError as error:
        raise RunError(str(error)) from error
    try:
        connection = _Connection.to(destination, facts)
        count = connection.send(
            sorted(
                [
                    *facts.unsent(destination.name),
                    *facts.iterations(destination.every),
                    *facts.history(),
                ],
                key=lambda point: point.step,
            )
        )
        if status == "finished":
            count += connection.send(facts.results())
            for artifact in facts.artifacts(destination.artifacts):
                connection.tracker.send_file(artifact)
        connection.tracker.close(status)
    except (Exception, SystemExit) as error:
        raise RunError(
            f"The run {path} could not be sent to the tracker {destination.name}: "
            f"{described(error)}. "
            "Check the tracker and send the run again: what is there already is not sent twice."
        ) from error
    return count


_STATUS: Mapping[str, TrackedStatus] = {
    "running": "running",
    "finished": "finished",
    "stopped": "stopped",
    "interrupted": "stopped",
    "failed": "failed",
}


def described(error: BaseException) -> str:
    """An error of a tracker's library in one line, without a full stop at its end."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= 300 else f"{text[:300]}..."
    return f"{type(error).__name__}: {shown}".rstrip(" .:")
