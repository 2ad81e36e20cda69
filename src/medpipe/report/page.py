"""The report of a run or an evaluation as one HTML page.

jinja2 is imported inside functions.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from medpipe.errors import MedpipeError
from medpipe.report.blocks import Block, Section, Shown, Text, number
from medpipe.report.data_sheet import data_sheet
from medpipe.report.decisions import decisions
from medpipe.report.galleries import (
    Images,
    augmentation,
    error_galleries,
    error_tables,
    examples,
    unavailable,
)
from medpipe.report.making import chain_section, provenance, time_section
from medpipe.report.mask_cases import mask_cases
from medpipe.report.plugin_sections import plugin_sections, task_sections
from medpipe.report.results import classes, headline, learning_curves, subgroups, targets
from medpipe.report.style import DARK, VARIABLES
from medpipe.system.versions import medpipe_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from medpipe.report.facts import ReportFacts

logger = logging.getLogger("medpipe")

ERRORS = "Errors and hits"
MASKS = "Best, median and worst case"
FAILURES = (MedpipeError, RuntimeError, ValueError, OSError)
"""What images that have changed can lead to."""
NO_IMAGES = "Images are left out of this report."


def report_page(facts: ReportFacts, shown: Shown) -> str:
    """The whole report as HTML: one file that needs no other, no network and no JavaScript.

    A part that can't be made is replaced by a sentence that says why.

    Args:
        facts: What is reported.
        shown: What may be in it.
    """
    return page(
        title=_title(facts, shown),
        subtitle=_subtitle(facts),
        sections=list(report_sections(facts, shown)),
    )


def report_sections(facts: ReportFacts, shown: Shown) -> Iterator[Section]:
    """The sections of a report, in order."""
    yield from facts.first
    split = facts.shown_split
    if split is None:
        said = f"The run is {facts.record['status']} and has no predictions yet."
        yield Section(key="results", title="Results", blocks=[Text(text=said)])
    else:
        predictions = facts.predictions[split]
        form = facts.data.task.step.answer_form
        yield headline(facts, split, predictions, shown)
        if form in ("class", "findings"):
            yield from classes(facts, split, predictions)
        elif form == "numbers":
            yield targets(split, predictions)
        yield from task_sections(facts, split, shown)
        chosen = None if facts.kind == "runs" else facts.record.get("chosen_on_validation")
        yield from decisions(facts.metrics[split], chosen)
        yield from _there(subgroups(facts, split, shown))
    if facts.kind == "run":
        yield from _there(learning_curves(facts))
    yield from _of_images(facts, split, shown)
    yield from plugin_sections(facts, split, shown)
    yield from _there(chain_section(facts, shown))
    if facts.kind != "runs":
        yield from _there(time_section(facts.record))
        yield provenance(facts, shown)


def _of_images(facts: ReportFacts, split: str | None, shown: Shown) -> Iterator[Section]:
    """What images are needed for, and the data sheet, which has some."""
    rows = facts.splits()
    sheet = data_sheet(facts, rows, shown)
    predictions = None if split is None else facts.predictions[split]
    listed = [] if predictions is None or not shown.paths else error_tables(predictions)
    try:
        images = Images.of(facts) if shown.images else None
        why: Block = Text(text=NO_IMAGES)
    except MedpipeError as error:
        images, why = None, unavailable(error, shown)
    if images is None:
        if listed:
            yield Section(key="errors", title=ERRORS, blocks=[*listed, why])
        yield Section(key="data", title="Data", blocks=sheet if listed else [*sheet, why])
        return
    if predictions is not None:
        dense = facts.data.task.step.dense
        show = mask_cases if dense else error_galleries
        try:
            wrong = show(images, predictions, facts, shown)
        except FAILURES as error:
            wrong = [*listed, unavailable(error, shown)]
        if wrong:
            key, title = ("cases", MASKS) if dense else ("errors", ERRORS)
            yield Section(key=key, title=title, blocks=wrong)
    if facts.kind == "run" and facts.assembly is not None:
        steps = facts.assembly.configuration.transforms
        sheet += _tried(lambda: examples(images, rows, shown), shown)
        sheet += _tried(lambda: augmentation(images, rows, steps), shown)
    yield Section(key="data", title="Data", blocks=sheet)


def _tried(make: Callable[[], list[Block]], shown: Shown) -> list[Block]:
    """Blocks of images, or why there are none: a changed file must not cost the report."""
    try:
        return make()
    except FAILURES as error:
        logger.debug("A part of the report has no images", exc_info=True)
        return [unavailable(error, shown)]


def _there(*sections: Section | None) -> Iterator[Section]:
    yield from (section for section in sections if section is not None)


def page(*, title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Sections as an HTML page."""
    return str(
        _template().render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            light=_variables({colour: colour for colour in VARIABLES}),
            dark=_variables(DARK),
            footer=f"Made by medpipe {medpipe_version()}. Not a medical device: for research only.",
        )
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medpipe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = number
    return environment.get_template("report.html")


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"{VARIABLES[role]}: {colour};" for role, colour in colours.items())


def _title(facts: ReportFacts, shown: Shown) -> str:
    name = facts.path.resolve().name if facts.kind == "runs" else facts.record["name"]
    what = {"run": "Run", "evaluation": "Evaluation of run", "runs": "Runs of"}[facts.kind]
    if shown.paths:
        return f"{what} {name}"
    return "Report of several runs" if facts.kind == "runs" else f"Report of the {what.lower()}"


def _subtitle(facts: ReportFacts) -> str:
    record, task = facts.record, facts.data.task
    names = ", ".join(task.names[:12]) + (", ..." if len(task.names) > 12 else "")
    status, day = record["status"].capitalize(), record["started"][:10]
    return f"{task.kind.capitalize()}: {names}. {status}, {day}."
