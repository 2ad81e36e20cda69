"""`ClassLabels`: tasks whose label is one of several classes."""

from __future__ import annotations

import math
from collections import Counter
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.errors import DataError
from medpipe.tasks.step import TaskStep, number_cell, place_of, vector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from medpipe.tasks.step import Array


class ClassLabels(TaskStep):
    """A label is the index of a class, and scores are the probabilities of the classes.

    By default the network gives a number for each class, of which the softmax is taken.
    """

    word: ClassVar[str] = "class"
    label_form: ClassVar[str] = "class"
    answer_form: ClassVar[str] = "class"
    one_stratum: ClassVar[bool] = True
    several_readers: ClassVar[bool] = False
    matching_remedy: ClassVar[str] = (
        "Map it to one of these with dataset.classes, or leave its samples out."
    )

    def names_problem(self, names: Sequence[str]) -> str | None:
        """A classifier needs two classes or more."""
        if len(names) < 2:
            return f"There is only one class, {tuple(names)}. A classifier needs two or more."
        return None

    def label_problem(self, label: object, names: Sequence[str]) -> str | None:
        """A label is a whole number from 0 to below the number of classes."""
        if type(label) is int and 0 <= label < len(names):
            return None
        one = isinstance(label, Real) and math.isfinite(label)
        if not one or label != int(label) or not 0 <= label < len(names):  # type: ignore[operator,call-overload]
            return f", but the {len(names)} classes ({', '.join(names)}) are 0 to {len(names) - 1}"
        return None

    def label_text(self, label: Any, names: Sequence[str]) -> str:
        """The class's name."""
        return names[place_of(label)]

    def missing_label(self, names: Sequence[str]) -> Any:
        """The first class: an index can't be missing."""
        return 0

    def encode(self, labels: Sequence[Any], names: Sequence[str]) -> torch.Tensor:
        """Int64 of shape (batch,)."""
        import torch

        return torch.as_tensor([int(label) for label in labels], dtype=torch.int64)

    def label_array(self, labels: Any, names: Sequence[str]) -> Array:
        """Int64 of shape (samples,).

        Raises:
            DataError: They are no whole numbers.
        """
        import numpy as np

        given = np.asarray(labels)
        if given.size and given.dtype.kind not in "iu":
            raise DataError(
                f"The labels of a {self.name} task are class indices, not numbers of type "
                f"{given.dtype}."
            )
        return given.astype(np.int64)

    def label_shape(self, count: int, names: Sequence[str]) -> tuple[int, ...]:
        """(count,)."""
        return (count,)

    def wrong_labels(self, labels: Array, names: Sequence[str]) -> tuple[Array, str]:
        """Those outside of the classes."""
        return (labels < 0) | (labels >= len(names)), f"a class from 0 to {len(names) - 1}"

    def used_names(self, labels: Sequence[Any], names: Sequence[str]) -> Sequence[str]:
        """The classes that a sample has."""
        return [names[place] for place in sorted({place_of(label) for label in labels})]

    def relabelled(self, label: Any, own: Sequence[str], names: Sequence[str]) -> Any:
        """The index of the class's name among the others."""
        return names.index(own[place_of(label)])

    def strata(
        self, labels: Sequence[Any], names: Sequence[str], units: int
    ) -> list[tuple[int, ...]]:
        """The class, -1 where it is missing."""
        found = [_class_or_missing(label) for label in labels]
        alone = {label: (label,) for label in set(found)}
        return [alone[label] for label in found]

    def classes(self, labels: Sequence[Any]) -> list[int] | None:
        """The labels themselves."""
        return [_class_or_missing(label) for label in labels]

    def measure(self, labels: Sequence[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """``class_counts``: how many training samples each class has."""
        counts = Counter(place_of(label) for label in labels)
        return {"class_counts": tuple(counts[index] for index in range(len(names)))}

    def to_scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """Softmax."""
        import torch

        return torch.softmax(outputs, dim=-1)

    def bundle_form(self, statistics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """Softmax; None where an extension has scores of its own."""
        if type(self).to_scores is not ClassLabels.to_scores:
            return None
        return [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]

    def score_problem(self, scores: Array) -> tuple[Array, str] | None:
        """Probabilities are from 0 to 1."""
        return not_probabilities(scores), NO_PROBABILITIES

    def predicted(self, scores: Array) -> Array:
        """The likeliest class's index, the first where several are equal."""
        likeliest: Array = scores.argmax(axis=1)
        return likeliest

    def columns(self, names: Sequence[str], *, labels: bool) -> list[str]:
        """``label``, ``prediction`` and the probabilities."""
        first = ["label"] if labels else []
        return [*first, "prediction", *(f"p({name})" for name in names)]

    def row(
        self, label: Any, answer: Any, scores: Sequence[float], names: Sequence[str]
    ) -> list[str]:
        """Names of classes, and the probabilities with all their digits."""
        first = [] if label is None else [names[label]]
        return [*first, names[answer], *(repr(score) for score in scores)]

    def read_row(self, cells: Mapping[str, str], names: Sequence[str]) -> tuple[Any, list[float]]:
        """The class's index and the probabilities."""
        said = cells["label"]
        if said not in names:
            raise ValueError(f"label {said!r} is not a class of this task: {', '.join(names)}")
        return names.index(said), [number_cell(f"p({name})", cells) for name in names]

    def tables(
        self, labels: Array, scores: Array, names: Sequence[str], unit: str | None
    ) -> Mapping[str, Any]:
        """``classes``, a table for each class against the rest; ``confusion``, the counts."""
        import numpy as np

        from medpipe.tasks.tables import detection, ranking

        predicted, count = self.predicted(scores), len(names)
        classes = {
            name: {
                **detection(labels == place, predicted == place),
                **ranking(labels == place, scores[:, place]),
            }
            for place, name in enumerate(names)
        }
        confusion = np.bincount(labels * count + predicted, minlength=count * count)
        return {"classes": classes, "confusion": confusion.reshape(count, count).tolist()}

    def remarks(self, metrics: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
        """Absent classes, one class for all images, an accuracy like that of one answer, ..."""
        from medpipe.tasks.remarks import class_remarks, reversed_remarks

        return [*class_remarks(metrics, names), *reversed_remarks(metrics, "auc", 0.5)]


NO_PROBABILITIES = (
    "are not probabilities: they must be from 0 to 1. Use to_scores on the network's outputs"
)


def not_probabilities(scores: Array) -> Array:
    """Which rows of scores hold a number that is not from 0 to 1."""
    import numpy as np

    return np.asarray(((scores < 0) | (scores > 1)).any(axis=1))


def _class_or_missing(label: Any) -> int:
    value = vector(label)[0]
    return -1 if math.isnan(value) else int(value)
