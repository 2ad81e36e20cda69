"""The sections of results: metrics, learning curves, classes, calibration, subgroups, agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.calibration import ENOUGH_CASES, calibration, with_temperature
from medpipe.evaluation.class_table import PROPORTIONS, class_table
from medpipe.evaluation.subgroups import group_count
from medpipe.report.blocks import Block, Drawings, Points, Section, Shown, Table, Text, interval
from medpipe.report.blocks import number as written
from medpipe.report.class_figures import (
    confusion_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)
from medpipe.report.history_figure import history_figure
from medpipe.report.regression_figures import (
    agreement,
    bland_altman_figure,
    known,
    scatter_figure,
)
from medpipe.report.remarks import names_one, shown_remarks
from medpipe.report.svg import svg
from medpipe.system.text import counted
from medpipe.tasks.tables import titled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medpipe.evaluation.predictions import Predictions
    from medpipe.report.facts import ReportFacts

TARGETS = 4
"""Targets of a regression that get figures."""
TRIVIAL = "one answer for all"
MEASURES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
}


def headline(facts: ReportFacts, split: str, predictions: Predictions, shown: Shown) -> Section:
    """The metrics with their intervals, and remarks on them."""
    metrics = facts.metrics[split]
    names = numbers_of(metrics)
    undefined = [name for name in names if metrics[name] is None]
    groups = group_count(predictions)
    amount = counted(len(predictions), "image")
    if any(group is not None for group in predictions.groups):
        amount += f" of {counted(groups, 'patient')} or other groups"
    blocks: list[Block] = [Text(text=f"{split.capitalize()} on {amount}.", strong=True)]
    remarks = shown_remarks(metrics, predictions, shown)
    if remarks:
        blocks.append(Points(items=remarks, warn=True))
    others = _other_splits(facts, split)
    rows = [
        [*row, *(written(facts.metrics[other].get(name)) for other in others)]
        for name, row in zip(names, metric_rows(metrics, names), strict=True)
    ]
    columns = ["metric", split, "95 % interval", TRIVIAL, *others]
    if facts.data.task.step.dense:  # no mask is an answer for all
        columns.remove(TRIVIAL)
        rows = [[*row[:3], *row[4:]] for row in rows]
    unit = facts.data.task.unit
    if unit:
        blocks.append(Text(text=f"The unit of the target is {unit}."))
    blocks.append(Table(columns=columns, rows=rows))
    said = f"{len(undefined)} of {len(names)} metrics are undefined"
    said += f" ({', '.join(undefined)})." if undefined else "."
    blocks.append(Text(text=said))
    if "interval_method" in metrics:
        blocks.append(Text(text=f"Intervals: {metrics['interval_method']}."))
    return Section(key="results", title="Results", blocks=blocks)


def metric_rows(metrics: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """A row for each metric: its name, value, interval, and the value of one answer for all."""
    intervals, trivial = metrics.get("intervals", {}), metrics.get("baseline", {})
    return [
        [
            titled(name, metrics).replace("_", " "),
            written(metrics[name]),
            interval(intervals.get(name)),
            written(trivial[name]) if name in trivial else "",
        ]
        for name in names
    ]


def learning_curves(facts: ReportFacts) -> Section | None:
    """Loss, the monitored metric and the learning rate by epoch."""
    if not facts.history:
        return None
    best = facts.record.get("best_epoch")
    made = history_figure(facts.history, monitor=facts.monitor, best=best)
    caption = f"Epoch by epoch; the network of epoch {best} is {facts.choice}."
    drawing = svg(made, "history", "Learning curves"), caption
    columns = list(facts.history[0])
    rows = [
        [f"{row.get('epoch'):.0f}", *(_cell(row.get(name)) for name in columns[1:])]
        for row in facts.history[-100:]
    ]
    heads = [name.replace("_", " ") for name in columns]
    table = Table(columns=heads, rows=rows, caption="All epochs", folded=True)
    return Section(
        key="learning", title="Learning curves", blocks=[Drawings(items=[drawing]), table]
    )


def classes(facts: ReportFacts, split: str, predictions: Predictions) -> Iterator[Section]:
    """Confusion matrix, table by class, ROC and precision-recall, calibration."""
    metrics, task = facts.metrics[split], facts.data.task
    if "confusion" in metrics:
        made = confusion_figure(metrics["confusion"], task.names)
        drawing = (
            svg(made, "confusion", "Confusion matrix"),
            "Counts, and below them (and as the colour) the share of the true class.",
        )
        yield Section(key="confusion", title="Confusion matrix", blocks=[Drawings(items=[drawing])])
    table = metrics.get("class_table") or class_table(predictions)
    if not table:
        return
    yield Section(key="by-class", title=_by_word(task.step.word), blocks=[_class_table(table)])
    yield Section(
        key="curves",
        title="ROC and precision-recall",
        blocks=[
            Drawings(
                items=[
                    (
                        svg(roc_figure(predictions), "roc", "ROC curves"),
                        "ROC with 95 % bands of resampled patients (or other groups).",
                    ),
                    (
                        svg(precision_recall_figure(predictions), "pr", "Precision-recall curves"),
                        "Precision-recall; the precision holds at the prevalence of these images.",
                    ),
                ]
            )
        ],
    )
    yield from _calibrated(facts, split, predictions)


def _class_table(table: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, found in table.items():
        cells: list[object] = [name, found["cases"], found["predicted"]]
        for measure in PROPORTIONS:
            spread = interval(found["intervals"].get(measure))
            value = written(found[measure])
            cells.append(f"{value} ({spread})" if spread else value)
        rows.append(cells)
    columns = ["", "cases", "predicted", *(MEASURES[name] for name in PROPORTIONS)]
    caption = "With 95 % intervals. Predictive values hold at the prevalence of these images."
    return Table(columns=columns, rows=rows, caption=caption)


def _calibrated(facts: ReportFacts, split: str, predictions: Predictions) -> Iterator[Section]:
    before = facts.metrics[split].get("calibration") or calibration(predictions)
    if before is None:
        return
    after, said = scaled_calibration(facts, split, predictions)
    made = reliability_figure(before, after)
    drawing = (
        svg(made, "reliability", "Reliability diagram"),
        f"{_sentence(before['method'])} On the dotted line, probabilities are what they say.",
    )
    rows = []
    for key, name in (
        ("ece", "expected calibration error"),
        ("brier", "Brier score"),
        ("log_loss", "log loss"),
        ("slope", "calibration slope (1 is perfect)"),
        ("intercept", "calibration intercept (0 is perfect)"),
    ):
        if key in ("slope", "intercept") and before["cases"] < ENOUGH_CASES:
            continue  # they are noise
        row = [name, written(before[key])]
        rows.append([*row, written(after[key])] if after is not None else row)
    columns = ["", "as it is", *(["after temperature scaling"] if after is not None else [])]
    yield Section(
        key="calibration",
        title="Calibration",
        blocks=[Drawings(items=[drawing]), Table(columns=columns, rows=rows), Text(text=said)],
    )


def scaled_calibration(
    facts: ReportFacts, split: str, predictions: Predictions
) -> tuple[dict[str, Any] | None, str]:
    """The calibration after temperature scaling, and a sentence on it; None where there is none."""
    if facts.kind == "runs":
        return None, "There is no temperature scaling: these are several networks' predictions."
    chosen = facts.record.get("chosen_on_validation") or {}
    temperature = chosen.get("temperature")
    if temperature is None:
        because = chosen.get("no_temperature_because") or "the run has not come to its test"
        return None, f"There is no temperature scaling: {because}."
    if split == "validation":
        return None, "The temperature is fitted on this split, so it is not measured on it."
    after = facts.metrics.get(split, {}).get("calibration_scaled") or calibration(
        with_temperature(predictions, temperature)
    )
    return after, f"The temperature {temperature:.3f} is fitted on the validation split."


def targets(split: str, predictions: Predictions) -> Section:
    """Scatter and Bland-Altman of each target of a regression."""
    blocks: list[Block] = []
    names = predictions.task.names
    rows = []
    for place, name in enumerate(names):
        found = agreement(*known(predictions, name))
        limits = None if found.low is None else (found.low, found.high)
        rows.append([name, found.cases, written(found.bias), _limits(limits)])
        if place < TARGETS:
            items = [
                (
                    svg(
                        scatter_figure(predictions, name), f"scatter-{place}", f"Scatter of {name}"
                    ),
                    f"{name}: predicted against true.",
                ),
                (
                    svg(
                        bland_altman_figure(predictions, name),
                        f"bland-altman-{place}",
                        f"Bland-Altman of {name}",
                    ),
                    f"{name}: Bland-Altman with 95 % limits of agreement.",
                ),
            ]
            blocks.append(Drawings(items=items))
    columns = ["", "cases", "bias (predicted - true)", "95 % limits of agreement"]
    blocks.append(Table(columns=columns, rows=rows))
    if len(names) > TARGETS:
        blocks.append(Text(text=f"Figures are drawn of the first {TARGETS} targets."))
    return Section(key="agreement", title=f"Agreement on the {split} split", blocks=blocks)


def subgroups(facts: ReportFacts, split: str, shown: Shown) -> Section | None:
    """The metrics of the samples that share a value of a kept column."""
    metrics = facts.metrics[split]
    blocks: list[Block] = []
    for column, tables in metrics.get("subgroups", {}).items():
        names = [n for n in numbers_of(metrics) if n != "loss"]
        rows = []
        for place, (value, table) in enumerate(tables.items(), 1):
            head = value or "(blank)"
            if not shown.paths and names_one(tables):
                head = f"value {place}"
            cells: list[object] = [head, table["images"], table["groups"]]
            for name in names:
                spread = interval(table.get("intervals", {}).get(name))
                number = written(table.get(name))
                cells.append(f"{number} ({spread})" if spread else number)
            rows.append(cells)
        heads = [name.replace("_", " ") for name in names]
        blocks.append(
            Table(columns=[column, "images", "groups", *heads], rows=rows, caption=f"By {column}")
        )
    if not blocks:
        return None
    said = "With 95 % intervals. Subgroups are small: most differences between them are chance."
    return Section(key="subgroups", title="Subgroups", blocks=[*blocks, Text(text=said)])


def numbers_of(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics that are one number, or would be if they were defined."""
    named = set(metrics.get("intervals", ())) | {"loss"}
    return [n for n, v in metrics.items() if isinstance(v, float) or (v is None and n in named)]


def _other_splits(facts: ReportFacts, split: str) -> list[str]:
    return [name for name in ("test", "validation") if name != split and name in facts.metrics]


def _limits(found: Sequence[float | None] | None) -> str:
    if found is None or found[0] is None or found[1] is None:
        return "undefined"
    return f"{found[0]:.4f} to {found[1]:.4f}"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _by_word(word: str) -> str:
    return f"By {word}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
