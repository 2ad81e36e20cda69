"""`Predictions`: the network's output for each sample, and the CSV file."""

from __future__ import annotations

import csv
import io
import itertools
import math
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError, RunError
from medpipe.steps import Task
from medpipe.system.file_errors import reason
from medpipe.system.files import write_text
from medpipe.tasks.step import number_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[Any]]

KEPT = "keep:"
"""What the name of a kept column begins with in the CSV file; no other column's does."""
UNIT = "unit"
"""The column of `Predictions.units`."""


def _scores(scores: Any) -> Array:
    import numpy as np

    return np.asarray(scores, dtype=np.float64)


def _labels(labels: Any, self: Any) -> Array:
    task: Task = self.task
    return task.step.label_array(labels, task.names)


def _measures(measures: Mapping[str, Any]) -> dict[str, Array]:
    import numpy as np

    return {column: np.asarray(values, dtype=np.float64) for column, values in measures.items()}


def _groups(groups: Iterable[str | None]) -> tuple[str | None, ...]:
    # A blank group says nothing about the patient, and a blank cell of a CSV file reads as None.
    return tuple(group or None for group in groups)


def _extra(extra: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {column: tuple(cells) for column, cells in extra.items()}


@attrs.frozen(kw_only=True, eq=False)
class Predictions:
    """What a network gave for some samples, beside what is true.

    Attributes:
        task: The question.
        ids: The samples, each once.
        scores: Float64 of shape (samples, `TaskStep.score_count`): the probabilities of the
            classes (they sum to 1) or of the findings (each on its own), a regression's values,
            or what is measured of each structure: Dice, NSD, HD95 and volume, NaN where undefined.
        labels: For ``multiclass`` the class's index, int64 of shape (samples,); otherwise float64
            of shape (samples, names), with NaN where a label is missing: of structures the
            volumes.
        groups: The group of each sample, usually the patient. None: a group of its own.
        extra: Kept columns of the data set: for each the text of every sample, in the order of
            `ids`; blank where nothing is known.
        measures: What metrics measured of masks beyond the scores, by column
            (`MaskMeasure.columns`): float64 of shape (samples, names), NaN where undefined.

        units: Where labels are images, what lengths of each sample are counted in: ``mm``;
            ``pixels`` or ``voxels`` where its file has no spacing. Empty: it is not known.

    Raises:
        DataError: The shapes don't fit, an id comes twice, a score is not finite or no
            probability, or a label is none that the task has.
    """

    task: Task
    ids: tuple[str, ...] = attrs.field(
        converter=tuple[str, ...], repr=lambda ids: f"<{len(ids)} ids>"
    )
    scores: Array = attrs.field(converter=_scores, repr=False)
    labels: Array = attrs.field(  # mypy's plugin knows no converter that takes self
        converter=attrs.Converter(_labels, takes_self=True),  # type: ignore[misc]
        repr=False,
    )
    groups: tuple[str | None, ...] = attrs.field(converter=_groups, repr=False)
    extra: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, converter=_extra, repr=False)
    measures: Mapping[str, Array] = attrs.field(factory=dict, converter=_measures, repr=False)
    units: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...], repr=False)

    def __attrs_post_init__(self) -> None:
        _check_names(self.task)
        _check_shapes(self)
        _check_scores(self)
        _check_labels(self)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> Array:
        """What the scores say.

        The class's index, int64 of shape (samples,), the first where several are equal; for
        ``multilabel`` whether each finding's probability is at least 0.5, bool of shape
        (samples, outputs); for ``regression`` the scores.
        """
        return self.task.step.predicted(self.scores)

    def tables(self) -> Mapping[str, Any]:
        """What the task says of each class, finding or target; see `TaskStep.tables`."""
        task = self.task
        return task.step.tables(self.labels, self.scores, task.names, self.unit)

    @property
    def unit(self) -> str | None:
        """That of a regression's targets, or of lengths; ``mm or pixels`` where samples differ."""
        return self.task.unit or " or ".join(sorted(set(self.units))) or None

    def sorted_by_id(self) -> Predictions:
        """The same predictions in the order of their ids."""
        return self.taken(sorted(range(len(self)), key=self.ids.__getitem__))

    def taken(self, rows: Sequence[int]) -> Predictions:
        """The predictions of some samples, by their places and in this order."""
        places = list(rows)
        return Predictions(
            task=self.task,
            ids=tuple(self.ids[row] for row in places),
            scores=self.scores[places],
            labels=self.labels[places],
            groups=tuple(self.groups[row] for row in places),
            extra={name: tuple(cells[row] for row in places) for name, cells in self.extra.items()},
            measures={name: values[places] for name, values in self.measures.items()},
            units=tuple(self.units[row] for row in places) if self.units else (),
        )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several parts of a split, one after the other."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Predictions(
        task=first.task,
        ids=tuple(id_ for part in parts for id_ in part.ids),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        groups=tuple(group for part in parts for group in part.groups),
        extra={
            name: tuple(cell for part in parts for cell in part.extra[name]) for name in first.extra
        },
        measures={
            name: np.concatenate([part.measures[name] for part in parts]) for name in first.measures
        },
        units=tuple(unit for part in parts for unit in part.units),
    )


def to_scores(logits: torch.Tensor, task: Task) -> Array:
    """Turn a network's outputs of shape (samples, outputs) into scores.

    As the task has them (softmax, sigmoid, ...), computed in float64 on the CPU: in float32 many
    confident scores would round to one tied value, and some devices have no float64.
    """
    scores: Array = task.step.to_scores(logits.detach().cpu().double()).numpy()
    return scores


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as CSV, sorted by id; `read_predictions` gives the same numbers back.

    The columns are ``id`` and ``group``, the data set's kept columns as ``keep:<column>``, then
    ``label`` and ``prediction`` (names of classes), or ``label_<name>`` and ``prediction_<name>``
    for each finding or target, then for classes and findings the probabilities, ``p(<name>)``.
    For each structure they are ``dice_<name>``, ``nsd_<name>``, ``hd95_<name>``,
    ``volume_<name>`` and ``reference_volume_<name>``; what metrics measured of masks follows as
    ``<column>_<name>``, all names of one column after the other, and `Predictions.units` precede
    them all as ``unit``. A missing label or group, and
    what is undefined, is a blank cell.

    Raises:
        RunError: The file can't be written.
    """
    ordered = predictions.sorted_by_id()
    step, names = ordered.task.step, ordered.task.names
    answers, labels, scores = (
        values.tolist() for values in (ordered.predicted, ordered.labels, ordered.scores)
    )
    measured = [column.tolist() for column in ordered.measures.values()]
    more = [f"{column}_{name}" for column in ordered.measures for name in names]
    columns = _columns(ordered.task, ordered.extra, unit=bool(ordered.units))
    lines = [csv_line([*columns, *more])]
    for row, (id_, group) in enumerate(zip(ordered.ids, ordered.groups, strict=True)):
        cells = [id_, group or "", *(texts[row] for texts in ordered.extra.values())]
        cells += ordered.units[row : row + 1]
        cells += step.row(labels[row], answers[row], scores[row], names)
        cells += [
            "" if math.isnan(value) else repr(value) for column in measured for value in column[row]
        ]
        lines.append(csv_line(cells))
    write_text(path, "".join(lines))


def read_predictions(path: Path, task: Task) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        RunError: The file can't be read, or does not hold predictions for this task.
    """
    rows = _rows(path)
    kept = _kept(rows[0]) if rows else ()
    columns = _columns(task, kept)
    units = bool(rows) and rows[0][: len(columns)] != columns and UNIT in rows[0]
    if units:
        columns = _columns(task, kept, unit=True)
    measures = _measured_columns(rows[0][len(columns) :], task) if rows else None
    if not rows or rows[0][: len(columns)] != columns or measures is None:
        found = ", ".join(rows[0]) if rows else "none"
        raise RunError(
            f"{path} holds no predictions for this task: its columns are {found}, but should be "
            f"{', '.join(columns)}."
        )
    import numpy as np

    labels: list[Any] = []
    scores: list[list[float]] = []
    more: list[list[float]] = []
    columns = rows[0]
    for number, cells in enumerate(rows[1:], 2):
        if len(cells) != len(columns):
            raise RunError(
                f"{path}, row {number} has {len(cells)} cells instead of {len(columns)}."
            )
        try:
            by_column = dict(zip(columns, cells, strict=True))
            label, score = task.step.read_row(by_column, task.names)
            own = columns[len(columns) - len(measures) * len(task.names) :] if measures else []
            more.append([number_cell(column, by_column, blank=True) for column in own])
        except ValueError as error:
            raise RunError(f"{path}, row {number}: {error}.") from error
        labels.append(label)
        scores.append(score)
    shape = task.step.label_shape(len(labels), task.names)
    width = task.step.score_count(task.names)
    try:
        return Predictions(
            task=task,
            ids=tuple(cells[0] for cells in rows[1:]),
            scores=np.array(scores, dtype=np.float64).reshape(len(scores), width),
            labels=np.array(labels).reshape(shape),
            groups=tuple(cells[1] for cells in rows[1:]),
            extra={
                column: tuple(cells[place] for cells in rows[1:])
                for place, column in enumerate(kept, 2)
            },
            measures=_split(np.array(more), measures, len(task.names)),
            units=tuple(cells[2 + len(kept)] for cells in rows[1:]) if units else (),
        )
    except DataError as error:
        raise RunError(f"{path} can't be used: {error}") from error


def _columns(task: Task, kept: Iterable[str], *, unit: bool = False) -> list[str]:
    first = ["id", "group", *(f"{KEPT}{name}" for name in kept), *([UNIT] if unit else [])]
    return [*first, *task.step.columns(task.names, labels=True)]


def _measured_columns(columns: Sequence[str], task: Task) -> list[str] | None:
    """What was measured of masks, by the columns after the task's own; None: they are others."""
    names = task.names
    found = [
        columns[first].removesuffix(f"_{names[0]}")
        for first in range(0, len(columns), max(1, len(names)))
    ]
    return found if list(columns) == [f"{one}_{name}" for one in found for name in names] else None


def _split(values: Array, measures: Sequence[str], names: int) -> dict[str, Array]:
    """Numbers of shape (samples, measures x names), by measure."""
    cells = values.reshape(len(values), len(measures), names)
    return {column: cells[:, place] for place, column in enumerate(measures)}


def _kept(columns: list[str]) -> tuple[str, ...]:
    """The kept columns, which stand after ``id`` and ``group``."""
    found = itertools.takewhile(lambda column: column.startswith(KEPT), columns[2:])
    return tuple(column.removeprefix(KEPT) for column in found)


def csv_line(cells: Iterable[str]) -> str:
    """One row of a CSV file, with its line end."""
    # Only with this line end does the writer quote carriage returns, which ids may hold.
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8")
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise RunError(f"{path} can't be read: {reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8, so medpipe did not write it.") from error
    except csv.Error as error:
        raise RunError(f"{path} is not valid CSV: {error}.") from error


def _check_names(task: Task) -> None:
    twice = sorted({name for name in task.names if task.names.count(name) > 1})
    if twice:
        raise DataError(
            f"The task has more than one output named {', '.join(map(repr, twice))}. Rename all "
            "but one."
        )


def _check_shapes(predictions: Predictions) -> None:
    task, count = predictions.task, len(predictions.ids)
    twice = _repeated(predictions.ids)
    if twice is not None:
        raise DataError(f"There are two predictions for the sample {twice!r}.")
    labels = task.step.label_shape(count, task.names)
    width = task.step.score_count(task.names)
    for name, array, shape in (
        ("scores", predictions.scores, (count, width)),
        ("labels", predictions.labels, labels),
    ):
        if array.shape != shape:
            raise DataError(
                f"The {name} have the shape {array.shape}, but {count} samples of a "
                f"{task.kind} task with {len(task.names)} outputs need {shape}."
            )
    if len(predictions.groups) != count:
        raise DataError(f"There are {len(predictions.groups)} groups for {count} samples.")
    if len(predictions.units) not in (0, count):
        raise DataError(f"There are {len(predictions.units)} units for {count} samples.")
    for column, values in predictions.measures.items():
        if values.shape != (count, len(task.names)):
            raise DataError(
                f"What is measured as {column!r} has the shape {values.shape}, but {count} samples "
                f"with {len(task.names)} names need {(count, len(task.names))}."
            )
    for column, cells in predictions.extra.items():
        if len(cells) != count:
            raise DataError(
                f"The kept column {column!r} has {len(cells)} values for {count} samples."
            )


def _check_scores(predictions: Predictions) -> None:
    import numpy as np

    finite = np.isfinite(predictions.scores)
    if predictions.task.step.missing_scores:
        finite |= np.isnan(predictions.scores)
    bad = _first(predictions.ids, ~finite.all(axis=1))
    if bad is not None:
        raise DataError(
            f"The network's output for the sample {bad!r} is not finite. Look for missing values "
            "in its image, and lower trainer.learning_rate if there are none."
        )
    problem = predictions.task.step.score_problem(predictions.scores)
    bad = None if problem is None else _first(predictions.ids, problem[0])
    if problem is not None and bad is not None:
        raise DataError(f"The scores of the sample {bad!r} {problem[1]}.")


def _check_labels(predictions: Predictions) -> None:
    task = predictions.task
    wrong, allowed = task.step.wrong_labels(predictions.labels, task.names)
    bad = _first(predictions.ids, wrong)
    if bad is not None:
        raise DataError(f"The label of the sample {bad!r} is not {allowed}.")


def _first(ids: Sequence[str], wrong: Any) -> str | None:
    return next((id_ for id_, is_wrong in zip(ids, wrong, strict=True) if is_wrong), None)


def _repeated(ids: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            return id_
        seen.add(id_)
    return None
