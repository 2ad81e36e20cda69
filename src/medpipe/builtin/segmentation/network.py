"""What network steps over MONAI's networks for segmentation have in common.

They take (batch, channels, spatial...) and give logits (batch, outputs, spatial...), one tensor,
with fresh weights. Parameters bear MONAI's names; defaults are for small data.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import and_, ge, instance_of, lt

from medpipe.plugin import DataError, DataInfo, NetworkStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

Sides = tuple[int | tuple[int, ...], ...]
"""For each level one number for all axes, or one for each axis."""

POSITIVE: Any = and_(instance_of(int), ge(1))
SHARE: Any = and_(ge(0), lt(1))


def positive(step: Any, field: attrs.Attribute[Any], value: Sides) -> None:
    """Check that there is a level, and that each of its numbers is a whole one from 1."""
    numbers = [n for item in value for n in (item if isinstance(item, tuple) else (item,))]
    if not numbers or any(type(number) is not int or number < 1 for number in numbers):
        raise ValueError(f"'{field.name}' must be whole numbers from 1, got {value!r}.")


def counts(levels: int) -> Any:
    """Check that there are so many whole numbers from 1."""

    def check(step: Any, field: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
        if len(value) != levels or any(type(n) is not int or n < 1 for n in value):
            raise ValueError(
                f"'{field.name}' must be {levels} whole numbers from 1, got {list(value)}."
            )

    return check


@attrs.frozen(kw_only=True)
class SegmentationNetwork(NetworkStep):
    """What the networks for segmentation have in common."""

    monai_name: ClassVar[str]
    deepest: ClassVar[int] = 1
    """How many pixels the deepest level needs: an instance norm can't train on a single one."""
    unused: ClassVar[tuple[str, ...]] = ()
    """Parts of the names of parameters that no output uses, and that are not trained."""

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network.

        Raises:
            DataError: The images are neither 2-D nor 3-D, have sides that the network can't
                halve, or the task has no images as labels; or a parameter does not fit them.
        """
        if not data.task.step.dense:
            raise DataError(
                f"The network {self.name} gives an output for each pixel, and the task "
                f"{data.task.kind} wants numbers for an image as a whole. Use a network such as "
                "densenet121."
            )
        shape = (data.channels, *data.spatial_shape)
        if data.spatial_dims not in (2, 3):
            raise DataError(
                f"The network {self.name} takes images of 2 or 3 spatial dimensions, and these "
                f"have {data.spatial_dims}: their shape is {shape}, channels first. Change the "
                "transforms, for example with squeeze_dim."
            )
        self._check_sides(data)
        import monai.networks.nets

        network: nn.Module = getattr(monai.networks.nets, self.monai_name)(**self._all(data))
        for name, parameter in network.named_parameters():
            if any(part in name for part in self.unused):
                parameter.requires_grad_(False)
        divisors = self.divisors(data.spatial_dims)
        if max(divisors) > 1:  # sizes that vary, and those of new images, are not known yet
            network.register_forward_pre_hook(partial(_refuse_sides, self.name, divisors))
        return network

    def bundle_form(self, data: DataInfo) -> Mapping[str, Any] | None:
        """MONAI's class with its parameters."""
        return {"_target_": f"monai.networks.nets.{self.monai_name}", **self._all(data)}

    def _all(self, data: DataInfo) -> dict[str, Any]:
        return {
            "spatial_dims": data.spatial_dims,
            "in_channels": data.channels,
            "out_channels": data.outputs,
            **self.arguments(data),
        }

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """What MONAI's class gets beside dimensions, channels and outputs."""
        raise NotImplementedError

    def divisors(self, dims: int) -> tuple[int, ...]:
        """By what each side must be divisible; 1: any side, which the network pads."""
        return (1,) * dims

    def reductions(self, dims: int) -> tuple[int, ...]:
        """By how much the deepest level is smaller than the image."""
        return self.divisors(dims)

    def _check_sides(self, data: DataInfo) -> None:
        divisors = self.divisors(data.spatial_dims)
        known = list(zip(data.spatial_shape, divisors, strict=True))
        shape = (data.channels, *data.spatial_shape)
        if any(side is not None and side % divisor for side, divisor in known):
            raise DataError(
                f"The network {self.name} needs images whose sides are multiples of "
                f"{list(divisors)}, and theirs is {shape}, channels first. Pad them with "
                f"divisible_pad (k = {list(divisors)}), crop or pad them with "
                "resize_with_pad_or_crop, or choose patches of such a size."
            )
        smaller = self.reductions(data.spatial_dims)
        left = [
            side if side is None else side // by
            for side, by in zip(data.spatial_shape, smaller, strict=True)
        ]
        if None not in left and math.prod(side or 0 for side in left) < self.deepest:
            raise DataError(
                f"The images are too small for the network {self.name}: of the shape {shape}, "
                "channels first, less than two pixels are left at its deepest level, and its "
                "normalisation needs two. Pad them with spatial_pad, choose larger patches, "
                "or a network with fewer levels."
            )


def per_axis(step: NetworkStep, name: str, value: Sides, dims: int) -> list[tuple[int, ...]]:
    """Give a number for each axis, at each level."""
    levels = [item if isinstance(item, tuple) else (item,) * dims for item in value]
    wrong = next((level for level in levels if len(level) != dims), None)
    if wrong is not None:
        raise DataError(
            f"{step.name}.{name} has a level of {len(wrong)} numbers, {list(wrong)}, and the "
            f"images have {dims} spatial dimensions. Give one number, or one for each."
        )
    return levels


def products(levels: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Multiply the numbers of each axis over all levels."""
    return tuple(math.prod(axis) for axis in zip(*levels, strict=True))


def _refuse_sides(
    called: str, divisors: Sequence[int], _: nn.Module, given: tuple[torch.Tensor, ...]
) -> None:
    """Refuse images with sides that a network can't halve, with the remedy.

    Raises:
        DataError: A side is not divisible.
    """
    import torch

    sides = tuple(given[0].shape[2:])
    if torch.compiler.is_compiling() or len(sides) != len(divisors):
        return
    if any(side % by for side, by in zip(sides, divisors, strict=True)):
        raise DataError(
            f"The network {called} takes images whose sides are multiples of {list(divisors)}, and "
            f"got one of {sides}. Pad them with divisible_pad, k = {list(divisors)}, or predict "
            "in windows with sliding_window, whose roi_size has such sides."
        )
