"""Run a configuration of a set in a process of its own, and read what its run directory says."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from benchmarks.first_projects.sets import ImageSet

Side = Literal["default", "tuned"]
SUFFIXES: dict[Side, str] = {"default": ".toml", "tuned": ".tuned.toml"}
CONFIGURATIONS = Path(__file__).parent / "configurations"
REPOSITORY = Path(__file__).parents[2]


@attrs.frozen(kw_only=True)
class Measured:
    """What came of a run.

    Attributes:
        name: The set.
        side: Whether it ran the defaults or the tuned configuration.
        seed: Of the run.
        metric: What is compared, of the test.
        value: Its value.
        interval: Its 95 % interval.
        training: Samples in the training split.
        batch_size: Samples in a batch.
        epochs: Epochs that were run.
        seconds: What the run took.
    """

    name: str
    side: Side
    seed: int
    metric: str
    value: float
    interval: tuple[float, float] | None
    training: int
    batch_size: int
    epochs: int
    seconds: float

    @property
    def steps(self) -> int:
        """Steps of the optimizer."""
        return self.epochs * -(-self.training // self.batch_size)


def measured(some: ImageSet, side: Side, scratch: Path, seed: int) -> Measured:
    """Run a side of a set; a finished run that is there already is taken.

    Raises:
        RuntimeError: The run failed.
    """
    from medpipe import Run

    some.folder(scratch)
    output = scratch / "runs" / f"{some.name}-{side}-{seed}"
    file = CONFIGURATIONS / f"{some.name}{SUFFIXES[side]}"
    if not output.exists() or Run.load(output).status != "finished":
        command = [sys.executable, "-m", "medpipe", "run", str(file), "--output", str(output)]
        command += ["--set", f"run.seed={seed}", "--set", "run.device=cpu"]
        if some.epochs is not None:
            command += ["--set", "trainer.step=supervised"]
            command += ["--set", f"trainer.max_epochs={some.epochs}"]
        done = subprocess.run(
            command,
            cwd=scratch,
            env=environment(scratch),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return _read(some, side, seed, Run.load(output))


def environment(scratch: Path) -> dict[str, str]:
    """The variables of a run: this repository's medpipe, one thread, a cache of its own."""
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    own = {"PYTHONPATH": paths, "MEDPIPE_CACHE": str(scratch / "cache")}
    return {"OMP_NUM_THREADS": "1", **os.environ, **own}


def _read(some: ImageSet, side: Side, seed: int, run: Any) -> Measured:
    test = run.metrics["test"]
    interval = test["intervals"].get(some.metric)
    given = tomllib.loads((CONFIGURATIONS / f"{some.name}{SUFFIXES[side]}").read_text("utf-8"))
    batch = run.record["auto"].get("loader.batch_size") or given["loader"]["batch_size"]
    return Measured(
        name=some.name,
        side=side,
        seed=seed,
        metric=some.metric,
        value=test[some.metric],
        interval=None if interval is None else (interval[0], interval[1]),
        training=run.record["data"]["splits"]["training"],
        batch_size=batch,
        epochs=len(run.history),
        seconds=run.timings["total"],
    )
