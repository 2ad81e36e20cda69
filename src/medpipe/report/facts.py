"""`ReportFacts`: all that a report is made from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.splits.split_file import SPLITS_FILE
from medpipe.training.monitored import is_defined

if TYPE_CHECKING:
    from medpipe.assembly import Assembly
    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.report.blocks import Section
    from medpipe.steps import DataInfo, Dataset


@attrs.frozen(kw_only=True, eq=False)
class ReportFacts:
    """A run, or an evaluation of its network, with all that a report shows of it.

    Attributes:
        kind: ``run``; ``evaluation``: on data of another set; ``runs``: the pooled predictions of
            several, whose record is that of the first.
        path: The run directory, or the folder of the runs.
        record: The content of ``run.json``.
        data: What was measured on the run's data.
        metrics: By split; those of an evaluation under ``evaluation``.
        predictions: By split, as far as they are there.
        history: The epochs.
        assembly: Builds the run's parts; None where the run can't be built again.
        dataset: Lists the samples whose predictions are shown; it may raise a `MedpipeError`.
        trained: Gives the network; it may raise a `MedpipeError`.
        notes: Of an evaluation.
        first: Sections before all others.
    """

    kind: Literal["run", "evaluation", "runs"] = "run"
    path: Path
    record: Mapping[str, Any]
    data: DataInfo
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Predictions]
    history: Sequence[Mapping[str, float | None]] = ()
    assembly: Assembly | None = None
    dataset: Callable[[], Dataset]
    trained: Callable[[], TrainedNetwork]
    notes: tuple[str, ...] = ()
    first: tuple[Section, ...] = ()

    @property
    def shown_split(self) -> str | None:
        """The split whose results the report is about: the test, else the validation."""
        wanted = ("evaluation", "pooled", "test", "validation")
        return next((split for split in wanted if split in self.predictions), None)

    @property
    def monitor(self) -> str:
        """The metric that decides which network is the best."""
        chosen = self.record["auto"].get("trainer.monitor")
        if chosen is None and self.assembly is not None:
            chosen = self.assembly.configuration.trainer.monitor
        return str(chosen or self.data.task.step.monitor)

    @property
    def choice(self) -> str:
        """What the network that was kept is: the best by the metric, or by what took its place."""
        names = {name for row in self.history for name, value in row.items() if is_defined(value)}
        if not names or f"validation_{self.monitor}" in names:
            return f"the best by validation {self.monitor}"
        if not any(name.startswith("validation_") for name in names):
            return "the last, as there was no validation"
        why = f"since validation {self.monitor} was undefined in every epoch"
        by_loss = "validation_loss" in names
        return f"the best by validation loss, {why}" if by_loss else f"the first, {why}"

    def splits(self) -> list[dict[str, str]]:
        """The rows of ``splits.csv``; none where it can't be read."""
        try:
            text = (self.path / SPLITS_FILE).read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return []
        return list(csv.DictReader(io.StringIO(text, newline="")))
