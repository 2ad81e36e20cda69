"""Labels that are masks: a column with the mask of each image, or a column for each structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.structures import (
    MaskValue,
    Meaning,
    OnMismatch,
    Structures,
)
from medpipe.plugin import LabelImage, Segmentation, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.builtin.datasets.listing.labels import Read, Refuse
    from medpipe.builtin.datasets.listing.row_report import RowReport
    from medpipe.builtin.datasets.listing.table_images import ImageFinder
    from medpipe.plugin import FaultKind, ImageFile, Sample

BlankMask: TypeAlias = Literal["error", "not_annotated", "empty"]
_BLANK = (
    'Set dataset.blank_mask = "empty" if a blank cell means that the structure is not in the '
    'image, or "not_annotated" if nobody looked.'
)
NOWHERE = ""
"""In place of a file: the image has nothing of it."""


@attrs.frozen(kw_only=True)
class MaskReader:
    """The files of masks: one with a value for each structure, or one for each.

    Attributes:
        step: The task.
        columns: The column, or one for each structure, which they name.
        labels: With one column the value or values of each structure.
        ignore: Values that count nowhere.
        blank: The meaning of a blank cell.
        on_mismatch: See `LabelImage`.
        finder: Finds the files.
    """

    joins_any: ClassVar[bool] = False

    step: Segmentation
    columns: tuple[str, ...]
    labels: Structures | None
    ignore: tuple[MaskValue, ...]
    blank: BlankMask
    on_mismatch: OnMismatch
    finder: ImageFinder

    def read(self, cells: Sequence[str], refuse: Refuse) -> tuple[ImageFile | None, ...] | None:
        """The files; None where nothing is annotated."""

        def wrong(problem: str, remedy: str, kind: FaultKind = "row") -> None:
            refuse(problem, remedy)

        found: list[ImageFile | None] = []
        for column, cell in zip(self.columns, cells, strict=True):
            if not cell and self.blank == "not_annotated":
                found.append(None)
                continue
            if cell:
                files = self.finder.find((cell.replace("\\", "/"),), wrong, wrong)
                found.append(files[0] if files else NOWHERE)
                continue
            if self.blank == "error":
                refuse(f"no mask in column {column!r}.", _BLANK)
            found.append(NOWHERE)
        return None if all(file is None for file in found) else tuple(found)

    def joined(self, values: Sequence[tuple[ImageFile | None, ...]], *, anyone: bool) -> Any:
        """The files, where all rows have the same."""
        return values[0] if len(set(values)) == 1 else None

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[LabelImage], Task]:
        """The masks of the rows, and the structures."""
        if self.labels is not None:
            meaning = Meaning(
                self.labels, self.ignore, step=self.step, on_mismatch=self.on_mismatch
            )
            every = tuple(range(len(meaning.names)))
            labels = [
                meaning.label(file) if file != NOWHERE else meaning.label(file, absent=every)
                for _, (file,) in rows
            ]
            return labels, meaning.task
        channels = len(self.columns) if self.step.overlapping else None
        return [
            LabelImage(
                image=files,
                ignore=self.ignore,
                channels=channels,
                on_mismatch=self.on_mismatch,
                absent=tuple(place for place, file in enumerate(files) if file == NOWHERE),
            )
            for _, files in rows
        ], Task(kind=self.step, names=self.columns)


def with_grid(sample: Sample, label: Any) -> Any:
    """A label whose absent structures have the sample's image in place of a file, for its grid."""
    if not isinstance(label, LabelImage) or not label.absent:
        return label
    image = sample.image[0] if isinstance(sample.image, tuple) else sample.image
    if not isinstance(label.image, tuple):
        return attrs.evolve(label, image=image)
    files = tuple(
        image if place in label.absent else file for place, file in enumerate(label.image)
    )
    return attrs.evolve(label, image=files)
