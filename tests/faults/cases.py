"""What is done to a run, and whether it came through."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs

from faults import runs
from faults.disks import Failing, Killing, Remembering, Short, Watching
from faults.power import disk_after, lose_power
from faults.server import forked
from medpipe import MedpipeError, PipelineBuilder, Run
from medpipe.system.disk import Disk
from medpipe.system.files import through
from medpipe.training.run_checkpoints import BEST, FOLDER, LAST, RunCheckpoints

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES)

Outcome = dict[str, Any]
"""``ok``, and where it is false ``why``."""


@attrs.frozen
class Subject:
    """A run to be disturbed.

    Attributes:
        name: Its name.
        builder: Its pipeline.
        points: The names of all its points, in their order.
        operations: How many of them are operations on the disk.
        digest: What it comes to when nothing happens.
        log: What it does to the disk.
        base: The folder that the log is about.
    """

    name: str
    builder: PipelineBuilder = attrs.field(repr=False)
    points: tuple[str, ...] = attrs.field(repr=False)
    operations: int
    digest: str
    log: list[Any] = attrs.field(repr=False)
    base: Path


def run_in(builder: PipelineBuilder, base: Path, disk: Disk) -> Run:
    """Begin a run below a folder, or go on with it; the cache is there too."""
    os.environ["MEDPIPE_CACHE"] = str(base / "cache")
    runs.reached[:] = [disk.reach] if isinstance(disk, Watching) else []
    with through(disk):
        return builder.build().run(base / "run", resume=True)


def subject(name: str, builder: PipelineBuilder) -> Subject:
    """Run it undisturbed, twice: to count its points, and to remember what it does."""
    watching, remembering = Watching(), Remembering()
    base = Path(tempfile.mkdtemp(prefix="faults-"))

    def count() -> Outcome:
        digest = runs.digest(run_in(builder, base / "counted", watching))
        Path(base / "points").write_text("\n".join(watching.names))
        return {"digest": digest}

    def remember() -> Outcome:
        run_in(builder, base / "remembered", remembering)
        Path(base / "log").write_bytes(pickle.dumps(remembering.log))
        return {}

    for folder in ("counted", "remembered"):
        (base / folder).mkdir()
    _, first = forked(count)
    _, second = forked(remember)
    for said in (first, second):
        if said is None or "bare" in said:
            raise AssertionError(f"{name} fails undisturbed: {said}")
    points = tuple((base / "points").read_text().splitlines())
    return Subject(
        name=name,
        builder=builder,
        points=points,
        operations=sum(not p.startswith(("step", "half-way", "close")) for p in points),
        digest=first["digest"],
        log=pickle.loads((base / "log").read_bytes()),  # our own, written a moment ago
        base=base / "remembered",
    )


def killed(given: Subject, place: int, second: int | None = None) -> Callable[[], Outcome]:
    """Kill the run at a point, and where `second` is given what goes on from there at another."""

    def case(base: Path) -> Outcome:
        for point in (place, second):
            if point is None:
                continue
            status, said = forked(lambda p=point: _end(given, base, Killing(p)))
            if status != -signal.SIGKILL and said != {"digest": given.digest}:
                return {"ok": False, "why": f"was not killed: {status} {said}"}
            lost = _lost(base)
            if lost:
                return {"ok": False, "why": lost}
        return _goes_on(given, base)

    return _in_a_folder(case)


def failed(given: Subject, place: int, code: int, *, lasting: bool) -> Callable[[], Outcome]:
    """Fail an operation, and with `lasting` all that follow."""

    def case(base: Path) -> Outcome:
        _, said = forked(lambda: _end(given, base, Failing(place, code, lasting=lasting)))
        if said is None or not ("error" in said or said == {"digest": given.digest}):
            return {"ok": False, "why": f"ends otherwise: {said}"}
        lost = _lost(base)
        return {"ok": False, "why": lost} if lost else _goes_on(given, base)

    return _in_a_folder(case)


def short(given: Subject) -> Callable[[], Outcome]:
    """Write everything in small pieces."""

    def case(base: Path) -> Outcome:
        _, said = forked(lambda: _end(given, base, Short()))
        same = said == {"digest": given.digest}
        return {"ok": True} if same else {"ok": False, "why": f"ends otherwise: {said}"}

    return _in_a_folder(case)


def without_power(given: Subject, seed: int) -> Callable[[], Outcome]:
    """Lose the power at some moment, and go on from one of the states that may leave."""

    def case(base: Path) -> Outcome:
        random = Random(seed)
        disk = disk_after(given.log[: random.randint(0, len(given.log))], given.base)
        lose_power(disk, base, random)
        lost = _lost(base)
        return {"ok": False, "why": lost} if lost else _goes_on(given, base)

    return _in_a_folder(case)


def flipped(given: Subject, seed: int) -> Callable[[], Outcome]:
    """Kill a run late, flip a bit of its last or best checkpoint, and go on."""

    def case(base: Path) -> Outcome:
        random = Random(seed)
        names = [number for number, p in enumerate(given.points) if p == "rename run.json"]
        forked(lambda: _end(given, base, Killing(random.choice(names[2:]))))
        name = random.choice([n for n in (LAST, BEST) if (base / "run" / n).exists()] or [""])
        if not name:
            return {"ok": True}
        flip(base / "run" / name, random)
        return _goes_on(given, base)

    return _in_a_folder(case)


def flip(path: Path, random: Random) -> None:
    """Turn one bit of a file round."""
    content = bytearray(path.read_bytes())
    place = random.randrange(len(content))
    content[place] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _in_a_folder(case: Callable[[Path], Outcome]) -> Callable[[], Outcome]:
    def inside() -> Outcome:
        base = Path(tempfile.mkdtemp(prefix="fault-"))
        try:
            return case(base)
        finally:
            shutil.rmtree(base, ignore_errors=True)

    return inside


def _end(given: Subject, base: Path, disk: Disk) -> Outcome:
    try:
        return {"digest": runs.digest(run_in(given.builder, base, disk))}
    except MedpipeError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _goes_on(given: Subject, base: Path) -> Outcome:
    _, said = forked(lambda: _end(given, base, Disk()))
    if said == {"digest": given.digest}:
        left = [str(path.relative_to(base)) for path in (base / "run").rglob("*.part")]
        return {"ok": not left, "why": f"leaves {left}"} if left else {"ok": True}
    return {"ok": False, "why": f"goes on otherwise: {said}"}


def _lost(base: Path) -> str:
    """Whether a run that has saved checkpoints has none that is whole."""
    if not any((base / "run" / FOLDER).glob("*.safetensors")):
        return ""
    try:
        found = RunCheckpoints(run=base / "run").latest()
    except MedpipeError as error:
        return f"no checkpoint is whole: {error}"
    if found.instead_of:
        return f"the last checkpoint is damaged: {found.instead_of}"
    return ""
