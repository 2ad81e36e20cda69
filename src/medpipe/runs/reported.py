"""What the report of a run is made from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from medpipe.errors import MedpipeError
from medpipe.report.facts import ReportFacts
from medpipe.runs.record import PREDICTIONS
from medpipe.system.file_errors import mode_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from medpipe.assembly import Assembly
    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import DataInfo, Dataset

HeldOut = Literal["validation", "test"]
HELD_OUT: tuple[HeldOut, ...] = ("validation", "test")
"""The splits that are predicted."""

logger = logging.getLogger("medpipe")


def facts_of(
    path: Path,
    record: Mapping[str, Any],
    *,
    data: DataInfo,
    history: list[dict[str, float | None]],
    predictions: Callable[[HeldOut], Predictions],
    dataset: Dataset | None,
    assembly: Callable[[], Assembly],
    trained: Callable[[], TrainedNetwork],
) -> ReportFacts:
    """What the report of a run is made from.

    Args:
        path: The run directory.
        record: The content of ``run.json``.
        data: What was measured on the data.
        history: The epochs in order.
        predictions: Reads those of a split.
        dataset: The data set, where it is listed already.
        assembly: Builds the parts of the run again.
        trained: Gives its best network.
    """
    built: Assembly | None = None
    try:
        built = assembly()
    except MedpipeError as error:
        logger.debug("The run %s can't be built again: %s", path, error)
    return ReportFacts(
        path=path,
        record=record,
        data=data,
        metrics=record["metrics"],
        predictions={
            split: predictions(split)
            for split in HELD_OUT
            if mode_of(path / PREDICTIONS.format(split))
        },
        history=history,
        assembly=built,
        dataset=lambda: dataset or assembly().listed(),
        trained=trained,
    )
