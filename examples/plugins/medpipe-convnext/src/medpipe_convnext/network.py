"""The network."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from attrs.validators import deep_iterable, ge, gt, in_, lt, min_len

from medpipe.plugin import DataError, DataInfo, NetworkStep

if TYPE_CHECKING:
    from torch import nn


def _as_many(step: ConvNeXt, _: attrs.Attribute[tuple[int, ...]], depths: tuple[int, ...]) -> None:
    widths = getattr(step, "widths", depths)  # a configuration's values are tried one by one
    if len(depths) != len(widths):
        raise ValueError(f"'depths' has {len(depths)} stages, and 'widths' {len(widths)}.")


@attrs.frozen(kw_only=True)
class ConvNeXt(NetworkStep):
    """A ConvNeXt (Liu et al., 2022, arXiv:2201.03545) for images and volumes, without weights.

    The paper's smallest, ConvNeXt-T, is ``widths = [96, 192, 384, 768]`` with
    ``depths = [3, 3, 9, 3]``; the default is smaller, for data sets of thousands of images.

    Attributes:
        widths: The channels of each stage.
        depths: The blocks of each stage.
        stem: By what the first convolution divides the sides; each further stage halves them.
        kernel: The side of the depthwise convolutions.
        scale: The channels' first scale in each block.
        drop: The probability that a sample skips the last block; it rises evenly from 0.
    """

    name: ClassVar[str] = "convnext"
    widths: tuple[int, ...] = attrs.field(
        default=(32, 64, 128), validator=[min_len(1), deep_iterable(ge(1))]
    )
    depths: tuple[int, ...] = attrs.field(
        default=(2, 2, 4), validator=[deep_iterable(ge(1)), _as_many]
    )
    stem: int = attrs.field(default=4, validator=ge(1))
    kernel: int = attrs.field(default=7, validator=in_((3, 5, 7, 9, 11)))
    scale: float = attrs.field(default=1e-6, validator=gt(0))
    drop: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network: (batch, channels, spatial...) in, (batch, outputs) out.

        Raises:
            DataError: The images are smaller than what one pixel of the last stage sees, or their
                labels are masks.
        """
        from torch import nn

        from medpipe_convnext.blocks import ChannelNorm, ConvNeXtBlock, smaller

        self._require_fit(data)
        dims, last = data.spatial_dims, max(sum(self.depths) - 1, 1)
        layers: list[nn.Module] = []
        channels, place = data.channels, 0
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            if stage:
                layers += [ChannelNorm(channels), smaller(channels, width, dims=dims, factor=2)]
            else:
                layers += [smaller(channels, width, dims=dims, factor=self.stem)]
                layers += [ChannelNorm(width)]
            for _ in range(depth):
                drop = self.drop * place / last
                layers.append(
                    ConvNeXtBlock(width, dims=dims, kernel=self.kernel, scale=self.scale, drop=drop)
                )
                place += 1
            channels = width
        pooling = nn.AdaptiveAvgPool3d if dims == 3 else nn.AdaptiveAvgPool2d
        head = nn.Linear(channels, data.outputs)
        network = nn.Sequential(*layers, pooling(1), nn.Flatten(), nn.LayerNorm(channels), head)
        network.apply(_start)
        return network

    def _require_fit(self, data: DataInfo) -> None:
        if data.task.step.dense:
            raise DataError("network 'convnext' classifies images; it gives no masks.")
        least = self.stem * 2 ** (len(self.widths) - 1)
        sides = [side for side in data.spatial_shape if side is not None]
        if sides and min(sides) < least:
            raise DataError(
                f"network 'convnext' needs sides of {least} pixels or more, and images have "
                f"{min(sides)}. Set network.stem lower, give network.widths and network.depths "
                "fewer stages, or make the images larger by the step 'resize'."
            )


def _start(module: nn.Module) -> None:
    """The paper's first weights: a normal distribution cut off at two units, of deviation 0.02."""
    from torch import nn

    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
