"""Predict new files with a run's network, into memory or into a file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError
from medpipe.prediction.answers import BatchAnswers, answers, mean_answers
from medpipe.prediction.ensemble import network_at, passes_of
from medpipe.prediction.file_predictions import FilePredictions
from medpipe.prediction.file_samples import FileSamples
from medpipe.prediction.listing import find_files
from medpipe.prediction.mask_folder import MaskTaker, kept_masks, staged_masks
from medpipe.prediction.network import (
    device_named,
    shared_by_processes,
    size_notes,
)
from medpipe.prediction.parts import job_of, kept_answers
from medpipe.prediction.unlike import other_modality, unlike_notes
from medpipe.steps import Series, resolved
from medpipe.system.options import option
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    import torch

    from medpipe.distributed.processes import Processes
    from medpipe.prediction.listing import FoundFiles
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import ImageFile, Sample

logger = logging.getLogger("medpipe")

NAMED = 10
"""How many files that can't be predicted an error or the log names."""


def predict_files(
    trained: TrainedNetwork,
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    *,
    device: str = "auto",
    batch_size: int | None = None,
    masks: Path | None = None,
    output: Path | None = None,
    resume: bool = False,
    dicom_ids: bool = False,
) -> FilePredictions:
    """Predict files without labels; of several processes each predicts its part.

    A file that can't be predicted is one of `FilePredictions.errors`. With an output, answers are
    kept in the folder ``<output>.parts`` as they come, so that a prediction that was killed goes
    on.

    Args:
        trained: The network, or several, whose mean is given.
        paths: Files, folders and series; several in a tuple are stacked as the channels of one
            image. See `medpipe.prediction.listing.find_files`.
        device: Where to compute; as ``run.device``.
        batch_size: Images in a batch; None: the run's. Where labels are images it is 1.
        masks: A new folder for the masks, where labels are images; None: none are written.
        output: A new CSV file for the table; None: nothing is written.
        resume: Go on with what an earlier prediction into the same file had come to, if any.
        dicom_ids: Whether the table has the identifiers of DICOM files.

    Raises:
        DataError: There is no image, or none that can be predicted: it says why.
        DeviceError: The device is not there.
        RunError: The output is there; or there are parts of it, and they are not to be resumed, or
            are those of other files or another network: it says what differs.
    """
    with shared_by_processes(trained) as ours:
        predicted = _predict_files(
            ours,
            paths,
            device_named(device),
            batch_size,
            masks,
            output,
            resume=resume,
            dicom_ids=dicom_ids,
        )
        ours.assembly.processes.meet()  # all is written now
    return predicted


def _predict_files(
    trained: TrainedNetwork,
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    device: torch.device,
    asked: int | None,
    masks: Path | None,
    output: Path | None,
    *,
    resume: bool,
    dicom_ids: bool,
) -> FilePredictions:
    _check(trained, asked, masks, output, resume=resume)
    processes = trained.assembly.processes
    found = _found(trained, paths)
    if processes.leads:
        for note in found.notes:
            logger.warning("%s", note)
    nothing = trained.data.task.step.missing_label(trained.data.task.names)
    samples = FileSamples(found.images, nothing)
    size, passes = _batch_size(trained, len(samples), asked), passes_of(trained)
    if output is None:
        with staged_masks(masks, processes) as staging:
            part, said = _answered(trained, samples, device, size, staging)
            gathered = (batch for some in processes.gather(list(part)) for batch in some)
            batches = mean_answers(gathered, passes)
            notes = _said(processes, said)
            _refuse_none(found, batches)
        return _told(trained, found, batches, masks, notes, dicom_ids=dicom_ids)
    job = {}
    if processes.leads:
        job = job_of(
            trained,
            found.images,
            found.unreadable,
            device=device.type,
            asked=asked,
            batch_size=size,
            masks=masks,
        )
    with kept_answers(output, job, resume=resume, processes=processes) as kept:
        if kept.done and processes.leads:
            logger.info("%s of the batches are there already.", f"{len(kept.done):,}")
        all_done = len(kept.done) == passes * -(-len(samples) // kept.batch_size)
        with kept_masks(masks, processes, resumed=kept.resumed, all_done=all_done) as staging:
            part, said = _answered(trained, samples, device, kept.batch_size, staging, kept.done)
            for batch in part:
                kept.add(batch)
            notes = _said(processes, said)  # all is kept now
            batches = mean_answers(kept.whole(), passes)
            _refuse_none(found, batches)
        predicted = _told(trained, found, batches, masks, notes, dicom_ids=dicom_ids)
        if processes.leads:
            predicted.write(output)
    return predicted


def _check(
    trained: TrainedNetwork,
    batch_size: int | None,
    masks: Path | None,
    output: Path | None,
    *,
    resume: bool,
) -> None:
    """Refuse arguments that don't fit.

    Raises:
        DataError: There are such.
    """
    if masks is not None and not trained.data.task.step.dense:
        raise DataError(
            f"A {trained.data.task.kind} run has no masks to write. Leave out {option('masks')}."
        )
    if batch_size is not None and batch_size < 1:
        raise DataError(f"The batch size must be at least 1, got {batch_size}.")
    if resume and output is None:
        raise DataError(
            "A prediction can be resumed if it is written to a file. Name it with "
            f"{option('output')}."
        )


def _answered(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    device: torch.device,
    size: int,
    staging: Path | None,
    done: Collection[tuple[int, int]] = (),
) -> tuple[Iterator[BatchAnswers], list[str]]:
    """The answers of this process about what is not done, and the notes on masks, to come.

    Several networks whose scores are averaged answer one after the other, each about all files, so
    that each is loaded once.
    """
    writer = None if staging is None else MaskTaker(staging, trained.data.task, samples)
    passes = passes_of(trained)

    def part() -> Iterator[BatchAnswers]:
        for member in range(passes):
            numbers = range(-(-len(samples) // size))
            left = [number for number in numbers if (member, number) not in done]
            own = left[trained.assembly.processes.here.share(len(left))]
            if not own:
                continue
            one = trained if passes == 1 else network_at(trained, member)
            one = attrs.evolve(one, images=None if member else trained.images)
            for batch in answers(
                one, samples, own, batch_size=size, device=device, take_mask=writer
            ):
                yield attrs.evolve(batch, member=member)

    return part(), [] if writer is None else writer.notes


def _said(processes: Processes, notes: Sequence[str]) -> list[str]:
    """A note on masks that stands for those of all processes."""
    return [note for some in processes.gather(list(notes)) for note in some][:1]


def _told(
    trained: TrainedNetwork,
    found: FoundFiles,
    batches: Sequence[BatchAnswers],
    masks: Path | None,
    said: Sequence[str],
    *,
    dicom_ids: bool,
) -> FilePredictions:
    """The predictions of all batches, with what there is to say of them in the log."""
    sizes = {id_: shape for batch in batches for id_, shape in batch.sizes.items()}
    unlike = _unlike(trained, found, batches)
    compared = sum(len(batch.ids) for batch in batches)
    notes = [*size_notes(trained, sizes), *said, *unlike_notes(unlike, compared, trained.images)]
    predicted = attrs.evolve(_whole(trained, found, batches, masks, notes), unlike=unlike)
    if dicom_ids:
        predicted = attrs.evolve(predicted, dicom_ids=_dicom_ids(found))
    if trained.assembly.processes.leads:
        for note in (*notes, *_error_lines(predicted)):
            logger.warning("%s", note)
    return predicted


def _unlike(
    trained: TrainedNetwork, found: FoundFiles, batches: Sequence[BatchAnswers]
) -> dict[str, dict[str, str]]:
    """In what predicted files are unlike training's, in their order; see `unlike`."""
    if trained.images is None:
        return {}
    read = {id_: batch.unlike.get(id_, {}) for batch in batches for id_ in batch.ids}
    each: dict[str, dict[str, str]] = {}
    for id_ in found.images:
        who = found.identities.get(id_)
        other = other_modality(who.modality, trained.images) if who else {}
        if id_ in read and (read[id_] or other):
            each[id_] = read[id_] | other
    return each


def _found(
    trained: TrainedNetwork, paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]]
) -> FoundFiles:
    """The files, as process 0 finds them."""
    processes = trained.assembly.processes
    if not processes.leads:
        return processes.share()
    dataset: Any = trained.assembly.configuration.dataset
    found = find_files(
        paths,
        reading=trained.reading,
        # A step without this parameter has volumes in files, and of DICOM they are series.
        unit=getattr(dataset, "unit", "series" if trained.data.spatial_dims == 3 else "file"),
        across_folders=getattr(dataset, "dicom_group", "patient") != "none",
    )
    return processes.share(found)


def _batch_size(trained: TrainedNetwork, count: int, batch_size: int | None) -> int:
    """How many files are in a batch; not so many that processes would have none."""
    if trained.data.task.step.dense:
        return 1
    processes = trained.assembly.processes.here.world_size
    size = batch_size or resolved(trained.assembly.configuration.loader.batch_size)
    return max(1, min(size, -(-count // processes)))


def _whole(
    trained: TrainedNetwork,
    found: FoundFiles,
    batches: Sequence[BatchAnswers],
    masks: Path | None,
    notes: Sequence[str],
) -> FilePredictions:
    """The predictions of all batches."""
    import numpy as np

    errors: dict[str, str] = {}
    for batch in batches:
        errors |= batch.errors
    errors |= found.unreadable
    rows = {id_: row for batch in batches for id_, row in zip(batch.ids, batch.scores, strict=True)}
    ids = [id_ for id_ in found.images if id_ in rows]
    listed = (*found.images, *(id_ for id_ in found.unreadable if id_ not in found.images))
    written = {} if masks is None else {k: v for b in batches for k, v in b.masks.items()}
    return FilePredictions(
        task=trained.data.task,
        ids=tuple(ids),
        scores=np.array([rows[id_] for id_ in ids], dtype=np.float64),
        errors={id_: errors[id_] for id_ in listed if id_ in errors},
        files=listed,
        notes=(*found.notes, *notes),
        masks={id_: tuple(masks / path for path in written[id_]) for id_ in ids if masks},
        operating_point=(trained.chosen or {}).get("operating_point"),
    )


def _dicom_ids(found: FoundFiles) -> dict[str, tuple[str, ...]]:
    """The identifiers of DICOM files; a series has no SOPInstanceUID of its own."""
    return {
        id_: (
            one.patient or "",
            one.study or "",
            one.series or "",
            "" if isinstance(found.images.get(id_), Series) else one.instance or "",
        )
        for id_, one in found.identities.items()
    }


def _refuse_none(found: FoundFiles, batches: Sequence[BatchAnswers]) -> None:
    """Refuse files of which none can be predicted.

    Raises:
        DataError: There are only such; it names the first ten.
    """
    if any(batch.ids for batch in batches):
        return
    errors = [sentence for batch in batches for sentence in batch.errors.values()]
    errors += found.unreadable.values()
    lines = [f"None of {counted(len(errors), 'image')} can be predicted:", *_first(errors)]
    raise DataError("\n".join([*lines, "Remove or repair them."]))


def _error_lines(predicted: FilePredictions) -> list[str]:
    """What the log says of the files that can't be predicted."""
    if not predicted.errors:
        return []
    heading = f"{len(predicted.errors)} of {counted(len(predicted.files), 'image')} can't be "
    return [f"{heading}predicted:", *_first(list(predicted.errors.values()))]


def _first(sentences: Sequence[str]) -> list[str]:
    lines = [f"  {sentence}" for sentence in sentences[:NAMED]]
    if len(sentences) > NAMED:
        lines.append(f"  and {len(sentences) - NAMED:,} more.")
    return lines
