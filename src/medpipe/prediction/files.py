"""Predict new files with a run's network, and write the CSV file."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.quality.non_finite import filled_by
from medpipe.errors import DataError, RunError
from medpipe.evaluation.operating_point import found_at
from medpipe.evaluation.predictions import csv_line
from medpipe.prediction.listing import FoundFiles, find_files
from medpipe.prediction.masks import MaskWriter
from medpipe.prediction.network import (
    device_named,
    predict_samples,
    segment_samples,
    shared_by_processes,
)
from medpipe.steps import Sample, Task
from medpipe.system import files
from medpipe.system.options import option
from medpipe.system.output_folders import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import torch

    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.distributed.processes import Processes
    from medpipe.evaluation.predictions import Array
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import ImageFile

logger = logging.getLogger("medpipe")

NAMED = 10
"""How many unreadable images an error names."""


@attrs.frozen(kw_only=True, eq=False)
class FilePredictions:
    """A network's predictions for files without labels.

    Attributes:
        task: The run's task.
        ids: The files' paths, as given, or relative to the folder that was given.
        scores: Float64 of shape (files, names): probabilities, a regression's values, or volumes in
            cubic millimetres (pixels where the spacing is unknown).
        skipped: A sentence for each image that was left out: it can't be read or is not finite.
        notes: Remarks on the files and their shapes.
        masks: Where labels are images and a folder was given: the files of each image's mask.
        operating_point: What the run chose on its validation split; see
            `medpipe.settings.OperatingPoint`. None without one.
    """

    task: Task
    ids: tuple[str, ...] = attrs.field(repr=lambda ids: f"<{len(ids)} files>")
    scores: Array = attrs.field(repr=False)
    skipped: tuple[str, ...] = attrs.field(default=(), repr=False)
    notes: tuple[str, ...] = attrs.field(default=(), repr=False)
    masks: Mapping[str, tuple[Path, ...]] = attrs.field(factory=dict, repr=False)
    operating_point: Mapping[str, Any] | None = attrs.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> Array:
        """What the scores say; see `medpipe.evaluation.predictions.Predictions.predicted`."""
        return self.task.step.predicted(self.scores)

    @property
    def found(self) -> Array | None:
        """Whether each file counts as found at the operating point, bool of shape (files,).

        The class or finding is ``operating_point["class"]``. None without an operating point.
        """
        if self.operating_point is None:
            return None
        return found_at(self.scores, self.task.names, self.operating_point)

    def to_csv(self) -> str:
        """Format a table with a row for each file.

        The columns are ``id``, then ``prediction`` (the class's name), or ``prediction_<name>``
        for each finding or target, then for classes and findings the probabilities,
        ``p(<name>)``. With an operating point the last column is ``found(<name>)``, 1 or 0.
        """
        step, names, found = self.task.step, self.task.names, self.found
        last = [] if self.operating_point is None else [f"found({self.operating_point['class']})"]
        lines = [csv_line(["id", *step.columns(names, labels=False), *last])]
        answers, scores = self.predicted.tolist(), self.scores.tolist()
        for row, id_ in enumerate(self.ids):
            cells = [] if found is None else [str(int(found[row]))]
            cells = [*step.row(None, answers[row], scores[row], names), *cells]
            lines.append(csv_line([id_, *cells]))
        return "".join(lines)

    def write(self, path: Path) -> None:
        """Write the CSV file atomically.

        Raises:
            RunError: The file can't be written.
        """
        files.write_text(path, self.to_csv())


def predict_files(
    trained: TrainedNetwork,
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    *,
    device: str = "auto",
    batch_size: int | None = None,
    skip_unreadable: bool = False,
    masks: Path | None = None,
) -> FilePredictions:
    """Predict files without labels; of several processes each predicts its part.

    Args:
        trained: The network.
        paths: Files, folders and series; several in a tuple are stacked as the channels of one
            image. See `medpipe.prediction.listing.find_files`.
        device: Where to compute; as ``run.device``.
        batch_size: Images in a batch; None: the run's. Where sizes differ it is 1.
        skip_unreadable: Leave out images that can't be read or are not finite; else: an error.
        masks: A new folder for the masks, where labels are images; None: none are written.

    Raises:
        DataError: There is no image, some can't be read or hold NaN or infinite values (all of
            them are listed), or they leave the chain in a shape that the network does not take.
        DeviceError: The device is not there.
    """
    with shared_by_processes(trained) as ours:
        predicted = _predict_files(
            ours, paths, device_named(device), batch_size, masks, skip_unreadable=skip_unreadable
        )
        ours.assembly.processes.meet()  # all is written now
    return predicted


def _predict_files(
    trained: TrainedNetwork,
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    device: torch.device,
    batch_size: int | None,
    masks: Path | None,
    *,
    skip_unreadable: bool,
) -> FilePredictions:
    processes = trained.assembly.processes
    if masks is not None and not trained.data.task.step.dense:
        raise DataError(
            f"A {trained.data.task.kind} run has no masks to write. Leave out {option('masks')}."
        )
    dataset: Any = trained.assembly.configuration.dataset
    found = find_files(
        paths,
        reading=trained.reading,
        # A step without this parameter has volumes in files, and of DICOM they are series.
        unit=getattr(dataset, "unit", "series" if trained.data.spatial_dims == 3 else "file"),
        workers=trained.assembly.cpus,
        across_folders=getattr(dataset, "dicom_group", "patient") != "none",
        fills=filled_by(trained.assembly.chain()),
        processes=processes,
    )
    if found.unreadable and (not skip_unreadable or not found.images):
        raise _unreadable(found)
    if processes.leads:
        for sentence in (*found.notes, *found.unreadable.values()):
            logger.warning("%s", sentence)
    task = trained.data.task
    nothing = task.step.missing_label(task.names)
    samples = [Sample(id=id_, image=image, label=nothing) for id_, image in found.images.items()]
    more: dict[str, Any] = {}
    if task.step.dense:
        ids, scores, written, notes = _segmented(
            trained, samples, found, device=device, batch_size=batch_size, masks=masks
        )
        more["masks"] = written
    else:
        predictions, _, notes = predict_samples(
            trained,
            samples,
            found.fingerprints,
            device=device,
            batch_size=batch_size,
            with_loss=False,
        )
        ids, scores = predictions.ids, predictions.scores
    return FilePredictions(
        task=task,
        ids=ids,
        scores=scores,
        skipped=tuple(found.unreadable.values()),
        notes=(*found.notes, *notes),
        operating_point=(trained.chosen or {}).get("operating_point"),
        **more,
    )


def _segmented(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    found: FoundFiles,
    *,
    device: torch.device,
    batch_size: int | None,
    masks: Path | None,
) -> tuple[tuple[str, ...], Array, dict[str, tuple[Path, ...]], list[str]]:
    """Predict masks, write them, and tell what is in them: ids, scores, files and notes."""
    import numpy as np

    processes, task = trained.assembly.processes, trained.data.task
    step, names = task.step, task.names
    stems = _stems([sample.id for sample in samples])
    ids: list[str] = []
    scores: list[Array] = []
    written: dict[str, tuple[Path, ...]] = {}
    images = {sample.id: sample.image for sample in samples}

    with _staged(masks, processes) as staging:
        writer = None
        if staging is not None:
            writer = MaskWriter(folder=staging, names=names, values=step.written_values(names))

        def take(sample_id: str, answer: Array, grid: FileGrid) -> None:
            processes.look()
            ids.append(sample_id)
            scores.append(step.answer_scores(answer, names, spacing=grid.spacing))
            if writer is not None and masks is not None:
                paths = writer.write(stems[sample_id], answer, grid, images[sample_id])
                written[sample_id] = tuple(masks / p.relative_to(writer.folder) for p in paths)

        notes = segment_samples(
            trained, samples, found.fingerprints, take, device=device, batch_size=batch_size
        )
        said = [] if writer is None else writer.notes
        parts = processes.gather((ids, scores, written, said))
    first = [note for *_, some in parts for note in some][:1]  # it stands for the others
    if processes.leads:
        for note in first:
            logger.warning("%s", note)
    return (
        tuple(id_ for some, *_ in parts for id_ in some),
        np.stack([one for _, some, *_ in parts for one in some]),
        {id_: paths for *_, some, _ in parts for id_, paths in some.items()},
        [*notes, *first],
    )


@contextmanager
def _staged(masks: Path | None, processes: Processes) -> Iterator[Path | None]:
    """The folder that all processes write to; it gets its name when they all have written.

    Raises:
        RunError: The folder is there already, or this process does not see what process 0 made.
    """
    if masks is None:
        yield None
    elif processes.leads:
        refuse_existing(masks, kind="folder")
        with files.staged_directory(masks) as staging:
            yield processes.share(staging)
    else:
        made: Path = processes.share()
        if not made.is_dir():
            raise RunError(
                f"Process {processes.here.rank} does not see the folder {made.absolute()}, which "
                f"process 0 made. Choose one with {option('masks')} that all machines share."
            )
        yield made


def _stems(ids: Sequence[str]) -> dict[str, str]:
    """Where the masks of images lie in their folder: below the folder that all images share."""
    paths = {id_: Path(id_) for id_ in ids}
    if not any(path.is_absolute() or os.pardir in path.parts for path in paths.values()):
        return dict(zip(ids, ids, strict=True))
    whole = {id_: path.absolute() for id_, path in paths.items()}
    shared = os.path.commonpath([path.parent for path in whole.values()])
    return {id_: os.path.relpath(path, shared) for id_, path in whole.items()}


def _unreadable(found: FoundFiles) -> DataError:
    total = len(found.unreadable) + len(found.images)
    lines = [f"{len(found.unreadable)} of {total} images can't be used:"]
    sentences = list(found.unreadable.values())
    lines += [f"  {sentence}" for sentence in sentences[:NAMED]]
    if len(sentences) > NAMED:
        lines.append(f"  and {len(sentences) - NAMED} more.")
    remedy = "Remove or repair them"
    if found.images:
        remedy += f", or give {option('skip_unreadable', True)} to leave them out"
    return DataError("\n".join([*lines, f"{remedy}."]))
