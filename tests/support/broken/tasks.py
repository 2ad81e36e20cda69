"""Tasks that each fail one check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import Multiclass, Regression, Segmentation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Sound(Multiclass):
    """Classes."""

    name: ClassVar[str] = "sound"


@attrs.frozen(kw_only=True)
class Numbers(Regression):
    """Numbers."""

    name: ClassVar[str] = "sound_numbers"


@attrs.frozen(kw_only=True)
class Refusing(Sound):
    def label_problem(self, label: object, names: Sequence[str]) -> str | None:
        return ", which is no text" if not isinstance(label, str) else None


@attrs.frozen(kw_only=True)
class TakesAll(Sound):
    def label_problem(self, label: object, names: Sequence[str]) -> str | None:
        return None


@attrs.frozen(kw_only=True)
class Wordless(Sound):
    def label_text(self, label: Any, names: Sequence[str]) -> str:
        return ""


@attrs.frozen(kw_only=True)
class Sorting(Sound):
    def encode(self, labels: Sequence[Any], names: Sequence[str]) -> torch.Tensor:
        return super().encode(sorted(labels), names)


@attrs.frozen(kw_only=True)
class OtherShape(Sound):
    def label_shape(self, count: int, names: Sequence[str]) -> tuple[int, ...]:
        return (count, 1)


@attrs.frozen(kw_only=True)
class NoFirstClass(Sound):
    def wrong_labels(self, labels: Array, names: Sequence[str]) -> tuple[Array, str]:
        return labels < 1, "a class from 1"


@attrs.frozen(kw_only=True)
class Unmoved(Numbers):
    def relabelled(self, label: Any, own: Sequence[str], names: Sequence[str]) -> Any:
        return label


@attrs.frozen(kw_only=True)
class ByPlace(Sound):
    def strata(
        self, labels: Sequence[Any], names: Sequence[str], units: int
    ) -> list[tuple[int, ...]]:
        return [(place % 2,) for place in range(len(labels))]


@attrs.frozen(kw_only=True)
class OfNumPy(Sound):
    def measure(self, labels: Sequence[Any], names: Sequence[str]) -> Mapping[str, Any]:
        import numpy as np

        return {"mean": np.float32(0.5)}


@attrs.frozen(kw_only=True)
class OneMore(Sound):
    def columns(self, names: Sequence[str], *, labels: bool) -> list[str]:
        return [*super().columns(names, labels=labels), "sure"]


@attrs.frozen(kw_only=True)
class ThreeDigits(Sound):
    def row(
        self, label: Any, answer: Any, scores: Sequence[float], names: Sequence[str]
    ) -> list[str]:
        return super().row(label, answer, [round(score, 3) for score in scores], names)


@attrs.frozen(kw_only=True)
class BlankIsZero(Numbers):
    def read_row(self, cells: Mapping[str, str], names: Sequence[str]) -> tuple[Any, list[float]]:
        return super().read_row({name: cell or "0" for name, cell in cells.items()}, names)


@attrs.frozen(kw_only=True)
class ArrayTables(Sound):
    def tables(
        self, labels: Array, scores: Array, names: Sequence[str], unit: str | None
    ) -> Mapping[str, Any]:
        return {**super().tables(labels, scores, names, unit), "mean": scores.mean(axis=0)}


@attrs.frozen(kw_only=True)
class Overflowing(Sound):
    def to_scores(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.exp() / outputs.exp().sum(dim=1, keepdim=True)


@attrs.frozen(kw_only=True)
class NoInverse(Segmentation):
    def outputs_of(self, scores: torch.Tensor) -> torch.Tensor:
        return scores


@attrs.frozen(kw_only=True)
class Unsure(Sound):
    def predicted(self, scores: Array) -> Array:
        likeliest = super().predicted(scores)
        likeliest[scores.max(axis=1) < 0.8] = -1
        return likeliest


@attrs.frozen(kw_only=True)
class Survival(Regression):
    """A time, and whether something happened then, in this order."""

    name: ClassVar[str] = "survival"
    label_form: ClassVar[str] = "survival"

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        return ("time", "event")

    def values_problem(self, values: Sequence[Any]) -> str | None:
        right = values[0] > 0 and values[1] in (0, 1)
        return None if right else ": it is no time and event"


@attrs.frozen(kw_only=True)
class OtherMetric(Sound):
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "mae")


@attrs.frozen(kw_only=True)
class OtherMonitor(Sound):
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "auc")


@attrs.frozen(kw_only=True)
class NoInferer(Sound):
    inferer: ClassVar[str] = "sliding"


@attrs.frozen(kw_only=True)
class Least(Sound):
    def predicted(self, scores: Array) -> Array:
        least: Array = scores.argmin(axis=1)
        return least


@attrs.frozen(kw_only=True)
class WideMasks(Segmentation):
    def decided(self, outputs: torch.Tensor) -> torch.Tensor:
        return super().decided(outputs).long()


@attrs.frozen(kw_only=True)
class NegativeVolumes(Segmentation):
    def case_scores(self, *args: Any, **kwargs: Any) -> tuple[Array, Array]:
        scores, label = super().case_scores(*args, **kwargs)
        scores[3::4] *= -1
        return scores, label


@attrs.frozen(kw_only=True)
class VolumesAlone(Segmentation):
    """Masks of volumes."""

    name: ClassVar[str] = "volumes_alone"

    def decided(self, outputs: torch.Tensor) -> torch.Tensor:
        if outputs.ndim != 5:
            raise ValueError("give volumes")
        return super().decided(outputs)


BROKEN: dict[str, Any] = {
    "takes_right_labels": Refusing,
    "refuses_wrong_labels": TakesAll,
    "says_labels_in_words": Wordless,
    "encodes_labels_in_their_order": Sorting,
    "keeps_labels_as_arrays": OtherShape,
    "finds_no_fault_in_right_labels": NoFirstClass,
    "relabels_there_and_back": Unmoved,
    "gives_strata_of_each_sample": ByPlace,
    "measures_plain_numbers": OfNumPy,
    "writes_a_cell_for_each_column": OneMore,
    "reads_what_it_writes": ThreeDigits,
    "reads_missing_labels": BlankIsZero,
    "gives_plain_tables": ArrayTables,
    "turns_outputs_into_scores": Overflowing,
    "brings_outputs_back_from_scores": NoInverse,
    "predicts_answers_that_are_labels": Unsure,
    "names_a_loss_that_fits": Survival,
    "names_metrics_that_fit": OtherMetric,
    "names_a_monitor_that_is_measured": OtherMonitor,
    "names_an_inferer_that_is_there": NoInferer,
    "scores_right_answers_best": Least,
    "decides_masks": WideMasks,
    "measures_masks": NegativeVolumes,
}
"""For each check a step that fails it alone."""
for _broken in BROKEN.values():
    _broken.__doc__ = "Fails one check."
SOUND = [Sound, Numbers, VolumesAlone]
"""Steps that fail none."""
