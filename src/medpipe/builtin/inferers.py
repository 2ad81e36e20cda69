"""Inferer steps: how a network is called for evaluation and prediction."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge

from medpipe.plugin import InfererStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.plugin import DataInfo, Inferer


@attrs.frozen(kw_only=True)
class Simple(InfererStep):
    """The network as it is: MONAI's `SimpleInferer`."""

    name: ClassVar[str] = "simple"

    def build(self, data: DataInfo) -> Inferer:
        """Call the network."""
        from monai.inferers import SimpleInferer

        return SimpleInferer()

    def bundle_form(self, data: DataInfo) -> Mapping[str, Any] | None:
        """MONAI's class."""
        return {"_target_": "SimpleInferer"}


def _spatial(_: object, field: attrs.Attribute[Any], axes: tuple[int, ...] | None) -> None:
    if axes is not None and (not axes or len(set(axes)) < len(axes) or not set(axes) <= {0, 1, 2}):
        raise ValueError(f"must be different spatial axes from 0, got {list(axes)}.")


@attrs.frozen(kw_only=True)
class Flips(InfererStep):
    """The mean of the outputs for the image and all its flips (test-time augmentation).

    Outputs of each pixel are flipped back before. Not where left and right differ.

    Attributes:
        axes: The spatial axes to flip, counted from 0; None: all.
        inferer: How the network is called for each.
    """

    name: ClassVar[str] = "flips"
    axes: tuple[int, ...] | None = attrs.field(default=None, validator=_spatial)
    inferer: InfererStep = Simple()

    def build(self, data: DataInfo) -> Inferer:
        """Flip along every set of the axes, infer, and average."""
        inner = self.inferer.build(data)
        axes = tuple(range(data.spatial_dims)) if self.axes is None else self.axes
        wrong = [axis for axis in axes if axis >= data.spatial_dims]
        if wrong:
            raise ValueError(f"the images have {data.spatial_dims} axes, so none is {wrong[0]}")
        sets = [some for size in range(len(axes) + 1) for some in combinations(axes, size)]

        dense = data.task.step.dense

        def infer(inputs: Any, network: Any) -> Any:
            total: Any = 0
            for some in sets:
                dims = [axis + 2 for axis in some]
                outputs = inner(inputs.flip(dims) if dims else inputs, network).float()
                total = total + (outputs.flip(dims) if dims and dense else outputs)
            return total / len(sets)

        return infer


@attrs.frozen(kw_only=True)
class Shifts(InfererStep):
    """The mean of the outputs for the image and copies of it that are shifted by a few voxels.

    A network with strides sees an image on a grid of its own: shifted by a voxel, it gives other
    outputs. Their mean is better, mostly where labels are images (cycle spinning: Coifman and
    Donoho, 1995, Translation-invariant de-noising). What leaves an image on one side comes in on
    the other. Outputs of each pixel are shifted back before.

    Attributes:
        count: How many images: by 0, 1, 2, ... voxels along every axis at once. Prediction takes
            so many times as long; more than the network's strides together gain nothing.
        inferer: How the network is called for each.
    """

    name: ClassVar[str] = "shifts"
    count: int = attrs.field(default=4, validator=ge(2))
    inferer: InfererStep = Simple()

    def build(self, data: DataInfo) -> Inferer:
        """Shift, infer, shift back, and average."""
        inner = self.inferer.build(data)
        dims, dense = tuple(range(2, 2 + data.spatial_dims)), data.task.step.dense

        def infer(inputs: Any, network: Any) -> Any:
            total: Any = 0
            for by in range(self.count):
                outputs = inner(inputs.roll((by,) * len(dims), dims), network).float()
                total = total + (outputs.roll((-by,) * len(dims), dims) if dense else outputs)
            return total / self.count

        return infer


INFERERS: tuple[type[InfererStep], ...] = (Simple, Flips, Shifts)
"""All built-in inferers."""
