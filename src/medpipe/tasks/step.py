"""`Step`, which every kind of step is, and `TaskStep`: what depends on the question alone.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    import numpy as np
    import torch
    from torch import nn

    from medpipe.tasks.report import ReportContext, ReportSection

    Array = np.ndarray[Any, np.dtype[Any]]
    Label = int | float | tuple[float, ...]


class Step:
    """What all steps are: see `DatasetStep`, `TransformStep`, `NetworkStep` and so on.

    Attributes:
        kind: What kind of step it is, as configurations call it.
        required: What a step of the kind must define.
        name: How configurations call it. Lower case letters, digits and underscores.
    """

    kind: ClassVar[str]
    required: ClassVar[tuple[str, ...]] = ("build",)
    name: ClassVar[str]

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Steps with parameters that make sense, for `medpipe.testing`: by default the defaults.

        Args:
            folder: An empty folder, for small files that the examples read. A reader writes a few
                files of its format there.
        """
        return [cls()]


class TaskStep(Step):
    """A question that data sets ask: what depends on it, and nothing else does.

    Its fields are the question's parameters. With the names that were measured it becomes a
    `Task`. Most tasks extend `ClassLabels` or `VectorLabels`, which answer nearly all of this.

    Attributes:
        word: What one of the task's names is: ``class``, ``finding``, ``target``.
        label_form: The form of an encoded label, which a loss must fit (`LossStep.labels`):
            ``class`` (an index), ``findings`` (0, 1 or NaN for each), ``numbers``, ``mask`` (an
            image of indices), ``masks`` (a channel of 0 and 1 for each name), or another.
        dense: Whether labels and outputs are images: labels are `LabelImage`, the network gives
            (batch, outputs, spatial...), and a prediction keeps what `case_scores` measures.
        missing_scores: Whether a score may be NaN: undefined for the sample.
        answer_form: The form of scores and labels of predictions, which a metric must fit
            (`MetricStep.answers`): as `label_form`.
        cells: How the dataset step ``table`` reads labels: ``classes``, ``findings``, ``numbers``
            or ``masks`` (for extensions of `Segmentation`).
        one_stratum: Whether each sample is in one stratum, as with classes.
        several_readers: Whether one image may have several labels, each by another reader: a
            warning then, otherwise a fault.
        matching_remedy: What to do about a name of another data set that the network lacks.
        balancing_remedy: What to do in place of balanced sampling, where there are no classes.
        loss: The name of the loss where the trainer names none.
        monitor: The metric that decides which network is the best where the trainer names none.
        metrics: The names of the metrics that are always computed, in the order of reports.
        inferer: The name of the inferer where the configuration names none.
        buffers: The names of the buffers that `finish` puts into a network's state dictionary.
    """

    kind: ClassVar[str] = "task"
    required: ClassVar[tuple[str, ...]] = (
        "label_form",
        "answer_form",
        "loss",
        "monitor",
        "metrics",
        "label_problem",
        "label_text",
        "missing_label",
        "encode",
        "label_array",
        "label_shape",
        "wrong_labels",
        "relabelled",
        "strata",
        "columns",
        "row",
        "read_row",
    )
    word: ClassVar[str] = "output"
    label_form: ClassVar[str]
    answer_form: ClassVar[str]
    cells: ClassVar[Literal["classes", "findings", "numbers", "masks"]] = "classes"
    dense: ClassVar[bool] = False
    missing_scores: ClassVar[bool] = False
    one_stratum: ClassVar[bool] = False
    several_readers: ClassVar[bool] = True
    balancing_remedy: ClassVar[str] = ""
    matching_remedy: ClassVar[str] = "Leave its samples out."
    loss: ClassVar[str]
    monitor: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    inferer: ClassVar[str] = "simple"
    buffers: ClassVar[tuple[str, ...]] = ()

    # Names and outputs

    def names_problem(self, names: Sequence[str]) -> str | None:
        """What is wrong with the task's names, as a sentence; None: nothing."""
        return None

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names in their order, where labels are read from files; as given by default."""
        return tuple(names)

    def outputs(self, names: Sequence[str]) -> int:
        """How many numbers the network gives for a sample; one for each name by default."""
        return len(names)

    def score_count(self, names: Sequence[str]) -> int:
        """How many numbers predictions keep of a sample; one for each name by default."""
        return len(names)

    # Labels

    def label_problem(self, label: object, names: Sequence[str]) -> str | None:
        """What is wrong with a label, as the end of a sentence; None: nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no label_problem method")

    def label_text(self, label: Any, names: Sequence[str]) -> str:
        """A label in words."""
        raise NotImplementedError(f"{type(self).__name__} has no label_text method")

    def missing_label(self, names: Sequence[str]) -> Any:
        """The label of a sample of which nothing is known."""
        raise NotImplementedError(f"{type(self).__name__} has no missing_label method")

    def encode(self, labels: Sequence[Any], names: Sequence[str]) -> torch.Tensor:
        """Labels of a batch as the loss gets them: a tensor of shape (batch, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no encode method")

    def label_array(self, labels: Any, names: Sequence[str]) -> Array:
        """Labels as predictions keep them, from what `encode` gave or a list of labels.

        Raises:
            DataError: They are of another type.
        """
        raise NotImplementedError(f"{type(self).__name__} has no label_array method")

    def label_shape(self, count: int, names: Sequence[str]) -> tuple[int, ...]:
        """The shape of the labels of so many predictions."""
        raise NotImplementedError(f"{type(self).__name__} has no label_shape method")

    def wrong_labels(self, labels: Array, names: Sequence[str]) -> tuple[Array, str]:
        """Which labels of predictions can't be, bool of shape (count,), and what is allowed."""
        raise NotImplementedError(f"{type(self).__name__} has no wrong_labels method")

    def used_names(self, labels: Sequence[Any], names: Sequence[str]) -> Sequence[str]:
        """The names that labels say something of: all, but for classes that no sample has."""
        return names

    def relabelled(self, label: Any, own: Sequence[str], names: Sequence[str]) -> Any:
        """A label by other names in another order; what `own` lacks is missing."""
        raise NotImplementedError(f"{type(self).__name__} has no relabelled method")

    # Splits and sampling

    def strata(
        self, labels: Sequence[Any], names: Sequence[str], units: int
    ) -> list[tuple[int, ...]]:
        """For each sample the numbers of the strata by which samples are divided.

        Args:
            labels: Of the samples.
            names: The task's names.
            units: How many groups there are, which can't be divided.
        """
        raise NotImplementedError(f"{type(self).__name__} has no strata method")

    def classes(self, labels: Sequence[Any]) -> list[int] | None:
        """The class of each sample, for what each class needs; None: there are no classes."""
        return None

    def training_problem(self, labels: Sequence[Any], names: Sequence[str]) -> str | None:
        """What the labels of the training split lack, as a sentence; None: nothing."""
        return None

    def measure(self, labels: Sequence[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """What networks and losses may want to know of the training labels, by name."""
        return {}

    # Networks and their outputs

    def finish(self, network: nn.Module, statistics: Mapping[str, Any]) -> nn.Module:
        """Change a network that was just built, as a regression's is to answer in its unit."""
        return network

    def to_scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn outputs, float64 of shape (samples, outputs), into scores (samples, names)."""
        return outputs

    def bundle_form(self, statistics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """MONAI's transforms from the outputs of the plain network, under ``pred``, to scores.

        They take one sample. None, as by default: the run can't become a MONAI bundle.

        Args:
            statistics: What `measure` gave.
        """
        return None

    def outputs_of(self, scores: torch.Tensor) -> torch.Tensor:
        """Outputs of which `to_scores` makes these scores, as for the mean of several networks.

        A task whose labels are images needs it if it has a `to_scores`.

        Args:
            scores: Of shape (batch, outputs, spatial...).
        """
        return scores

    def score_problem(self, scores: Array) -> tuple[Array, str] | None:
        """Which scores can't be, bool of shape (samples,), and why; None: all can."""
        return None

    def predicted(self, scores: Array) -> Array:
        """What scores say: see `Predictions.predicted`."""
        return scores

    # Tasks whose labels are images (`dense`)

    def decided(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn outputs of shape (batch, outputs, spatial...) into labels as `encode` gives them.

        Returns:
            uint8 of shape (batch, 1, spatial...), or (batch, names, spatial...) where names may
            overlap.
        """
        raise NotImplementedError(f"{type(self).__name__} has no decided method")

    def case_scores(
        self,
        predicted: Array,
        label: Array,
        names: Sequence[str],
        *,
        spacing: Sequence[float] | None,
        surfaces: bool,
    ) -> tuple[Array, Array]:
        """Measure the prediction of one sample, on the grid of its file.

        Args:
            predicted: As `decided` gives it, of one sample: uint8 of shape (1 or names,
                spatial...).
            label: The truth, of the same shape; 255 counts nowhere.
            names: The task's names.
            spacing: Millimetres between voxels along each axis; None where that is not known.
            surfaces: Whether to measure distances between surfaces too, which takes long; what is
                left out is NaN.

        Returns:
            The scores, float64 of shape (`score_count`,), and the label as predictions keep it, of
            the shape that `label_shape` has after its first axis.
        """
        raise NotImplementedError(f"{type(self).__name__} has no case_scores method")

    def answer_scores(
        self, predicted: Array, names: Sequence[str], *, spacing: Sequence[float] | None
    ) -> Array:
        """What is told of a prediction without a label, such as the structures' volumes.

        Args:
            predicted: As for `case_scores`.
            names: The task's names.
            spacing: As for `case_scores`.

        Returns:
            Float64 of shape (names,).
        """
        raise NotImplementedError(f"{type(self).__name__} has no answer_scores method")

    def unannotated(
        self, labels: Array, scores: Array, names: Sequence[str], lacking: Sequence[str]
    ) -> tuple[Array, Array]:
        """Labels and scores of a data set that says nothing of some names.

        Args:
            labels: As `Predictions.labels`.
            scores: As `Predictions.scores`.
            names: The task's names.
            lacking: Those that the data set does not have.

        Returns:
            Both, unchanged where `relabelled` marks what is missing, as it does for labels that
            are numbers.
        """
        return labels, scores

    def written_values(self, names: Sequence[str]) -> tuple[int | str, ...]:
        """The values of the background and of each name in masks that are written.

        They are numbers (0, 1, 2, and so on by default), or colours as ``#rrggbb``.
        """
        return tuple(range(len(names) + 1))

    # Files and reports

    def columns(self, names: Sequence[str], *, labels: bool) -> list[str]:
        """The columns of a CSV file of predictions after its ids and groups."""
        raise NotImplementedError(f"{type(self).__name__} has no columns method")

    def row(
        self, label: Any, answer: Any, scores: Sequence[float], names: Sequence[str]
    ) -> list[str]:
        """The cells of one prediction under `columns`; without labels where `label` is None."""
        raise NotImplementedError(f"{type(self).__name__} has no row method")

    def read_row(self, cells: Mapping[str, str], names: Sequence[str]) -> tuple[Label, list[float]]:
        """The label and the scores of a row.

        Raises:
            ValueError: A cell can't be read; the message names its column.
        """
        raise NotImplementedError(f"{type(self).__name__} has no read_row method")

    def tables(
        self, labels: Array, scores: Array, names: Sequence[str], unit: str | None
    ) -> Mapping[str, Any]:
        """What metrics say beside numbers, as plain data: a table for each class, and the like."""
        return {}

    def remarks(self, metrics: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
        """Sentences for people about metrics that no network is needed for; none by default.

        Args:
            metrics: What `compute_metrics` gives, with ``intervals``.
            names: The task's names.
        """
        return []

    def report_sections(self, context: ReportContext) -> Sequence[ReportSection]:
        """Sections to add to the report of a run; none by default."""
        return ()


def number_cell(column: str, cells: Mapping[str, str], *, blank: bool = False) -> float:
    """The number in a cell.

    Raises:
        ValueError: There is none.
    """
    text = cells[column]
    if blank and not text:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is not a number") from None


def place_of(label: Any) -> int:
    """A class's index."""
    value = label[0] if isinstance(label, tuple) else label
    return int(value)


def vector(label: Any) -> tuple[float, ...]:
    """A label as several numbers, also where it is one."""
    return tuple(label) if isinstance(label, (tuple, list)) else (label,)
