"""A tracker of a plugin that writes what it is sent to a file, and fails as a test wants."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

import medpipe
from medpipe.plugin import (
    HandlerStep,
    Point,
    RunContext,
    RunFacts,
    TrackedStatus,
    Tracker,
    TrackerStep,
    hookimpl,
)
from support.tiny_runs import registered, tiny

RELEASE = threading.Event()
"""What a tracker that hangs waits for."""
HANGING = threading.Event()
"""Set once a tracker hangs."""


@attrs.frozen(kw_only=True)
class Ledger(TrackerStep):
    """Writes JSON lines, one folder for all runs, a file for each."""

    name: ClassVar[str] = "ledger"
    folder: str
    fails: str = ""
    hangs: str = ""
    times: int = 1_000_000
    error: str = "ValueError"

    def load(self) -> None:
        if self.fails == "load":
            raise ImportError("The ledger is not installed. Buy one.")

    def open(self, facts: RunFacts) -> Tracker:
        trouble = _Trouble(self)
        trouble.at("open")
        return _Book(Path(self.folder) / f"{facts.id}.jsonl", facts, trouble)


class _Trouble:
    _failed: ClassVar[dict[str, int]] = {}

    def __init__(self, step: Ledger) -> None:
        self._step = step

    def at(self, place: str) -> None:
        step = self._step
        if step.hangs == place:
            HANGING.set()
            RELEASE.wait()
        failed = self._failed.get(step.folder, 0)
        if step.fails == place and failed < step.times:
            self._failed[step.folder] = failed + 1
            raise {"ValueError": ValueError, "SystemExit": SystemExit}[step.error]("out of ink.")


class _Book(Tracker):
    def __init__(self, path: Path, facts: RunFacts, trouble: _Trouble) -> None:
        self._path, self._trouble = path, trouble
        if not path.exists():
            self._write([{"parameters": dict(facts.parameters), "tags": dict(facts.tags)}])

    def sent(self) -> Mapping[str, int]:
        return {line["name"]: line["step"] for line in lines(self._path) if "name" in line}

    def send(self, points: Sequence[Point]) -> None:
        half = len(points) // 2
        self._write([attrs.asdict(point) for point in points[:half]])
        self._trouble.at("send")
        self._write([attrs.asdict(point) for point in points[half:]])

    def send_file(self, path: Path) -> None:
        self._trouble.at("send_file")
        self._write([{"file": path.name, "bytes": path.stat().st_size}])

    def close(self, status: TrackedStatus) -> None:
        self._trouble.at("close")
        self._write([{"status": status}])

    def _write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        with self._path.open("a") as file:
            file.writelines(f"{json.dumps(entry)}\n" for entry in entries)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def curves(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """The points of each curve in the order in which they were sent."""
    found: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        if "name" in entry:
            found.setdefault(entry["name"], []).append((entry["step"], entry["value"]))
    return found


@attrs.frozen(kw_only=True)
class Dying(HandlerStep):
    """Ends the process without a word at an iteration, as a power cut does."""

    name: ClassVar[str] = "dying"
    at: int = 0

    def attach(self, engine: Any, context: RunContext) -> None:
        from ignite.engine import Events

        def die(engine: Any) -> None:
            if engine.state.iteration == self.at and "MEDPIPE_TEST_DIES" in os.environ:
                os._exit(9)

        if not context.trial:
            engine.add_event_handler(Events.ITERATION_COMPLETED, die)


class Plugin:
    @hookimpl
    def medpipe_handlers(self) -> list[type[HandlerStep]]:
        return [Ledger, Dying]


REGISTRY = medpipe.Registry.discover().with_plugin(Plugin(), name="ledger")


def builder(*handlers: Any, **trainer: Any) -> medpipe.PipelineBuilder:
    document = registered(tiny()).to_toml()
    made = medpipe.PipelineBuilder.from_toml(document, registry=REGISTRY)
    options = {"max_epochs": 2, "learning_rate": 3e-3, "schedule": "constant", **trainer}
    return made.trainer("supervised", **options).handlers(*handlers)


def ledger(folder: Path, **parameters: Any) -> Any:
    return medpipe.step("ledger", folder=str(folder), **{"every": 1, **parameters})
