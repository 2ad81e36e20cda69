"""`VectorLabels`: tasks whose label is a number for each name, or none (NaN)."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from medpipe.tasks.step import TaskStep, number_cell, vector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from medpipe.tasks.step import Array


class VectorLabels(TaskStep):
    """A label holds a number for each name; NaN is missing, and left out of losses and metrics."""

    def label_problem(self, label: object, names: Sequence[str]) -> str | None:
        """A label is as many numbers as there are names, finite or NaN."""
        values = label if isinstance(label, tuple) else (label,)
        if len(values) != len(names):
            return f", but the task has {len(names)} values for each sample: {', '.join(names)}"
        numbers = [value for value in values if isinstance(value, Real)]
        if len(numbers) != len(values):
            return ", which is not a number"
        if any(map(math.isinf, numbers)):
            return ": it is infinite"
        return self.values_problem(numbers)

    def values_problem(self, values: Sequence[Any]) -> str | None:
        """What is wrong with the numbers of a label, as the end of a sentence; None: nothing."""
        return None

    def missing_label(self, names: Sequence[str]) -> Any:
        """NaN for each name."""
        return (math.nan,) * len(names)

    def encode(self, labels: Sequence[Any], names: Sequence[str]) -> torch.Tensor:
        """Float32 of shape (batch, names)."""
        import torch

        values = torch.as_tensor([torch.as_tensor(label).tolist() for label in labels])
        return values.to(torch.float32).reshape(len(labels), len(names))

    def label_array(self, labels: Any, names: Sequence[str]) -> Array:
        """Float64 of shape (samples, names)."""
        import numpy as np

        return np.asarray(labels, dtype=np.float64)

    def label_shape(self, count: int, names: Sequence[str]) -> tuple[int, ...]:
        """(count, names)."""
        return (count, len(names))

    def relabelled(self, label: Any, own: Sequence[str], names: Sequence[str]) -> Any:
        """The numbers in the order of the other names."""
        values = dict(zip(own, vector(label), strict=True))
        return tuple(values.get(name, math.nan) for name in names)

    def training_problem(self, labels: Sequence[Any], names: Sequence[str]) -> str | None:
        """Each name needs a label to train on."""
        columns = zip(*(vector(label) for label in labels), strict=True)
        for name, values in zip(names, columns, strict=True):
            if all(math.isnan(value) for value in values):
                return (
                    f"The {self.word} {name!r} has no training sample with a label. Remove it, or "
                    "give it more samples or groups."
                )
        return None

    def columns(self, names: Sequence[str], *, labels: bool) -> list[str]:
        """``label_<name>`` and ``prediction_<name>`` for each."""
        if not labels:
            return [f"prediction_{name}" for name in names]
        return [column for name in names for column in (f"label_{name}", f"prediction_{name}")]

    def row(
        self, label: Any, answer: Any, scores: Sequence[float], names: Sequence[str]
    ) -> list[str]:
        """A missing label is a blank cell."""
        said = [self.answer_cell(one) for one in answer]
        if label is None:
            return said
        known = ["" if math.isnan(one) else self.label_cell(one) for one in label]
        return [cell for pair in zip(known, said, strict=True) for cell in pair]

    def label_cell(self, value: float) -> str:
        """A label that is known, with all its digits."""
        return repr(value)

    def answer_cell(self, value: Any) -> str:
        """What is predicted for a name."""
        return repr(value)

    def read_row(self, cells: Mapping[str, str], names: Sequence[str]) -> tuple[Any, list[float]]:
        """The numbers of the label and of the prediction."""
        label = tuple(number_cell(f"label_{name}", cells, blank=True) for name in names)
        return label, [number_cell(f"prediction_{name}", cells) for name in names]
