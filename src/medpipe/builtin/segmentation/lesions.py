"""Lesion-wise metrics: how many lesions are found, and how many of those predicted are there.

A lesion is a connected component of a structure's mask. Sources: A. Carass et al., Longitudinal
multiple sclerosis lesion segmentation: resource and challenge, NeuroImage 148 (2017), whose lesion
true positive rate is ``lesion_recall``, and whose lesion false positive rate is what
``lesion_precision`` lacks to 1; O. Commowick et al., Objective evaluation of multiple sclerosis
lesion segmentation using a data management and processing infrastructure, Scientific Reports 8
(2018), for their F1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge, le, optional

from medpipe.builtin.counting import divide
from medpipe.builtin.segmentation.metrics import OfStructures, by_name, where_it_is
from medpipe.plugin import MaskMeasure, MetricStep, ReportSection, ReportTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medpipe.plugin import ReportContext, Task

    Array = np.ndarray[Any, np.dtype[Any]]

TRUE, FOUND, PREDICTED, INVENTED = range(4)
"""The places of `LesionCounts.columns`."""
HEADS = ("lesions", "found", "predicted", "invented")
_ROUNDING = 1e-9


@attrs.frozen(kw_only=True)
class LesionCounts(MaskMeasure):
    """Lesions of a case, and how many of them overlap.

    Attributes:
        overlap: The share of a lesion's voxels that must be in the other mask; 0: one voxel.
        connectivity: As of scikit-image and MONAI: by how many axes at most the places of two
            neighbours differ. None: by all, so that corners touch.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "lesions",
        "lesions_found",
        "lesions_predicted",
        "lesions_invented",
    )
    overlap: float = 0.0
    connectivity: int | None = None

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        """True lesions, those that are found, predicted ones, and those that are not there."""
        true, found = self._hit(reference, predicted)
        said, right = self._hit(predicted, reference)
        return true, found, said, said - right

    def _hit(self, mask: Array, other: Array) -> tuple[int, int]:
        """The lesions of a mask, and how many of them overlap with another mask."""
        import numpy as np
        from scipy.ndimage import generate_binary_structure, label

        if not mask.any():
            return 0, 0
        axes = mask.ndim
        neighbours = generate_binary_structure(axes, min(self.connectivity or axes, axes))
        lesions, count = label(mask, neighbours)
        sizes = np.bincount(lesions[mask], minlength=count + 1)[1:]
        covered = np.bincount(lesions[mask & other], minlength=count + 1)[1:]
        enough = covered >= self.overlap * sizes * (1 - _ROUNDING)
        return count, int(((covered > 0) & enough).sum())


@attrs.frozen(kw_only=True)
class _OfLesions(OfStructures):
    """Counts lesions, which are connected components, in the cases that have the structure."""

    overlap: float = attrs.field(default=0.0, validator=[ge(0), le(1)])
    connectivity: int | None = attrs.field(default=None, validator=optional([ge(1), le(3)]))

    def mask_measure(self) -> MaskMeasure:
        """Lesions, by this overlap and connectivity."""
        return LesionCounts(overlap=self.overlap, connectivity=self.connectivity)

    def report_sections(self, context: ReportContext) -> Sequence[ReportSection]:
        """The counts over all cases, once for all of these metrics."""
        asked = [step.name for step in LESION_METRICS if step.name in context.metrics]
        if self.name not in asked[:1] or not set(LesionCounts.columns) <= set(context.measures):
            return ()
        return [_section(context)]


@attrs.frozen(kw_only=True)
class LesionF1(_OfLesions):
    """The harmonic mean of lesion recall and precision of a case, averaged over cases.

    Over the cases whose reference has the structure: 0 where none of its lesions is found.

    Attributes:
        overlap: The share of a lesion's voxels that must be in the other mask for it to be found,
            or to be there; 0: one voxel.
        connectivity: What makes voxels one lesion: by how many axes at most the places of two
            neighbours differ (1: faces touch). None: by all, so that corners touch.
    """

    name: ClassVar[str] = "lesion_f1"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The F1 of each structure, NaN where the reference has it not."""
        recall, precision = _recall(scores, task), _precision(scores, task)
        mean = divide(2 * recall * precision, recall + precision)
        return where_it_is(_zero(mean, recall), labels)


@attrs.frozen(kw_only=True)
class LesionRecall(_OfLesions):
    """The share of a case's lesions that are found, averaged over cases.

    Over the cases whose reference has the structure: 0 where none is found.

    Attributes:
        overlap: As of ``lesion_f1``.
        connectivity: As of ``lesion_f1``.
    """

    name: ClassVar[str] = "lesion_recall"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The recall of each structure, NaN where the reference has it not."""
        return where_it_is(_recall(scores, task), labels)


@attrs.frozen(kw_only=True)
class LesionPrecision(_OfLesions):
    """The share of a case's predicted lesions that are there, averaged over cases.

    Over the cases whose reference has the structure: 0 where nothing is predicted, so that nothing
    is gained by leaving lesions out.

    Attributes:
        overlap: As of ``lesion_f1``.
        connectivity: As of ``lesion_f1``.
    """

    name: ClassVar[str] = "lesion_precision"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The precision of each structure, NaN where the reference has it not."""
        return where_it_is(_precision(scores, task), labels)


LESION_METRICS: tuple[type[MetricStep], ...] = (LesionF1, LesionRecall, LesionPrecision)
"""All of them."""


def _recall(scores: Array, task: Task) -> Array:
    counts = _counts(scores, task)
    return divide(counts[..., FOUND], counts[..., TRUE])


def _precision(scores: Array, task: Task) -> Array:
    counts = _counts(scores, task)
    said = counts[..., PREDICTED]
    return _zero(divide(said - counts[..., INVENTED], said), said)


def _counts(scores: Array, task: Task) -> Array:
    """Of shape (cases, names, 4)."""
    return by_name(scores, task)


def _zero(values: Array, of: Array) -> Array:
    """0 where nothing can be divided, though it was counted."""
    import numpy as np

    return np.where(np.isnan(values) & ~np.isnan(of), 0.0, values)


def _section(context: ReportContext) -> ReportSection:
    import numpy as np

    counts = np.stack([context.measures[column] for column in LesionCounts.columns], axis=-1)
    rows = []
    for place, name in enumerate(context.names):
        there, absent = context.labels[:, place] > 0, context.labels[:, place] == 0
        sums = np.nansum(counts[there, place], axis=0).astype(int).tolist()
        without = int(np.nansum(counts[absent, place, PREDICTED]))
        rows.append([name, int(there.sum()), *sums, int(absent.sum()), without])
    table = ReportTable(
        columns=["", "cases", *HEADS, "cases without", "predicted there"],
        rows=rows,
        caption="Connected components, summed over the cases that have the structure. Invented: "
        "predicted ones that are not there. The last column counts those in cases without the "
        "structure.",
    )
    return ReportSection(title="Lesions", tables=[table])
