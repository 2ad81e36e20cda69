"""`Tracker`: a run at a tracker; and `Destination`: where a run is sent, and what of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from medpipe.tracking.facts import Point, RunFacts

TrackedStatus = Literal["running", "finished", "stopped", "failed"]


class Tracker:
    """A run at a tracker; its methods may take long and may fail."""

    def sent(self) -> Mapping[str, int]:
        """The last step that the tracker has of each curve, by name."""
        raise NotImplementedError(f"{type(self).__name__} has no sent method")

    def send(self, points: Sequence[Point]) -> None:
        """Send points, of each curve in the order of their steps; values are finite floats."""
        raise NotImplementedError(f"{type(self).__name__} has no send method")

    def send_file(self, path: Path) -> None:
        """Send a file of the run directory; nothing where the tracker takes none."""

    def close(self, status: TrackedStatus) -> None:
        """Say how the run ended, and let go of the tracker."""


@attrs.frozen(kw_only=True)
class Destination:
    """Where a run is sent, and what of it; see `medpipe.plugin.TrackerStep` for the rest.

    Attributes:
        name: Of the tracker.
        load: Imports what it needs.
        open: Finds or creates the run there.
        every: Send every so many iterations.
        wait: Seconds for which the end of a run waits.
        artifacts: The files that are sent.
    """

    name: str
    load: Callable[[], None]
    open: Callable[[RunFacts], Tracker]
    every: int
    wait: float
    artifacts: Sequence[str]
