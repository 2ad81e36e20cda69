"""The runs of a set as one: which belong together, the mean of their networks, and its metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from medpipe.data.splits.split_file import SPLITS_FILE
from medpipe.errors import RunError
from medpipe.runs.one_kind import changed_settings
from medpipe.settings import EvaluationSettings
from medpipe.system.place import place
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.external import Evaluation
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.registry.registry import Registry
    from medpipe.report.facts import ReportFacts
    from medpipe.runs.run import Run
    from medpipe.steps import Dataset, DatasetStep

logger = logging.getLogger("medpipe")

CHANGE_INPUTS = ("transform", "reader", "dataset.unit:", "dataset.dicom_group:")
"""The settings that decide what networks get of a file."""
NAMED = 3

NO_VALIDATION = "not all of the runs have predictions on a validation split"
OWN_VALIDATION = (
    "it is chosen on predictions for a validation split, and these runs do not share one: on the "
    "samples of one, others were trained"
)
OTHER_SETTINGS = "the runs have different settings in [evaluation]"
CHOSEN_HERE = "it is chosen on the validation split, and not measured there"


class Together(Protocol):
    """What a `RunSet` is: a folder, its finished runs and the others."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Those that are finished."""

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The others."""


def trained_together(
    some: Together, which: Literal["best", "last"], registry: Registry | None
) -> TrainedNetwork:
    """The networks of a set as one that predicts their mean.

    Args:
        some: The runs.
        which: The network of each.
        registry: Where steps are looked up; by default every installed plugin.

    Raises:
        RunError: No run is finished, or not all are, or runs get or answer different things.
    """
    from medpipe.prediction.trained import Members

    _refuse_unlike(some)
    runs = some.runs
    members = Members(
        paths=tuple(run.path for run in runs),
        load=lambda number: runs[number].trained(which, registry),
    )
    first = members.member(0)
    settings = first.assembly.configuration.evaluation
    chosen = _chosen_together(runs, settings, registry) if which == "best" else None
    if settings.operating_point and chosen and not chosen["operating_point"] and place().leads:
        because = chosen["no_operating_point_because"]
        logger.warning("The runs in %s have no common operating point: %s.", some.path, because)
    known = (run.record["data"].get("images") for run in runs)
    images = next((one for one in known if one is not None), None)
    return attrs.evolve(first, path=some.path, chosen=chosen, members=members, images=images)


def evaluate_together(
    some: Together,
    data: DatasetStep | Dataset,
    *,
    output: Path | None,
    which: Literal["best", "last"],
    device: str,
    batch_size: int | None,
    allow_overlap: bool,
    registry: Registry | None,
) -> Evaluation:
    """Evaluate the mean of networks on an external data set; see `RunSet.evaluate`."""
    from medpipe.prediction.external import evaluate_dataset
    from medpipe.report.files import at_the_end, write_evaluation_report

    trained = trained_together(some, which, registry)
    done = evaluate_dataset(
        trained,
        data,
        output=output,
        device=device,
        batch_size=batch_size,
        allow_overlap=allow_overlap,
    )
    if output is not None and place().leads:
        at_the_end(lambda: write_evaluation_report(_facts(some, trained), done, output))
    return done


def ensemble_metrics(runs: Sequence[Run], split: Literal["validation", "test"]) -> dict[str, Any]:
    """The metrics of the mean over runs on what all of them held out; see `RunSet`.

    Raises:
        RunError: There is no such mean; it says why.
    """
    from medpipe.evaluation.frozen import nothing_chosen, results_of

    predictions = _mean(runs, split)
    configuration, registry = runs[0].configured()
    settings = EvaluationSettings() if configuration is None else configuration.evaluation
    return results_of(
        predictions,
        _chosen_together(runs, settings)
        if split == "test"
        else nothing_chosen(settings, CHOSEN_HERE),
        settings,
        metrics=() if configuration is None else configuration.metrics,
        registry=registry,
    )


def _mean(runs: Sequence[Run], split: Literal["validation", "test"]) -> Predictions:
    """The mean of predictions on a split that all runs held out, by sample id.

    Raises:
        RunError: There is no such mean; it says why.
    """
    from medpipe.evaluation.overlap import pixels_in
    from medpipe.runs.pooling import pool

    first = runs[0]
    if len(runs) < 2:
        raise RunError(f"The run {first.path} is alone: an ensemble needs two.")
    if first.data.task.step.dense:
        raise RunError(
            "Predictions keep what is measured of masks, and of the probabilities that would be "
            "averaged nothing. Measure the mean with medpipe evaluate FOLDER --data FILE.toml, "
            "on images that no run was trained on."
        )
    held_out = {frozenset(run.predictions(split).ids) for run in runs}
    images = [pixels_in(split, run.path / SPLITS_FILE) for run in runs]
    if len(held_out) > 1 or any(some != images[0] for some in images):
        raise RunError(
            f"The runs do not share one {split} split, and each was trained on samples that others "
            "held out: of these, only pooled predictions mean something. Measure the mean on an "
            "external set, with medpipe evaluate FOLDER --data FILE.toml."
        )
    return pool(runs, split)[0]


def _chosen_together(
    runs: Sequence[Run], settings: EvaluationSettings, registry: Registry | None = None
) -> Mapping[str, Any]:
    """The temperature and the operating point that the mean on the validation split gives."""
    from medpipe.evaluation.frozen import chosen_on_validation, nothing_chosen

    if len(runs) == 1:
        own: Mapping[str, Any] | None = runs[0].record.get("chosen_on_validation")
        return own or nothing_chosen(settings, NO_VALIDATION)
    configurations = [run.configured(registry)[0] for run in runs]
    if any(one is not None and one.evaluation != settings for one in configurations):
        return nothing_chosen(settings, OTHER_SETTINGS)
    if not all("validation" in run.metrics for run in runs):
        return nothing_chosen(settings, NO_VALIDATION)
    try:
        mean = _mean(runs, "validation")
    except RunError:
        return nothing_chosen(settings, OWN_VALIDATION)
    return chosen_on_validation(mean, settings)


def _refuse_unlike(some: Together) -> None:
    """See that runs are finished, and that their networks get and answer the same.

    Raises:
        RunError: Some are not, or do not; all are named, with what differs.
    """
    problems = [
        f"{run.path} is not finished ({run.status}): resume it (--resume), or move it elsewhere."
        for run in some.unfinished
    ]
    for run in some.runs[1:]:
        lines = _unlike(some.runs[0], run)
        if lines:
            more = f" and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
            problems.append(
                f"{run.path} differs from {some.runs[0].path}: {'; '.join(lines[:NAMED])}{more}. "
                "Keep each kind in a folder of its own."
            )
    if not problems and not some.runs:
        problems.append("there is no run.")
    if problems:
        raise RunError(
            "\n  ".join([f"The runs in {some.path} can't be taken together:", *problems])
        )


def _unlike(one: Run, other: Run) -> list[str]:
    """What changes the inputs of two runs' networks, or what their outputs mean."""
    lines = []
    before, now = one.data, other.data
    if before.task != now.task:
        same = str(before.task) == str(now.task)
        lines.append(
            f"the tasks differ in their parameters ({before.task})"
            if same
            else f"the task: {before.task}, now {now.task}"
        )
    if before.channels != now.channels:
        lines.append(f"channels: {before.channels}, now {now.channels}")
    readings = one.record["data"]["reading"], other.record["data"]["reading"]
    lines += [
        f"reading.{name}: {readings[0].get(name)}, now {readings[1].get(name)}"
        for name in sorted(readings[0].keys() | readings[1].keys())
        if readings[0].get(name) != readings[1].get(name)
    ]
    changed = changed_settings(one, other)
    return [*lines, *(line for line in changed if line.startswith(CHANGE_INPUTS))]


def _facts(some: Together, trained: TrainedNetwork) -> ReportFacts:
    """What the report of an evaluation is made from; settings and times are the first run's."""
    from medpipe.report.blocks import Section, Text

    def networks() -> TrainedNetwork:
        if trained.data.task.step.dense:
            return trained
        raise RunError("These predictions are those of several networks.")

    first = some.runs[0]
    said = (
        f"These are predictions of {counted(len(some.runs), 'network')}: the mean of their "
        "scores. What is said of one run below is that of the first."
    )
    return attrs.evolve(
        first.facts(),
        path=first.path,
        record={
            **first.record,
            "name": some.path.resolve().name,
            "chosen_on_validation": trained.chosen,
        },
        metrics={},
        predictions={},
        history=(),
        trained=networks,
        first=(Section(key="runs", title="Runs", blocks=[Text(text=said)]),),
    )
