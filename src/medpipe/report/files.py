"""Write reports, also at the end of runs and evaluations, which they must not cost."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import attrs

from medpipe.report.blocks import Shown
from medpipe.system import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medpipe.prediction.external import Evaluation
    from medpipe.report.facts import ReportFacts

logger = logging.getLogger("medpipe")

REPORT = "report.html"
MODEL_CARD = "model_card.md"
SWITCH = "MEDPIPE_REPORT"
"""The environment variable that is 0 where runs and evaluations write no report at their end."""


def write_report(
    facts: ReportFacts, path: Path, *, images: bool = True, paths: bool = True
) -> Path:
    """Write a report, and beside that of a run its model card; see `medpipe.Run.report`.

    Raises:
        RunError: They can't be written.
    """
    from medpipe.report.model_card import model_card
    from medpipe.report.page import report_page

    shown = Shown(images=images, paths=paths)
    files.write_text(path, report_page(facts, shown))
    if facts.kind == "run":
        files.write_text(path.with_name(MODEL_CARD), model_card(facts, shown))
    return path


def write_evaluation_report(facts: ReportFacts, evaluation: Evaluation, folder: Path) -> None:
    """Write the report of an evaluation of a run's network into the evaluation's folder.

    Args:
        facts: Of the run.
        evaluation: What was measured.
        folder: Where to write.
    """
    both = attrs.evolve(
        facts,
        kind="evaluation",
        metrics={"evaluation": evaluation.metrics, **facts.metrics},
        predictions={"evaluation": evaluation.predictions, **facts.predictions},
        dataset=lambda: evaluation.dataset,
        notes=evaluation.notes,
    )
    write_report(both, folder / REPORT)


def at_the_end(write: Callable[[], object]) -> None:
    """Write a report at the end of a run or an evaluation; a failure is a warning.

    The environment variable ``MEDPIPE_REPORT=0`` leaves it out.
    """
    if os.environ.get(SWITCH) == "0":
        return
    try:
        write()
    except Exception as error:  # whatever is wrong with it, the results are there
        logger.warning(
            "The report was not written: %s: %s. The results are there; make it again with "
            "medpipe report.",
            type(error).__name__,
            error,
        )
        logger.debug("The report was not written", exc_info=True)
