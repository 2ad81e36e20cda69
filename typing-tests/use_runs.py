"""Ways to read a run, several runs and their comparison, which type checkers accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import medpipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from torch import nn


def loaded_run() -> str:
    run = medpipe.Run.load("runs/first")
    return run.summary()


def test_metric(run: medpipe.Run) -> float:
    accuracy: float = run.metrics["test"]["accuracy"]
    return accuracy


def whether_it_finished(run: medpipe.Run) -> bool:
    return run.status == "finished"


def losses_of_the_epochs(run: medpipe.Run) -> list[float | None]:
    return [epoch["training_loss"] for epoch in run.history]


def measured_on_the_data(run: medpipe.Run) -> tuple[int, tuple[str, ...], tuple[int, ...] | None]:
    data: medpipe.DataInfo = run.data
    return data.channels, data.task.names, data.class_counts


def last_network(run: medpipe.Run, registry: medpipe.Registry) -> nn.Module:
    return run.network("last", registry=registry).eval()


def figures_of_a_run(run: medpipe.Run) -> list[Figure]:
    return [run.plot.history(), run.plot.roc("validation"), run.plot.scatter(target="age")]


def report_without_images(run: medpipe.Run) -> Path:
    return run.report("report.html", images=False, paths=False)


def sent_to_a_tracker(run: medpipe.Run) -> int:
    return run.track("mlflow", url="http://localhost:5000")


def spread_over_folds(folder: Path) -> float | None:
    runs = medpipe.RunSet.load(folder)
    spread: medpipe.Spread = runs.metrics("test")["auc"]
    return spread.standard_deviation


def pooled_over_folds(runs: medpipe.RunSet) -> tuple[medpipe.Predictions, tuple[int, ...]]:
    return runs.pooled("validation"), runs.missing_folds


def compared_runs(run: medpipe.Run, runs: medpipe.RunSet) -> Mapping[str, object]:
    comparison: medpipe.Comparison = medpipe.compare(run, runs, "runs/other", split="test")
    comparison.write("comparison.json")
    return comparison.record()
