"""The normalised surface Dice that weighs surfaces by their area, as the package surface-distance.

Source: S. Nikolov et al., Clinically applicable segmentation of head and neck anatomy for
radiotherapy, J Med Internet Res 23 (2021); computed by MONAI's `compute_surface_dice`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge

from medpipe.builtin.segmentation.metrics import OfStructures, measured, where_it_is
from medpipe.plugin import MaskMeasure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medpipe.plugin import Task

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class AreaWithin(MaskMeasure):
    """The share of both surfaces' areas that is within a tolerance of the other surface.

    Attributes:
        tolerance: In millimetres.
    """

    columns: ClassVar[tuple[str, ...]] = ("area_within",)
    tolerance: float = 1.0

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        """The share; 0 where one of the masks is empty, NaN where both are."""
        if not predicted.any() or not reference.any():
            return [0.0 if predicted.any() or reference.any() else math.nan]
        import numpy as np
        import torch
        from monai.metrics import compute_surface_dice

        # A border of background: a structure's surface is also where the image ends.
        answer, truth = (
            torch.from_numpy(np.pad(mask, 1))[None, None] for mask in (predicted, reference)
        )
        share = compute_surface_dice(
            answer,
            truth,
            class_thresholds=[self.tolerance],
            include_background=True,
            spacing=[float(step) for step in spacing],
            use_subvoxels=True,
        )
        return [float(share)]


@attrs.frozen(kw_only=True)
class SurfaceDiceByArea(OfStructures):
    """The mean normalised surface Dice by area: 0 where a structure is missed.

    As the package surface-distance has it: the surface runs between voxels, and counts by its
    area, where ``nsd`` counts voxels. Over the cases whose reference has the structure.

    Attributes:
        tolerance: How far the surfaces may be from each other, in millimetres; the same for all
            structures.
    """

    name: ClassVar[str] = "nsd_by_area"

    tolerance: float = attrs.field(default=1.0, validator=ge(0))

    def mask_measure(self) -> MaskMeasure:
        """The share of the area, at this tolerance."""
        return AreaWithin(tolerance=self.tolerance)

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The share of each structure, NaN where the reference has it not."""
        return where_it_is(measured(scores, task, 0), labels)
