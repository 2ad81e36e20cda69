"""Sections that the tasks, metrics and handlers of a run add to its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.errors import MedpipeError
from medpipe.registry.failures import failures_named
from medpipe.report.blocks import Block, Drawings, Points, Section, Shown, Table, Text
from medpipe.report.svg import svg
from medpipe.tasks.report import ReportContext, ReportSection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.report.facts import ReportFacts
    from medpipe.steps import HandlerStep, MetricStep, TaskStep


def task_sections(facts: ReportFacts, split: str | None, shown: Shown) -> Iterator[Section]:
    """The sections of the task; else as `plugin_sections`."""
    yield from _sections(facts, split, shown, [facts.data.task.step], "task")


def plugin_sections(facts: ReportFacts, split: str | None, shown: Shown) -> Iterator[Section]:
    """The sections of the metrics and handlers in their order.

    A step that fails is named in place of its section.
    """
    if facts.assembly is not None:
        steps: list[TaskStep | MetricStep | HandlerStep] = []
        steps += facts.assembly.metrics(facts.data.task).values()
        steps += facts.assembly.configuration.handlers
        yield from _sections(facts, split, shown, steps, "more")


def _sections(
    facts: ReportFacts,
    split: str | None,
    shown: Shown,
    steps: Sequence[TaskStep | MetricStep | HandlerStep],
    key: str,
) -> Iterator[Section]:
    if split is None or facts.assembly is None:
        return
    predictions, task = facts.predictions[split], facts.data.task
    context = ReportContext(
        output=facts.path,
        split=split,
        names=task.names,
        unit=predictions.unit,
        scores=predictions.scores,
        labels=predictions.labels,
        metrics=facts.metrics[split],
        measures=predictions.measures,
        paths=shown.paths,
    )
    registry = facts.assembly.registry
    for place, step in enumerate(steps):
        try:
            with failures_named(registry.title(step), "failed to report"):
                made = [
                    _section(given, f"{key}-{place}-{number}", shown)
                    for number, given in enumerate(step.report_sections(context))
                ]
        except MedpipeError as error:
            said = str(error) if shown.paths else f"{registry.title(step)} failed to report."
            made = [Section(key=f"{key}-{place}", title=step.name, blocks=[Points(items=(said,))])]
        yield from made


def _section(given: ReportSection, key: str, shown: Shown) -> Section:
    blocks: list[Block] = [Text(text=text) for text in given.text]
    blocks += [
        Table(columns=table.columns, rows=table.rows, caption=table.caption)
        for table in given.tables
    ]
    drawn = [
        (svg(figure, f"{key}-{number}", caption), caption)
        for number, (caption, figure) in enumerate(given.figures.items())
    ]
    kept = [(text, caption) for text, caption in drawn if shown.images or "<image" not in text]
    if kept:
        blocks.append(Drawings(items=kept))
    return Section(key=key, title=given.title, blocks=blocks)
