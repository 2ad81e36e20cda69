"""Any number of findings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.tasks.class_labels import NO_PROBABILITIES, not_probabilities
from medpipe.tasks.step import number_cell, vector
from medpipe.tasks.strata import ALL, NONE, UNKNOWN
from medpipe.tasks.vector_labels import VectorLabels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from medpipe.tasks.step import Array


@attrs.frozen(kw_only=True)
class Multilabel(VectorLabels):
    """Any number of findings in an image, each there (1), absent (0) or unknown (NaN)."""

    name: ClassVar[str] = "multilabel"
    word: ClassVar[str] = "finding"
    label_form: ClassVar[str] = "findings"
    answer_form: ClassVar[str] = "findings"
    cells: ClassVar[Literal["classes", "findings", "numbers"]] = "findings"
    balancing_remedy: ClassVar[str] = (
        "To weigh rare findings, set trainer.loss to bce_with_logits with pos_weight."
    )
    matching_remedy: ClassVar[str] = (
        "Map it to one of these with dataset.classes, or leave it out of the labels."
    )
    loss: ClassVar[str] = "bce_with_logits"
    monitor: ClassVar[str] = "auc"
    metrics: ClassVar[tuple[str, ...]] = ("auc", "average_precision", "f1")

    def values_problem(self, values: Sequence[Any]) -> str | None:
        """Each is 1, 0 or NaN."""
        if all(value in (0, 1) or math.isnan(value) for value in values):
            return None
        return ". Each finding is 1, 0 or NaN (missing)"

    def label_text(self, label: Any, names: Sequence[str]) -> str:
        """The findings that are there."""
        found = [name for name, value in zip(names, vector(label), strict=True) if value == 1]
        return ", ".join(found) or "nothing found"

    def wrong_labels(self, labels: Array, names: Sequence[str]) -> tuple[Array, str]:
        """What is neither 0 nor 1 nor NaN."""
        import numpy as np

        wrong = ~(np.isnan(labels) | (labels == 0) | (labels == 1)).all(axis=1)
        return wrong, "0, 1 or NaN for each finding"

    def strata(
        self, labels: Sequence[Any], names: Sequence[str], units: int
    ) -> list[tuple[int, ...]]:
        """Each finding that is there or unknown."""
        return [_findings(vector(label)) for label in labels]

    def measure(self, labels: Sequence[Any], names: Sequence[str]) -> Mapping[str, Any]:
        """``finding_counts``: how many training samples are without each, and how many have it."""
        columns = zip(*(vector(label) for label in labels), strict=True)
        counts = tuple((column.count(0), column.count(1)) for column in columns)
        return {"finding_counts": counts}

    def to_scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """Sigmoid."""
        import torch

        return torch.sigmoid(outputs)

    def bundle_form(self, statistics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """Sigmoid."""
        return [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]

    def score_problem(self, scores: Array) -> tuple[Array, str] | None:
        """Probabilities are from 0 to 1."""
        return not_probabilities(scores), NO_PROBABILITIES

    def predicted(self, scores: Array) -> Array:
        """Whether each finding's probability is at least 0.5."""
        there: Array = scores >= 0.5
        return there

    def columns(self, names: Sequence[str], *, labels: bool) -> list[str]:
        """Labels and predictions, then the probabilities."""
        return [*super().columns(names, labels=labels), *(f"p({name})" for name in names)]

    def row(
        self, label: Any, answer: Any, scores: Sequence[float], names: Sequence[str]
    ) -> list[str]:
        """1, 0 or blank, then the probabilities with all their digits."""
        cells = super().row(label, answer, scores, names)
        return [*cells, *(repr(score) for score in scores)]

    def label_cell(self, value: float) -> str:
        """1 or 0."""
        return str(int(value))

    def answer_cell(self, value: Any) -> str:
        """1 or 0."""
        return str(int(value))

    def read_row(self, cells: Mapping[str, str], names: Sequence[str]) -> tuple[Any, list[float]]:
        """The label and the probabilities."""
        label = tuple(number_cell(f"label_{name}", cells, blank=True) for name in names)
        return label, [number_cell(f"p({name})", cells) for name in names]

    def tables(
        self, labels: Array, scores: Array, names: Sequence[str], unit: str | None
    ) -> Mapping[str, Any]:
        """``findings``: a table for each finding, over the samples whose label is known."""
        import numpy as np

        from medpipe.tasks.tables import detection, ranking

        predicted = self.predicted(scores)
        findings: dict[str, dict[str, Any]] = {}
        for place, name in enumerate(names):
            known = ~np.isnan(labels[:, place])
            truth = labels[known, place] == 1
            table = detection(truth, predicted[known, place])
            findings[name] = {
                **table,
                "images": len(truth),
                "positives": table["images"],
                **ranking(truth, scores[known, place]),
            }
        return {"findings": findings}

    def remarks(self, metrics: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
        """A mean AUC like that of chance, findings that are absent or never predicted, ..."""
        from medpipe.tasks.remarks import finding_remarks, guess_remarks, reversed_remarks

        below = reversed_remarks(metrics, "auc", 0.5)
        chance = guess_remarks(metrics, "auc", 0.5, "the same answer for each image gives")
        return [*(below or chance), *finding_remarks(metrics)]


def _findings(labels: tuple[float, ...]) -> tuple[int, ...]:
    # By finding, not by vector: most vectors of many findings are rare.
    found = [n for n, value in enumerate(labels) if value == 1]
    found += [UNKNOWN - n for n, value in enumerate(labels) if math.isnan(value)]
    return (ALL, *(found or (NONE,)))
