"""medpipe's side: the same figures, from its ordinary path and by its public names alone."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.sides.arguments import ANGLE, HALF, ZOOM, Options, answer, from_command, now
from benchmarks.sides.overhead import overhead

if TYPE_CHECKING:
    from benchmarks.measuring import Figures
    from medpipe import Pipeline, PipelineBuilder, Registry, Run


def builder(
    options: Options,
    *,
    trainer: str = "supervised",
    registry: Registry | None = None,
    **parameters: Any,
) -> PipelineBuilder:
    """The script's set-up: the defaults are the tutorial's."""
    from medpipe import PipelineBuilder

    for name in ("recompute", "compile"):
        if getattr(options, name):
            parameters[name] = True
    chosen = (
        PipelineBuilder(seed=options.seed, registry=registry)
        .dataset("image_folder", root=options.data, channels=1)
        .network(options.network)
        .trainer(
            trainer,
            precision=options.precision,
            learning_rate=options.learning_rate,
            **parameters,
        )
        .loader(batch_size=options.batch_size, workers=options.workers)
        .split(validation=options.held_out, test=options.held_out)
    )
    if options.input_side:
        size = (options.input_side, options.input_side)
        chosen = chosen.transform("resize", before="to_tensor", spatial_size=size)
    if options.augment:
        chosen = (
            chosen.transform("rand_flip", prob=HALF, spatial_axis=0)
            .transform("rand_rotate", prob=HALF, range_x=ANGLE)
            .transform("rand_zoom", prob=HALF, min_zoom=ZOOM[0], max_zoom=ZOOM[1])
        )
    return chosen


def loading(options: Options) -> Figures:
    """From files to the first batch, then batches without training."""
    started = time.perf_counter()
    loaders = builder(options).build().build_loaders()
    built = time.perf_counter()
    next(iter(loaders.training))
    figures = {
        "seconds": now() - started,
        "from_command": from_command(),
        "build_seconds": built - started,
    }
    if options.seconds:
        count, started = 0, 0.0
        while not started or time.perf_counter() - started < options.seconds:
            for _ in loaders.training:
                if not started:
                    started = now()  # the first has the workers' start in it
                    continue
                count += 1
                if time.perf_counter() - started >= options.seconds:
                    break
        figures["batches_per_second"] = count / (now() - started)
    loaders.close()
    return figures


def training(options: Options) -> Figures:
    """A run of two short epochs, the second of which is timed by the run's own history."""
    pipeline = builder(options, max_epochs=2, epoch_length=options.iterations).build()
    with TemporaryDirectory() as folder:
        second = _run(pipeline, folder)[0].history[1]
    seconds = second["seconds"]
    assert seconds is not None
    return {"images_per_second": options.batch_size * options.iterations / seconds}


def whole(options: Options) -> Figures:
    """A whole run: every epoch validated, the best network tested, and all of it written."""
    with TemporaryDirectory() as folder:
        return _result(*_run(builder(options, max_epochs=options.epochs).build(), folder))


def recipe(options: Options) -> Figures:
    """A whole run of the recipe `mednist_fast`, with another seed and folder."""
    from medpipe import PipelineBuilder

    document = tomllib.loads(PipelineBuilder.from_recipe("mednist_fast").to_toml())
    document["dataset"] = {
        "step": "image_folder",
        "root": str(options.data),
        "channels": 1,
    }
    document["run"]["seed"] = options.seed
    document["loader"]["workers"] = options.workers
    if options.iterations:
        document["trainer"] |= {"max_epochs": 1, "epoch_length": options.iterations}
    with TemporaryDirectory() as folder:
        return _result(*_run(PipelineBuilder.from_document(document).build(), folder))


def _run(pipeline: Pipeline, folder: str) -> tuple[Run, float]:
    """A run, and its seconds."""
    started = time.perf_counter()
    run = pipeline.run(Path(folder) / "run")
    return run, now() - started


def _result(run: Run, seconds: float) -> Figures:
    """Where a run's time went, and what it reached.

    Files: what is neither import nor training nor test, so to list, look through, check and pack
    them, and to build and to write.
    """
    timings = run.record["timings"]
    phases = {name: float(timings.get(name, 0)) for name in ("training", "test")}
    imports = float(timings.get("imports", 0))
    return {
        "imports": imports,
        "phases": {"files": seconds - imports - sum(phases.values()), **phases},
        "timings": timings,
        "accuracy": run.metrics["test"]["accuracy"],
        "precision": run.record["precision"],
    }


if __name__ == "__main__":
    answer(
        {
            "loading": loading,
            "training": training,
            "whole": whole,
            "recipe": recipe,
            "overhead": lambda options: overhead(builder, options),
        },
        importing=("loading", "training", "overhead"),
    )
