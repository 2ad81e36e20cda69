"""medpipe's side: the same figures, from its ordinary path."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figures, arguments, report

if TYPE_CHECKING:
    import argparse

    from medpipe import PipelineBuilder


def builder(options: argparse.Namespace, **trainer: Any) -> PipelineBuilder:
    from medpipe import PipelineBuilder

    return (
        PipelineBuilder()
        .dataset("image_folder", root=Path(options.data), channels=1)
        .network("densenet121")
        .trainer("supervised", precision=options.precision, **trainer)
        .loader(batch_size=options.batch_size, workers=options.workers)
    )


def first_batch(options: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    loaders = builder(options).build().build_loaders()
    next(iter(loaders.training))
    seconds = time.perf_counter() - started
    loaders.close()
    return {"seconds": seconds}


def batches(options: argparse.Namespace) -> Figures:
    loaders = builder(options).build().build_loaders()
    count, started = 0, None
    while started is None or time.perf_counter() - started < options.seconds:
        for _ in loaders.training:
            started = started or time.perf_counter()
            count += 1
            if time.perf_counter() - started >= options.seconds:
                break
    seconds = time.perf_counter() - started
    loaders.close()
    return {"batches_per_second": (count - 1) / seconds}


def trained(options: argparse.Namespace) -> Figures:
    """Iterations of the trainer that a run would have."""
    import torch
    from ignite.engine import Events

    trainer = (
        builder(options, max_epochs=options.iterations, epoch_length=1, learning_rate=1e-5)
        .build()
        .build_trainer()
    )
    ends: list[float] = []

    def note(_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    return {"images_per_second": options.batch_size * (len(ends) - 1) / (ends[-1] - ends[0])}


def accuracy(options: argparse.Namespace) -> Figures:
    """A whole run of the recipe, from files to the test accuracy, start-up included."""
    import tomllib

    from medpipe import PipelineBuilder

    started = time.perf_counter()
    recipe = PipelineBuilder.from_recipe("mednist_fast")
    trainer = {**tomllib.loads(recipe.to_toml())["trainer"]}
    step = trainer.pop("step")
    if options.iterations:
        trainer["epoch_length"] = options.iterations
    chosen = (
        recipe.dataset("image_folder", root=Path(options.data), channels=1)
        .trainer(step, **trainer)
        .loader(batch_size=64, workers=options.workers)
    )
    with TemporaryDirectory() as folder:
        run = chosen.build().run(Path(folder) / "run")
        test = run.metrics["test"]
    return {"seconds": time.perf_counter() - started, "accuracy": test["accuracy"]}


if __name__ == "__main__":
    chosen_row = arguments()
    # MONAI takes seconds to import, for both sides alike: it is in the wall time alone.
    import monai.engines  # noqa: F401

    rows = {
        "first_batch": first_batch,
        "batches": batches,
        "train": trained,
        "accuracy": accuracy,
    }
    report(rows[chosen_row.row](chosen_row))
