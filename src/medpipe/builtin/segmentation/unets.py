"""Network steps over MONAI's U-Nets, in 2-D and 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import and_, deep_iterable, ge, min_len

from medpipe.builtin.segmentation.network import (
    POSITIVE,
    SHARE,
    SegmentationNetwork,
    Sides,
    counts,
    per_axis,
    positive,
    products,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from medpipe.plugin import DataInfo


@attrs.frozen(kw_only=True)
class _Strided(SegmentationNetwork):
    """What `UNet` and `AttentionUNet` have in common.

    Attributes:
        channels: Filters of each level.
        strides: How much each level but the first is smaller than the one above it; or for each
            axis by how much.
        kernel_size: Side of the kernels; an odd number.
        up_kernel_size: Side of the kernels of the way up.
        dropout: Share of the filters that is dropped.
    """

    channels: tuple[int, ...] = attrs.field(
        default=(16, 32, 64, 128), validator=and_(deep_iterable(POSITIVE), min_len(2))
    )
    strides: Sides = attrs.field(default=(2, 2, 2), validator=positive)
    kernel_size: int = attrs.field(default=3, validator=POSITIVE)
    up_kernel_size: int = attrs.field(default=3, validator=POSITIVE)
    dropout: float = attrs.field(default=0.0, validator=SHARE)

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(channels=(4, 8, 16), strides=(2, 2))]

    def __attrs_post_init__(self) -> None:
        if len(self.strides) != len(self.channels) - 1:
            raise ValueError(
                f"'strides' must have one item fewer than 'channels': there are "
                f"{len(self.strides)} and {len(self.channels)}"
            )

    def divisors(self, dims: int) -> tuple[int, ...]:
        """The products of the strides."""
        return products(per_axis(self, "strides", self.strides, dims))

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {
            "channels": self.channels,
            "strides": per_axis(self, "strides", self.strides, data.spatial_dims),
            "kernel_size": self.kernel_size,
            "up_kernel_size": self.up_kernel_size,
            "dropout": self.dropout,
        }


@attrs.frozen(kw_only=True)
class UNet(_Strided):
    """U-Net, with residual units where asked for: MONAI's `UNet`, after arXiv:1505.04597.

    Attributes:
        num_res_units: Residual units of each level; 0: plain convolutions.
        act: The activation.
        norm: The normalisation: ``instance`` for small batches.
        bias: Whether convolutions have a bias. A normalisation takes it out again, so that only
            the last one's counts; without any, a step takes less time on a CPU.
    """

    name: ClassVar[str] = "unet"
    monai_name: ClassVar[str] = "UNet"
    deepest: ClassVar[int] = 2

    num_res_units: int = attrs.field(default=0, validator=ge(0))
    act: Literal["prelu", "relu", "leakyrelu", "elu"] = "prelu"
    norm: Literal["instance", "batch"] = "instance"
    bias: bool = True

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        own = {"num_res_units": self.num_res_units, "act": self.act, "norm": self.norm}
        return {**_Strided.arguments(self, data), **own, "bias": self.bias}


@attrs.frozen(kw_only=True)
class AttentionUNet(_Strided):
    """U-Net with attention gates: MONAI's `AttentionUnet`, after arXiv:1804.03999."""

    name: ClassVar[str] = "attention_unet"
    monai_name: ClassVar[str] = "AttentionUnet"


@attrs.frozen(kw_only=True)
class DynUNet(SegmentationNetwork):
    """The U-Net of nnU-Net: MONAI's `DynUNet`, after arXiv:1904.08128.

    Attributes:
        kernel_size: Side of the kernels of each level, or for each axis.
        strides: How much each level is smaller than the one above it, or for each axis; the first
            is 1 for the full resolution.
        filters: Filters of each level.
        dropout: Share of the activations that is dropped.
        res_block: Whether blocks are residual.
        deep_supervision: Whether deeper levels are trained to give the answer too: the loss is the
            mean of theirs with the weights 1, 1/2, 1/4 and so on.
        deep_supr_num: How many levels, beside the first.
    """

    name: ClassVar[str] = "dynunet"
    monai_name: ClassVar[str] = "DynUNet"
    deepest: ClassVar[int] = 2

    kernel_size: Sides = attrs.field(default=(3, 3, 3, 3), validator=positive)
    strides: Sides = attrs.field(default=(1, 2, 2, 2), validator=positive)
    filters: tuple[int, ...] = attrs.field(
        default=(16, 32, 64, 128), validator=deep_iterable(POSITIVE)
    )
    dropout: float = attrs.field(default=0.0, validator=SHARE)
    res_block: bool = False
    deep_supervision: bool = False
    deep_supr_num: int = attrs.field(default=1, validator=POSITIVE)

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, with deep supervision and without."""
        return [cls(filters=(4, 8, 8, 16), deep_supervision=deep) for deep in (False, True)]

    def __attrs_post_init__(self) -> None:
        counts = {len(self.kernel_size), len(self.strides), len(self.filters)}
        if len(counts) > 1 or counts < {3}:
            raise ValueError(
                "'kernel_size', 'strides' and 'filters' must have one item for each level, of "
                f"three or more: there are {len(self.kernel_size)}, {len(self.strides)} and "
                f"{len(self.filters)}"
            )
        if self.deep_supervision and self.deep_supr_num > len(self.strides) - 2:
            raise ValueError(
                f"'deep_supr_num' must be at most {len(self.strides) - 2}, two fewer than there "
                f"are levels, got {self.deep_supr_num}"
            )

    def divisors(self, dims: int) -> tuple[int, ...]:
        """The products of the strides."""
        return products(per_axis(self, "strides", self.strides, dims))

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        strides = per_axis(self, "strides", self.strides, data.spatial_dims)
        return {
            "kernel_size": per_axis(self, "kernel_size", self.kernel_size, data.spatial_dims),
            "strides": strides,
            "upsample_kernel_size": strides[1:],
            "filters": self.filters,
            "dropout": self.dropout or None,  # None is MONAI's word for no dropout
            "res_block": self.res_block,
            "deep_supervision": self.deep_supervision,
            "deep_supr_num": self.deep_supr_num,
        }


@attrs.frozen(kw_only=True)
class BasicUNet(SegmentationNetwork):
    """U-Net of five levels: MONAI's `BasicUNet`, after arXiv:1606.06650.

    It has half of MONAI's filters by default. Sides may be any: it pads.

    Attributes:
        features: Filters of the five levels of the encoder, and of the last of the decoder.
        dropout: Share of the activations that is dropped.
        upsample: How the decoder enlarges: by a transposed convolution or by interpolation.
    """

    name: ClassVar[str] = "basic_unet"
    monai_name: ClassVar[str] = "BasicUNet"
    deepest: ClassVar[int] = 2

    features: tuple[int, ...] = attrs.field(default=(16, 16, 32, 64, 128, 16), validator=counts(6))
    dropout: float = attrs.field(default=0.0, validator=SHARE)
    upsample: Literal["deconv", "nontrainable"] = "deconv"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(features=(4, 4, 8, 8, 16, 4))]

    def reductions(self, dims: int) -> tuple[int, ...]:
        """Four poolings."""
        return (16,) * dims

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return attrs.asdict(self)
