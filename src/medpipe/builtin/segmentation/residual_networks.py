"""Network steps over MONAI's residual and classifier encoders with a decoder, in 2-D and 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import and_, deep_iterable, min_len

from medpipe.builtin.segmentation.network import (
    POSITIVE,
    SHARE,
    SegmentationNetwork,
    counts,
)
from medpipe.plugin import DataError, DataInfo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self


@attrs.frozen(kw_only=True)
class SegResNet(SegmentationNetwork):
    """Residual encoder and decoder: MONAI's `SegResNet`, after Myronenko (arXiv:1810.11654).

    Attributes:
        init_filters: Filters of the first level, which double at each further one.
        blocks_down: Residual blocks of each level of the encoder.
        blocks_up: Residual blocks of each level of the decoder, one level fewer.
        num_groups: Groups of the normalisation, which must divide the filters.
        dropout_prob: Share of the filters that is dropped after the first convolution.
        upsample_mode: How the decoder enlarges: by interpolation or a transposed convolution.
    """

    name: ClassVar[str] = "segresnet"
    monai_name: ClassVar[str] = "SegResNet"

    init_filters: int = attrs.field(default=8, validator=POSITIVE)
    blocks_down: tuple[int, ...] = attrs.field(
        default=(1, 2, 2, 4), validator=and_(deep_iterable(POSITIVE), min_len(2))
    )
    blocks_up: tuple[int, ...] = attrs.field(default=(1, 1, 1), validator=deep_iterable(POSITIVE))
    num_groups: int = attrs.field(default=8, validator=POSITIVE)
    dropout_prob: float = attrs.field(default=0.0, validator=SHARE)
    upsample_mode: Literal["nontrainable", "deconv"] = "nontrainable"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(blocks_down=(1, 1, 1), blocks_up=(1, 1))]

    def __attrs_post_init__(self) -> None:
        if len(self.blocks_up) != len(self.blocks_down) - 1:
            raise ValueError(
                "'blocks_up' must have one item fewer than 'blocks_down': there are "
                f"{len(self.blocks_up)} and {len(self.blocks_down)}"
            )
        if self.init_filters % self.num_groups:
            raise ValueError(
                f"'num_groups' must divide 'init_filters': they are {self.num_groups} and "
                f"{self.init_filters}"
            )

    def divisors(self, dims: int) -> tuple[int, ...]:
        """Two for each level but the first."""
        return (2 ** (len(self.blocks_down) - 1),) * dims

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {
            "init_filters": self.init_filters,
            "blocks_down": self.blocks_down,
            "blocks_up": self.blocks_up,
            "norm": ("group", {"num_groups": self.num_groups}),
            "num_groups": self.num_groups,
            "dropout_prob": self.dropout_prob or None,
            "upsample_mode": self.upsample_mode,
        }


@attrs.frozen(kw_only=True)
class VNet(SegmentationNetwork):
    """V-Net: MONAI's `VNet`, after Milletari et al. (arXiv:1606.04797).

    Attributes:
        dropout_prob_down: Share of the filters that is dropped in the deep levels of the encoder.
        dropout_prob_up: Share that is dropped in the decoder, in its deep levels and on what
            comes to them from the encoder.
    """

    name: ClassVar[str] = "vnet"
    monai_name: ClassVar[str] = "VNet"

    dropout_prob_down: float = attrs.field(default=0.5, validator=SHARE)
    dropout_prob_up: tuple[float, float] = attrs.field(
        default=(0.5, 0.5), validator=deep_iterable(SHARE)
    )

    def divisors(self, dims: int) -> tuple[int, ...]:
        """Four halvings."""
        return (16,) * dims

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters.

        Raises:
            DataError: The number of channels does not divide 16.
        """
        if 16 % data.channels:
            raise DataError(
                f"The network vnet takes images of 1, 2, 4, 8 or 16 channels, and these have "
                f"{data.channels}. Use another network, such as unet."
            )
        return {
            "dropout_prob_down": self.dropout_prob_down or None,
            "dropout_prob_up": self.dropout_prob_up,
            "dropout_dim": data.spatial_dims,
        }


@attrs.frozen(kw_only=True)
class FlexibleUNet(SegmentationNetwork):
    """U-Net whose encoder is a classifier: MONAI's `FlexibleUNet`, without its pretrained weights.

    Attributes:
        backbone: The encoder: an EfficientNet (arXiv:1905.11946) or a ResNet (arXiv:1512.03385).
        decoder_channels: Filters of the five levels of the decoder.
        dropout: Share of the activations that is dropped in the decoder.
        upsample: How the decoder enlarges: by interpolation or a transposed convolution.
    """

    name: ClassVar[str] = "flexible_unet"
    monai_name: ClassVar[str] = "FlexibleUNet"
    unused: ClassVar[tuple[str, ...]] = ("encoder._conv_head.", "encoder._bn1.", "encoder._fc.")

    backbone: Literal[
        "efficientnet-b0",
        "efficientnet-b1",
        "efficientnet-b2",
        "efficientnet-b3",
        "efficientnet-b4",
        "efficientnet-b5",
        "efficientnet-b6",
        "efficientnet-b7",
        "efficientnet-b8",
        "resnet10",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet200",
    ] = "efficientnet-b0"
    decoder_channels: tuple[int, ...] = attrs.field(
        default=(256, 128, 64, 32, 16), validator=counts(5)
    )
    dropout: float = attrs.field(default=0.0, validator=SHARE)
    upsample: Literal["nontrainable", "deconv"] = "nontrainable"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, of both kinds of encoders."""
        return [
            cls(backbone=kind, decoder_channels=(16, 8, 8, 4, 4))
            for kind in ("efficientnet-b0", "resnet10")
        ]

    def divisors(self, dims: int) -> tuple[int, ...]:
        """Five halvings."""
        return (32,) * dims

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {**attrs.asdict(self), "pretrained": False}
