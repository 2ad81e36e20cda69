"""Ways to check and run a pipeline, and to use its parts, which type checkers accept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import medpipe

if TYPE_CHECKING:
    from ignite.engine import Engine
    from matplotlib.figure import Figure
    from torch import Tensor, nn


def described(pipeline: medpipe.Pipeline) -> str:
    return pipeline.describe()


def checked_deeply(pipeline: medpipe.Pipeline) -> list[str]:
    report: medpipe.CheckReport = pipeline.check(deep=True)
    return [*report.warnings, *(problem.path for problem in report.problems)]


def measured_by_a_check(pipeline: medpipe.Pipeline) -> tuple[int | None, ...]:
    data = pipeline.check().data
    return () if data is None else data.spatial_shape


def faults_of_the_data(pipeline: medpipe.Pipeline) -> dict[str, int]:
    report: medpipe.DataReport = pipeline.check_data()
    faults: tuple[medpipe.Fault, ...] = report.faults
    return {} if report.ok and not faults else report.counts


def drawn_augmentation(pipeline: medpipe.Pipeline) -> Figure:
    return pipeline.preview(8, epochs=2)


def run_for_an_hour(pipeline: medpipe.Pipeline) -> medpipe.Run:
    return pipeline.run("runs/first", max_time=timedelta(hours=1))


def resumed_with_other_packages(pipeline: medpipe.Pipeline, output: Path) -> medpipe.Run:
    return pipeline.run(output, resume=True, allow_changed=("packages", "hardware"))


def every_fold(pipeline: medpipe.Pipeline) -> medpipe.RunSet:
    return pipeline.run_folds("runs/folds", resume=True)


def several_seeds(pipeline: medpipe.Pipeline) -> medpipe.RunSet:
    return pipeline.run_seeds(5, "runs/seeds", max_time=3600.0)


def own_training_loop(pipeline: medpipe.Pipeline) -> Tensor | None:
    network: nn.Module = pipeline.build_network()
    loaders: medpipe.Loaders = pipeline.build_loaders()
    output: Tensor | None = None
    for batch in loaders.training:
        output = network(batch["image"])
    if loaders.validation is not None:
        output = network(next(iter(loaders.validation))["image"])
    loaders.close()
    return output


def engine_alone(pipeline: medpipe.Pipeline) -> Engine:
    return pipeline.build_trainer()
