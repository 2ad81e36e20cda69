"""Evaluate a run's network on an external data set."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.preparation import digest_of
from medpipe.data.quality.faults import defect_faults, id_faults, label_faults
from medpipe.data.quality.non_finite import filled_by, without_filled
from medpipe.data.quality.screening import refusal
from medpipe.data.quality.step_faults import titled
from medpipe.data.readers.chosen import with_readers
from medpipe.data.scanning.label_scan import LabelScan, scan_labels
from medpipe.data.scanning.pixel_defects import NOT_FINITE
from medpipe.data.scanning.scan import Scan, scan
from medpipe.data.splits.split_file import SPLITS_FILE
from medpipe.distributed.same_data import refuse_other_data
from medpipe.errors import BadDataError, DataError
from medpipe.evaluation.matching import matched
from medpipe.evaluation.overlap import has_groups, seen_in
from medpipe.evaluation.predictions import Predictions, write_predictions
from medpipe.evaluation.rows import metric_rows, remark_rows
from medpipe.prediction.network import (
    device_named,
    predict_samples,
    shared_by_processes,
)
from medpipe.prediction.unlike import dataset_notes
from medpipe.steps import Dataset, DatasetStep, Reading, Split, Task
from medpipe.system import files
from medpipe.system.hardware import available_cpus
from medpipe.system.html import table
from medpipe.system.options import option
from medpipe.system.output_folders import refuse_existing
from medpipe.system.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from medpipe.prediction.trained import TrainedNetwork

logger = logging.getLogger("medpipe")

FORMAT = 1
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
NOT_CHOSEN = "it is chosen for the best network of a finished run"
NAMED = 3
"""How many images an error or a note names."""


@attrs.frozen(kw_only=True, eq=False)
class Evaluation:
    """Metrics and predictions of a network on labelled images.

    Attributes:
        metrics: The same as a run's test metrics, with intervals and subgroups.
        predictions: One for each image.
        overlap: The ids of images that the run was trained on and that were allowed.
        notes: Remarks on the data and their overlap with the run's.
        record: Which run and network, and which data.
        dataset: The samples, with labels by the run's names.
    """

    metrics: Mapping[str, Any] = attrs.field(repr=False)
    predictions: Predictions
    overlap: tuple[str, ...] = attrs.field(default=(), repr=False)
    notes: tuple[str, ...] = attrs.field(default=(), repr=False)
    record: Mapping[str, Any] = attrs.field(repr=False)
    dataset: Dataset = attrs.field(repr=False)

    def _repr_html_(self) -> str:
        rows = [
            *metric_rows(self.metrics),
            *remark_rows(self.metrics),
            *(("note", note) for note in self.notes),
        ]
        return table(rows, title=f"Evaluation on {counted(len(self.predictions), 'image')}")

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` and ``predictions.csv`` to a folder."""
        write_predictions(folder / PREDICTIONS, self.predictions)
        content = {
            "format": FORMAT,
            **self.record,
            "overlap": list(self.overlap),
            "notes": list(self.notes),
            "metrics": self.metrics,
        }
        files.write_json(folder / METRICS, content)


def evaluate_dataset(
    trained: TrainedNetwork,
    data: DatasetStep | Dataset,
    *,
    output: Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    allow_overlap: bool = False,
) -> Evaluation:
    """Evaluate a network on all samples of an external data set.

    Of several processes each predicts its part, and the first writes.

    Labels are matched by the names of classes, findings or targets.

    Args:
        trained: The network.
        data: The data set.
        output: A new folder to write to (see `Evaluation.write`); None: nothing is written.
        device: Where to compute; as ``run.device``.
        batch_size: Images in a batch; None: the run's. Where sizes differ it is 1.
        allow_overlap: Allow images that the run was trained on; they are recorded.

    Raises:
        DataError: The data set has another task, an image can't be read, leaves the chain
            in a shape that the network does not take, or was in the run's training split.
        BadDataError: Images hold NaN or infinite values, or ids or labels are wrong; all of them
            are listed.
        StepError: The dataset step failed.
        DeviceError: The device is not there.
        RunError: The output is there already, or can't be written.
    """
    with shared_by_processes(trained) as ours:
        where, processes = device_named(device), ours.assembly.processes
        if output is None or not processes.leads:
            evaluation = _evaluate(ours, data, where, batch_size, allow_overlap=allow_overlap)
        else:
            refuse_existing(output, kind="folder")
            with files.staged_directory(output) as staging:
                evaluation = _evaluate(ours, data, where, batch_size, allow_overlap=allow_overlap)
                evaluation.write(staging)
        processes.meet()  # all is written now
    return evaluation


@attrs.frozen(kw_only=True, eq=False)
class _External:
    """A data set that can be evaluated.

    Attributes:
        dataset: The samples, with labels by the run's names.
        found: What the scan found in them.
        lacking: The structures of the run of which its masks say nothing.
        overlap: As of `Evaluation`.
        notes: As of `Evaluation`.
        digest: A fingerprint of images and masks.
    """

    dataset: Dataset
    found: Scan
    lacking: Sequence[str]
    overlap: tuple[str, ...]
    notes: Sequence[str]
    digest: str


def _external(
    trained: TrainedNetwork, data: DatasetStep | Dataset, *, allow_overlap: bool
) -> _External:
    """List and scan a data set, and refuse what can't be evaluated."""
    if isinstance(data, Dataset):
        given = "the data set"
        listed = with_readers(data, trained.reading.readers, given)
    else:
        given = titled(data, trained.assembly.registry)
        listed = trained.assembly.dataset(data)
    _refuse_ids_and_labels(listed, trained.data.task, given)
    dataset = attrs.evolve(matched(listed, trained.data.task), reading=trained.reading)
    found = scan(dataset, workers=available_cpus())
    filled = _refuse_not_finite(dataset, found, trained)
    masks = _masks(attrs.evolve(listed, reading=trained.reading))
    lacking = _lacking(listed, trained)
    overlap = _seen_in("training", trained, found)
    if overlap and not allow_overlap:
        raise DataError(
            f"{_were(overlap, len(dataset.samples))} in the training split of "
            f"{_owner(trained)}: {_pairs(overlap)}. Leave them out, or give "
            f"{option('allow_overlap', True)} to measure on them nevertheless."
        )
    notes = [
        *dataset.notes,
        *filled,
        *(() if masks is None else masks.notes),
        *_unannotated_note(lacking),
        *_notes(listed, trained, overlap, _seen_in("validation", trained, found)),
    ]
    return _External(
        dataset=dataset,
        found=found,
        lacking=lacking,
        overlap=tuple(overlap),
        notes=notes,
        digest=digest_of(found, masks),
    )


def _evaluate(
    trained: TrainedNetwork,
    data: DatasetStep | Dataset,
    device: torch.device,
    batch_size: int | None,
    *,
    allow_overlap: bool,
) -> Evaluation:
    processes = trained.assembly.processes
    with processes.in_turn():  # so that those that follow find in the cache what was scanned
        external = _external(trained, data, allow_overlap=allow_overlap)
    refuse_other_data(external.digest, processes.share(external.digest), processes)
    samples, prints = external.dataset.samples, external.found.fingerprints
    unlike: list[str] = []
    if processes.leads:
        unlike = dataset_notes(samples, prints, trained.reading, trained.images)
        for note in (*external.notes, *unlike):
            logger.warning("%s", note)
    unlike = processes.share(unlike)
    predictions, loss, more = predict_samples(
        trained,
        samples,
        prints,
        device=device,
        batch_size=batch_size,
        with_loss=not external.lacking,  # it would take what is not annotated for background
    )
    if external.lacking:
        task = predictions.task
        labels, scores = task.step.unannotated(
            predictions.labels, predictions.scores, task.names, external.lacking
        )
        predictions = attrs.evolve(predictions, labels=labels, scores=scores)
    metrics = processes.share(_measured(trained, predictions) if processes.leads else None)
    return Evaluation(
        metrics={"loss": loss, **metrics},
        predictions=predictions.sorted_by_id(),
        overlap=external.overlap,
        notes=(*external.notes, *unlike, *more),
        record={
            "run": str(trained.path),
            **({} if trained.members is None else {"runs": [str(path) for path in trained.paths]}),
            "network": trained.which,
            "data": {"digest": external.digest, "samples": len(samples)},
        },
        dataset=external.dataset,
    )


def _measured(trained: TrainedNetwork, predictions: Predictions) -> dict[str, Any]:
    """All that there is to say of predictions, with what the run chose on its validation split."""
    from medpipe.evaluation.frozen import nothing_chosen, results_of
    from medpipe.evaluation.remarks import prior_remarks

    configuration = trained.assembly.configuration
    return results_of(
        predictions,
        trained.chosen or nothing_chosen(configuration.evaluation, NOT_CHOSEN),
        configuration.evaluation,
        metrics=configuration.metrics,
        registry=trained.assembly.registry,
        remarks=prior_remarks(configuration, trained.data),
    )


def _refuse_ids_and_labels(listed: Dataset, task: Task, given: str) -> None:
    """Refuse shared ids and labels that can't be, all at once, with the step that gives them."""
    if type(listed.task.step) is not type(task.step):
        return  # `matched` says so
    faults = [*id_faults(listed.samples), *label_faults(listed.samples, listed.task)]
    if faults:
        raise refusal(faults, listed, given, advice="Repair or remove them.")


def _refuse_not_finite(dataset: Dataset, found: Scan, trained: TrainedNetwork) -> list[str]:
    """Refuse images that leave the run's chain with NaN or infinity; return notes on others."""
    faults = [f for f in defect_faults(dataset.samples, found) if f.kind in NOT_FINITE]
    if not faults:
        return []
    chain = trained.assembly.chain()
    left, notes = without_filled(faults, dataset.samples, dataset.reading, filled_by(chain))
    if left:
        count = f"{len(left)} of {len(dataset.samples)} samples"
        raise BadDataError(f"{count} can't be used:", left, ["Repair or remove them."])
    return notes


def _masks(listed: Dataset) -> LabelScan | None:
    """What is in the masks, where labels are images; those that can't be used are refused."""
    if not listed.task.step.dense:
        return None
    masks, faults = scan_labels(listed, workers=available_cpus())
    if faults:
        count = f"{len(faults)} of {len(listed.samples)} samples"
        raise BadDataError(f"{count} can't be used:", faults, ["Repair or remove them."])
    return masks


def _lacking(listed: Dataset, trained: TrainedNetwork) -> list[str]:
    """The structures of the run of which the masks of a data set say nothing."""
    task = trained.data.task
    return [name for name in task.names if task.step.dense and name not in listed.task.names]


def _unannotated_note(lacking: Sequence[str]) -> Iterator[str]:
    if lacking:
        names = ", ".join(map(repr, lacking))
        yield (
            f"The data set does not name {names}, which the run predicts: it is taken for not "
            "annotated and left out of all metrics, and there is no loss. Where the network finds "
            "it, other structures are missed. Name it in dataset.labels if the masks have it."
        )


def _notes(
    listed: Dataset,
    trained: TrainedNetwork,
    overlap: Mapping[str, str],
    validation: Mapping[str, str],
) -> list[str]:
    notes, count = [], len(listed.samples)
    if overlap:
        notes.append(f"{_were(overlap, count)} in the run's training split: {_pairs(overlap)}.")
    if validation:
        notes.append(
            f"{_were(validation, count)} in the run's validation split: {_pairs(validation)}."
        )
    if all(sample.group is None for sample in listed.samples) and has_groups(
        trained.paths[0] / SPLITS_FILE
    ):
        notes.append(
            "The run's data have groups (patients), and these have none: intervals take each image "
            "for a patient of its own, and are too narrow if patients have several. Name the "
            "groups in the [dataset] table, as the run's pipeline.toml does."
        )
    if any(sample.split is not None for sample in listed.samples):
        notes.append(f"The data set's own splits are ignored: all {count} images are evaluated.")
    if listed.reading.plain() not in (trained.reading.plain(), Reading().plain()):
        notes.append(
            f"The images are read as in training ({_said(trained.reading, listed.reading)}), not "
            f"as this data set says ({_said(listed.reading, trained.reading)})."
        )
    return notes


def _seen_in(split: Split, trained: TrainedNetwork, found: Scan) -> Mapping[str, str]:
    """Which images a run, or one of several, had in a split; see `seen_in`."""
    return {
        id_: there
        for path in trained.paths
        for id_, there in seen_in(split, path / SPLITS_FILE, found).items()
    }


def _owner(trained: TrainedNetwork) -> str:
    """Whose splits they are, in words."""
    if trained.members is None:
        return f"the run {trained.path}"
    return f"a run of those in {trained.path}"


def _said(reading: Reading, other: Reading) -> str:
    """The fields of `reading` that differ from the other's, as text."""
    ours, theirs = reading.plain(), other.plain()
    return ", ".join(f"{name} = {ours[name]!r}" for name in ours if ours[name] != theirs[name])


def _were(images: Mapping[str, str], total: int) -> str:
    return f"{len(images)} of {total} images {'was' if len(images) == 1 else 'were'}"


def _pairs(images: Mapping[str, str]) -> str:
    named = [f"{id_!r} (there {there!r})" for id_, there in list(images.items())[:NAMED]]
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return ", ".join(named) + more
