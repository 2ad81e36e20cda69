"""The report of several runs: what they have in common, and the metrics of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import RunError
from medpipe.report.blocks import Section, Table, Text
from medpipe.report.blocks import number as written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.report.facts import ReportFacts
    from medpipe.runs.run import Run

POOLED = "pooled"


def facts_of_set(
    path: Path,
    first: Run,
    *,
    predictions: Predictions,
    metrics: Mapping[str, Any],
    runs: Section,
) -> ReportFacts:
    """What the report of a set of runs is made from.

    Args:
        path: The folder of the runs.
        first: One of them, of whose kind they all are.
        predictions: Those of all runs, pooled.
        metrics: Of these.
        runs: See `runs_section`.
    """

    def no_network() -> TrainedNetwork:
        raise RunError("These predictions are those of several networks.")

    return attrs.evolve(
        first.facts(),
        kind="runs",
        path=path,
        metrics={POOLED: metrics},
        predictions={POOLED: predictions},
        history=(),
        trained=no_network,
        first=(runs,),
    )


def runs_section(
    runs: Sequence[Run],
    spreads: Mapping[str, Any],
    *,
    unfinished: int,
    missing_folds: Sequence[int],
    names: bool,
) -> Section:
    """The runs with their metrics, and the mean and the spread over them.

    Args:
        runs: The finished ones.
        spreads: A `Spread` by metric.
        unfinished: How many others there are.
        missing_folds: The folds that no finished run holds out.
        names: Whether the names of the runs' folders may be shown.
    """
    rows: list[list[object]] = []
    for place, run in enumerate(runs):
        name = run.path.name if names else f"run {place + 1}"
        fold = run.record.get("split", {}).get("fold")
        head: list[object] = [name, "" if fold is None else fold, run.record["seeds"]["run"]]
        rows.append([*head, *(written(spread.values[place]) for spread in spreads.values())])
    for title, key in (("mean", "mean"), ("standard deviation", "standard_deviation")):
        found = (getattr(spread, key) for spread in spreads.values())
        rows.append([title, "", "", *("" if v is None else written(v) for v in found)])
    columns = ["run", "fold", "seed", *(name.replace("_", " ") for name in spreads)]
    said = [
        Text(
            text="The results below are of the predictions of all runs put together: over folds "
            "each by a network that was not trained on the sample, over seeds their mean. The "
            "standard deviation over the runs is no confidence interval."
        )
    ]
    if unfinished:
        said.append(Text(text=f"Not finished, and not part of this: {unfinished}."))
    if missing_folds:
        said.append(Text(text=f"Missing folds: {', '.join(map(str, missing_folds))}."))
    return Section(key="runs", title="Runs", blocks=[Table(columns=columns, rows=rows), *said])
