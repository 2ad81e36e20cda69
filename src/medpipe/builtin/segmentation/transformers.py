"""Network steps over MONAI's transformers for segmentation, in 2-D and 3-D."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.builtin.segmentation.network import (
    POSITIVE,
    SHARE,
    SegmentationNetwork,
    counts,
)
from medpipe.plugin import DataError, DataInfo, NetworkStep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from torch import nn


def _needs_einops(step: NetworkStep) -> None:
    if importlib.util.find_spec("einops") is None:
        raise ImportError(
            f"The network {step.name} needs einops, which is not installed. Install "
            "medpipe-imaging[transformers]."
        )


@attrs.frozen(kw_only=True)
class SwinUNETR(SegmentationNetwork):
    """Swin transformer as encoder: MONAI's `SwinUNETR`, after arXiv:2201.01266.

    Needs ``medpipe-imaging[transformers]``.

    Attributes:
        feature_size: Features of the first level: a multiple of 12.
        depths: Blocks of each of the four levels.
        num_heads: Heads of attention of each level, which must divide its features.
        window_size: Side of the window that attends to itself.
        drop_rate: Share of the features that is dropped.
        attn_drop_rate: Share of the attention that is dropped.
        dropout_path_rate: Share of the blocks that is passed over.
        use_v2: With a residual convolution at the beginning of each level.
        use_checkpoint: Compute activations again in the backward pass, to save memory.
    """

    name: ClassVar[str] = "swin_unetr"
    monai_name: ClassVar[str] = "SwinUNETR"
    deepest: ClassVar[int] = 2

    feature_size: int = attrs.field(default=24, validator=POSITIVE)
    depths: tuple[int, ...] = attrs.field(default=(2, 2, 2, 2), validator=counts(4))
    num_heads: tuple[int, ...] = attrs.field(default=(3, 6, 12, 24), validator=counts(4))
    window_size: int = attrs.field(default=7, validator=POSITIVE)
    drop_rate: float = attrs.field(default=0.0, validator=SHARE)
    attn_drop_rate: float = attrs.field(default=0.0, validator=SHARE)
    dropout_path_rate: float = attrs.field(default=0.0, validator=SHARE)
    use_v2: bool = False
    use_checkpoint: bool = False

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4))]

    def __attrs_post_init__(self) -> None:
        if self.feature_size % 12:
            raise ValueError(f"'feature_size' must be a multiple of 12, got {self.feature_size}")
        for level, heads in enumerate(self.num_heads):
            if (self.feature_size * 2**level) % heads:
                raise ValueError(
                    f"'num_heads' must divide the features of each level: {heads} does not divide "
                    f"{self.feature_size * 2**level}"
                )

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network; also on torch's ``meta`` device, from which MONAI reads a number back.

        Raises:
            DataError: As for the other networks for segmentation.
            ImportError: einops is not installed.
        """
        import torch
        from torch.overrides import TorchFunctionMode

        class LinspaceOnCPU(TorchFunctionMode):
            def __torch_function__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                device = {"device": "cpu"} if func is torch.linspace else {}
                return func(*args, **{**(kwargs or {}), **device})

        with LinspaceOnCPU():
            return SegmentationNetwork.build(self, data)

    def divisors(self, dims: int) -> tuple[int, ...]:
        """Five halvings."""
        return (32,) * dims

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters.

        Raises:
            ImportError: einops is not installed.
        """
        _needs_einops(self)
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class UNETR(SegmentationNetwork):
    """Vision transformer as encoder: MONAI's `UNETR`, after arXiv:2103.10504.

    Needs ``medpipe-imaging[transformers]``, and images or patches of one size.

    Attributes:
        feature_size: Filters of the first level of the decoder.
        hidden_size: Features of the transformer.
        mlp_dim: Features between its two layers of each block.
        num_heads: Heads of attention, which must divide the features.
        dropout_rate: Share of the features that is dropped.
    """

    name: ClassVar[str] = "unetr"
    monai_name: ClassVar[str] = "UNETR"
    unused: ClassVar[tuple[str, ...]] = ("norm_cross_attn.",)

    feature_size: int = attrs.field(default=16, validator=POSITIVE)
    hidden_size: int = attrs.field(default=768, validator=POSITIVE)
    mlp_dim: int = attrs.field(default=3072, validator=POSITIVE)
    num_heads: int = attrs.field(default=12, validator=POSITIVE)
    dropout_rate: float = attrs.field(default=0.0, validator=SHARE)

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(feature_size=4, hidden_size=24, mlp_dim=24, num_heads=2)]

    def __attrs_post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"'num_heads' must divide 'hidden_size': they are {self.num_heads} and "
                f"{self.hidden_size}"
            )

    def divisors(self, dims: int) -> tuple[int, ...]:
        """Its patches have sides of 16."""
        return (16,) * dims

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters, with the size of the images.

        Raises:
            DataError: The size varies.
            ImportError: einops is not installed.
        """
        if None in data.spatial_shape:
            raise DataError(
                "The network unetr is made for one size of images, and theirs varies: it is "
                f"{(data.channels, *data.spatial_shape)}, channels first. Use "
                "resize_with_pad_or_crop, or patches of one size."
            )
        _needs_einops(self)
        return {**attrs.asdict(self), "img_size": data.spatial_shape}
