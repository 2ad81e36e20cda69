"""`FilePredictions`: a network's predictions for files without labels, and the CSV table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.evaluation.operating_point import found_at
from medpipe.evaluation.predictions import csv_line
from medpipe.steps import Task
from medpipe.system import files
from medpipe.system.html import table
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medpipe.evaluation.predictions import Array

DICOM_IDS = ("patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid")
"""The columns of the identifiers of DICOM files."""


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
        dicom_ids: By path, where they were asked for, the identifiers of each DICOM file in the
            order of `DICOM_IDS`, blank where its header has none. They name the patient. None:
            they were not asked for.
        unlike: By path of each image that looks unlike those in training, what it has, in words,
            by kind: ``channels``, ``size``, ``values``, ``spacing`` or ``modality``.
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
    dicom_ids: Mapping[str, tuple[str, ...]] | None = attrs.field(default=None, repr=False)
    unlike: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        lines = [[id_, *map(_short, cells)] for id_, *cells in rows]
        return table(lines, title=counted(len(rows), "file"), head=head)

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
        The identifiers of DICOM files stand behind ``id`` where they were asked for.
        """
        return "".join(csv_line(cells) for cells in self._rows())

    def _rows(self) -> Iterator[list[str]]:
        """The names of the columns, then a row for each file."""
        step, names, found = self.task.step, self.task.names, self.found
        columns = step.columns(names, labels=False)
        if self.operating_point is not None:
            columns.append(f"found({self.operating_point['class']})")
        identities, blank = self.dicom_ids or {}, ("",) * len(DICOM_IDS)
        named = () if self.dicom_ids is None else DICOM_IDS
        yield ["id", *named, *columns, "error"]
        answered, scores = self.predicted.tolist(), self.scores.tolist()
        rows = {id_: row for row, id_ in enumerate(self.ids)}
        for id_ in self.files:
            cells = [""] * len(columns)
            if id_ not in self.errors:
                row = rows[id_]
                cells = step.row(None, answered[row], scores[row], names)
                cells += [] if found is None else [str(int(found[row]))]
            who = identities.get(id_, blank) if named else ()
            yield [id_, *who, *cells, self.errors.get(id_, "")]

    def write(self, path: Path) -> None:
        """Write the CSV file atomically.

        Raises:
            RunError: The file can't be written.
        """
        files.write_text(path, self.to_csv())


def _short(cell: str) -> str:
    """A number of many digits with four of them; any other text as it is."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    return f"{number:.4g}" if len(cell) > 6 and repr(number) == cell else cell
