"""Predict new files with a run's network, and write the CSV file."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError, RunError
from medpipe.evaluation.operating_point import found_at
from medpipe.evaluation.predictions import csv_line
from medpipe.prediction.answers import BatchAnswers, answers
from medpipe.prediction.listing import find_files
from medpipe.prediction.masks import MaskWriter
from medpipe.prediction.network import (
    TrainedNetwork,
    device_named,
    shared_by_processes,
    size_notes,
)
from medpipe.steps import Sample, Task, resolved
from medpipe.system import files
from medpipe.system.options import option
from medpipe.system.output_folders import refuse_existing
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import torch

    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.distributed.processes import Processes
    from medpipe.evaluation.predictions import Array
    from medpipe.prediction.listing import FoundFiles
    from medpipe.steps import ImageFile

logger = logging.getLogger("medpipe")

NAMED = 10
"""How many files that can't be predicted an error or the log names."""


@attrs.frozen(kw_only=True, eq=False)
class FilePredictions:
    """A network's predictions for files without labels.

    Attributes:
        task: The run's task.
        ids: The paths of the files that were predicted, as given, or relative to the folder that
            was given.
        scores: Float64 of shape (ids, names): probabilities, a regression's values, or volumes in
            cubic millimetres (pixels where the spacing is unknown).
        errors: By path, a sentence about each file that can't be predicted: it can't be read, is
            not finite, or does not fit the network.
        files: The paths of all files, in the order that they were given.
        notes: Remarks on the files and their shapes.
        masks: Where labels are images and a folder was given: the files of each image's mask.
        operating_point: What the run chose on its validation split; see
            `medpipe.settings.OperatingPoint`. None without one.
    """

    task: Task
    ids: tuple[str, ...] = attrs.field(repr=lambda ids: f"<{len(ids)} files>")
    scores: Array = attrs.field(repr=False)
    errors: Mapping[str, str] = attrs.field(factory=dict, repr=lambda e: f"<{len(e)} files>")
    files: tuple[str, ...] = attrs.field(
        default=attrs.Factory(lambda self: (*self.ids, *self.errors), takes_self=True), repr=False
    )
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
        """Whether each file counts as found at the operating point, bool of shape (ids,).

        The class or finding is ``operating_point["class"]``. None without an operating point.
        """
        if self.operating_point is None:
            return None
        return found_at(self.scores, self.task.names, self.operating_point)

    def to_csv(self) -> str:
        """Format a table with a row for each file.

        The columns are ``id``, then ``prediction`` (the class's name), or ``prediction_<name>``
        for each finding or target, then for classes and findings the probabilities,
        ``p(<name>)``. With an operating point there is ``found(<name>)``, 1 or 0. The last column
        is ``error``: a sentence about a file that can't be predicted, whose other cells are blank.
        """
        step, names, found = self.task.step, self.task.names, self.found
        columns = step.columns(names, labels=False)
        if self.operating_point is not None:
            columns.append(f"found({self.operating_point['class']})")
        lines = [csv_line(["id", *columns, "error"])]
        answered, scores = self.predicted.tolist(), self.scores.tolist()
        rows = {id_: row for row, id_ in enumerate(self.ids)}
        for id_ in self.files:
            cells = [""] * len(columns)
            if id_ not in self.errors:
                row = rows[id_]
                cells = step.row(None, answered[row], scores[row], names)
                cells += [] if found is None else [str(int(found[row]))]
            lines.append(csv_line([id_, *cells, self.errors.get(id_, "")]))
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
    masks: Path | None = None,
) -> FilePredictions:
    """Predict files without labels; of several processes each predicts its part.

    A file that can't be predicted is one of `FilePredictions.errors`.

    Args:
        trained: The network.
        paths: Files, folders and series; several in a tuple are stacked as the channels of one
            image. See `medpipe.prediction.listing.find_files`.
        device: Where to compute; as ``run.device``.
        batch_size: Images in a batch; None: the run's. Where labels are images it is 1.
        masks: A new folder for the masks, where labels are images; None: none are written.

    Raises:
        DataError: There is no image, or none that can be predicted: it says why.
        DeviceError: The device is not there.
    """
    with shared_by_processes(trained) as ours:
        predicted = _predict_files(ours, paths, device_named(device), batch_size, masks)
        ours.assembly.processes.meet()  # all is written now
    return predicted


def _predict_files(
    trained: TrainedNetwork,
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    device: torch.device,
    batch_size: int | None,
    masks: Path | None,
) -> FilePredictions:
    if masks is not None and not trained.data.task.step.dense:
        raise DataError(
            f"A {trained.data.task.kind} run has no masks to write. Leave out {option('masks')}."
        )
    processes = trained.assembly.processes
    found = _found(trained, paths)
    if processes.leads:
        for note in found.notes:
            logger.warning("%s", note)
    nothing = trained.data.task.step.missing_label(trained.data.task.names)
    samples = [Sample(id=id_, image=image, label=nothing) for id_, image in found.images.items()]
    size = _batch_size(trained, len(samples), batch_size)
    numbers = range(-(-len(samples) // size))
    own = numbers[processes.here.share(len(numbers))]
    with _staged(masks, processes) as staging:
        writer = None
        if staging is not None:
            writer = _MaskTaker(staging, trained.data.task, samples)
        part = list(
            answers(trained, samples, own, batch_size=size, device=device, take_mask=writer)
        )
        parts = processes.gather((part, [] if writer is None else writer.notes))
        batches = [batch for some, _ in parts for batch in some]
        said = [note for _, notes in parts for note in notes][:1]  # it stands for the others
        _refuse_none(found, batches)
    notes = [*size_notes(trained, {k: v for b in batches for k, v in b.sizes.items()}), *said]
    predicted = _whole(trained, found, batches, masks, notes)
    if processes.leads:
        for note in (*notes, *_error_lines(predicted)):
            logger.warning("%s", note)
    return predicted


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
    """How many files are in a batch; not so many that processes would have none.

    Raises:
        DataError: Less than one is asked for.
    """
    if batch_size is not None and batch_size < 1:
        raise DataError(f"The batch size must be at least 1, got {batch_size}.")
    if trained.data.task.step.dense:
        return 1
    processes = trained.assembly.processes.here.world_size
    size = batch_size or resolved(trained.assembly.configuration.loader.batch_size)
    return max(1, min(size, -(-count // processes)))


class _MaskTaker:
    """Writes the masks of images as they come."""

    def __init__(self, folder: Path, task: Task, samples: Sequence[Sample]) -> None:
        values = task.step.written_values(task.names)
        self._writer = MaskWriter(folder=folder, names=task.names, values=values)
        self._stems = _stems([sample.id for sample in samples])
        self._images = {sample.id: sample.image for sample in samples}

    def __call__(self, id_: str, answer: Array, grid: FileGrid) -> list[str]:
        written = self._writer.write(self._stems[id_], answer, grid, self._images[id_])
        return [path.relative_to(self._writer.folder).as_posix() for path in written]

    @property
    def notes(self) -> list[str]:
        """What is to be said of the masks."""
        return self._writer.notes


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
