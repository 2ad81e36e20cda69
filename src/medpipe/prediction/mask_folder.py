"""The folder of masks: it gets its name when all of them are written."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medpipe.errors import RunError
from medpipe.prediction.masks import MaskWriter
from medpipe.prediction.parts import parts_of
from medpipe.system import files
from medpipe.system.file_errors import failure, mode_of
from medpipe.system.options import option
from medpipe.system.output_folders import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.distributed.processes import Processes
    from medpipe.evaluation.predictions import Array
    from medpipe.steps import Sample, Task


class MaskTaker:
    """Writes the masks of images as they come.

    Args:
        folder: Where to.
        task: The run's task.
        samples: The images.
    """

    def __init__(self, folder: Path, task: Task, samples: Sequence[Sample]) -> None:
        values = task.step.written_values(task.names)
        self._writer = MaskWriter(folder=folder, names=task.names, values=values)
        self._stems = _stems([sample.id for sample in samples])
        self._images = {sample.id: sample.image for sample in samples}

    def __call__(self, id_: str, answer: Array, grid: FileGrid) -> list[str]:
        """Write the mask of an image, and give its files below the folder."""
        written = self._writer.write(self._stems[id_], answer, grid, self._images[id_])
        return [path.relative_to(self._writer.folder).as_posix() for path in written]

    @property
    def notes(self) -> list[str]:
        """What is to be said of the masks."""
        return self._writer.notes


@contextmanager
def staged_masks(masks: Path | None, processes: Processes) -> Iterator[Path | None]:
    """The folder that all processes write to; it gets its name when they all have written.

    Raises:
        RunError: The folder is there already, or this process does not see what process 0 made.
    """
    if masks is None:
        yield None
    elif processes.leads:
        refuse_existing(masks, kind="folder", parameter="masks")
        with files.staged_directory(masks) as staging:
            yield processes.share(staging)
    else:
        yield _seen(processes.share(), processes)


@contextmanager
def kept_masks(
    masks: Path | None, processes: Processes, *, resumed: bool, all_done: bool
) -> Iterator[Path | None]:
    """As `staged_masks`, for a prediction that goes on after a kill: what is there stays.

    Args:
        masks: The folder; None: none are written.
        processes: Those that predict.
        resumed: Whether an earlier process began.
        all_done: Whether nothing is left to predict: then the folder may have its name already.
    """
    if masks is None:
        yield None
        return
    if not processes.leads:
        yield _seen(processes.share(), processes)
        return
    staging = parts_of(masks)
    if resumed and all_done and mode_of(masks) and not mode_of(staging):
        yield processes.share(masks)
        return
    refuse_existing(masks, kind="folder", parameter="masks")
    try:
        if not resumed:
            files.remove_directory(staging)
        files.make_directories(staging)
        files.remove_leftovers(staging)
    except OSError as error:
        raise RunError(failure(staging, "made", error)) from error
    try:
        yield processes.share(staging)
    except BaseException:
        if not any(staging.iterdir()):
            files.remove_directory(staging)
        raise
    files.rename(staging, masks)


def _seen(made: Path, processes: Processes) -> Path:
    if not made.is_dir():
        raise RunError(
            f"Process {processes.here.rank} does not see the folder {made.absolute()}, which "
            f"process 0 made. Choose one with {option('masks')} that all machines share."
        )
    return made


def _stems(ids: Sequence[str]) -> dict[str, str]:
    """Where the masks of images lie in their folder: below the folder that all images share."""
    paths = {id_: Path(id_) for id_ in ids}
    if not any(path.is_absolute() or os.pardir in path.parts for path in paths.values()):
        return dict(zip(ids, ids, strict=True))
    whole = {id_: path.absolute() for id_, path in paths.items()}
    shared = os.path.commonpath([path.parent for path in whole.values()])
    return {id_: os.path.relpath(path, shared) for id_, path in whole.items()}
