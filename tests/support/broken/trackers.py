"""Handlers for trackers that each fail one check."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import Point, RunContext, RunFacts, TrackedStatus, Tracker, TrackerStep

if TYPE_CHECKING:
    from ignite.engine import Engine


class InFile(Tracker):
    """The points of a run, in a file beside its run directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def sent(self) -> Mapping[str, int]:
        return self._last

    def send(self, points: Sequence[Point]) -> None:
        self._last |= {point.name: point.step for point in points}

    def close(self, status: TrackedStatus) -> None:
        self._path.write_text(json.dumps(self._last))


@attrs.frozen(kw_only=True)
class Sound(TrackerStep):
    """A tracker that fails no check."""

    name: ClassVar[str] = "sound_tracker"

    def open(self, facts: RunFacts) -> Tracker:
        return InFile(facts.path.parent / f"{facts.id}.json")


@attrs.frozen(kw_only=True)
class AsksWhenItAttaches(Sound):
    """Looks at once whether its server knows the run."""

    def attach(self, engine: Engine, context: RunContext) -> None:
        if not context.trial:
            self.open(RunFacts.read(context.output)).sent()
        super().attach(engine, context)


@attrs.frozen(kw_only=True)
class AsksAtTheEnd(Sound):
    """Asks its server how it is at the end, and takes every answer."""

    def attach(self, engine: Engine, context: RunContext) -> None:
        def ask(run: Any) -> None:
            with contextlib.suppress(OSError):
                self.open(RunFacts.read(run.path)).sent()

        context.on("run_completed", ask)
        super().attach(engine, context)


@attrs.frozen(kw_only=True)
class WaitsForAll(Sound):
    """Waits at the end until a thread of its own has been answered."""

    def attach(self, engine: Engine, context: RunContext) -> None:
        import threading

        def ask(run: Any) -> None:
            with contextlib.suppress(OSError):
                self.open(RunFacts.read(run.path)).sent()

        def wait(run: Any) -> None:
            thread = threading.Thread(target=ask, args=[run])
            thread.start()
            thread.join()

        context.on("run_completed", wait)
        super().attach(engine, context)


class _Forgets(InFile):
    def sent(self) -> Mapping[str, int]:
        return {}


@attrs.frozen(kw_only=True)
class SendsTwice(Sound):
    """Says of each run that nothing of it is there."""

    def open(self, facts: RunFacts) -> Tracker:
        return _Forgets(facts.path.parent / f"{facts.id}.json")


@attrs.frozen(kw_only=True)
class Away(Sound):
    """Has a server that is not there."""

    def open(self, facts: RunFacts) -> Tracker:
        raise ConnectionRefusedError("nobody is there")


BROKEN: dict[str, list[Any]] = {
    "survives_without_its_server": [AsksWhenItAttaches()],
    "never_waits_for_its_server": [AsksAtTheEnd(), WaitsForAll()],
    "finds_its_run_again": [SendsTwice()],
}
"""For each check steps that fail it alone."""
SOUND = [Sound(), Away(wait=0.0)]
"""Steps that fail none."""
