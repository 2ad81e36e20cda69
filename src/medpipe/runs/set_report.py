"""The report of several runs: what they have in common, and the metrics of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from medpipe.errors import RunError
from medpipe.report.blocks import Section, Shown, Table, Text
from medpipe.report.blocks import number as written

if TYPE_CHECKING:
    from medpipe.prediction.network import TrainedNetwork
    from medpipe.report.facts import ReportFacts
    from medpipe.runs.run_set import RunSet

POOLED = "pooled"


def facts_of_set(runs: RunSet, split: Literal["validation", "test"], shown: Shown) -> ReportFacts:
    """What the report of a set is made from: its pooled predictions and a table of its runs.

    Args:
        runs: The set.
        split: The split that the runs held out.
        shown: What may be in the report.

    Raises:
        RunError: The predictions can't be pooled; see `RunSet.pooled`.
    """
    first = runs.runs[0].facts() if runs.runs else None
    metrics, predictions = runs.pooled_metrics(split), runs.pooled(split)
    assert first is not None  # or they could not be pooled

    def no_network() -> TrainedNetwork:
        raise RunError("These predictions are those of several networks.")

    return attrs.evolve(
        first,
        kind="runs",
        path=runs.path,
        metrics={POOLED: metrics},
        predictions={POOLED: predictions},
        history=(),
        trained=no_network,
        first=(_table(runs, split, shown),),
    )


def _table(runs: RunSet, split: Literal["validation", "test"], shown: Shown) -> Section:
    """The runs with their metrics, and the mean and the spread over them."""
    spreads = runs.metrics(split)
    rows: list[list[object]] = []
    for place, run in enumerate(runs.runs):
        name = run.path.name if shown.paths else f"run {place + 1}"
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
    if runs.unfinished:
        said.append(Text(text=f"Not finished, and not part of this: {len(runs.unfinished)}."))
    if runs.missing_folds:
        said.append(Text(text=f"Missing folds: {', '.join(map(str, runs.missing_folds))}."))
    return Section(key="runs", title="Runs", blocks=[Table(columns=columns, rows=rows), *said])
