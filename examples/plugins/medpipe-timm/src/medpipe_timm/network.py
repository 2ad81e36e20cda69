"""The network."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from attrs.validators import ge, lt, min_len

from medpipe.plugin import DataError, DataInfo, NetworkStep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from torch import nn


@attrs.frozen(kw_only=True)
class TimmNetwork(NetworkStep):
    """A classifier of timm, by its name there, for images of any number of channels.

    timm is PyTorch Image Models (Wightman, 2019, github.com/huggingface/pytorch-image-models).
    ``python -m medpipe_timm MODEL`` says what its weights are, and the images they are for.

    Attributes:
        model: timm's name of the network, such as ``convnext_tiny``. That of trained weights may
            follow it, as in ``convnext_tiny.in12k``: ``"pretrained"`` means these.
        weights: What it starts from. ``"none"``: random weights. ``"pretrained"``: timm's, from
            the Hugging Face hub or what is cached of it. Else a file: safetensors, or a state
            dictionary that torch saved. timm fits them to the images and to the outputs.
        dropout: The probability that a feature is left out before the last layer.
    """

    name: ClassVar[str] = "timm"
    model: str = attrs.field(validator=min_len(1))
    weights: str = attrs.field(default="none", validator=min_len(1))
    dropout: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Two small ones, which timm has for its own tests."""
        return [cls(model="test_resnet"), cls(model="test_vit", dropout=0.1)]

    def untrained(self) -> Self:
        """The same without weights: a run's own come from its checkpoint."""
        return self if self.weights == "none" else attrs.evolve(self, weights="none")

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network: (batch, channels, height, width) in, (batch, outputs) out.

        On torch's meta device a file is compared with the network, and nothing is downloaded.

        Raises:
            PluginError: timm, or torchvision which it imports, can't be imported.
            ConfigError: timm has no such network, or the weights can't be had or don't fit.
            DataError: The images don't fit the network, or their labels are masks.
        """
        if data.task.step.dense:
            raise DataError("network 'timm' classifies images; it gives no masks.")
        if data.spatial_dims != 2:
            raise DataError(
                "network 'timm' takes images, and these are volumes. Use a network of medpipe's "
                "own, such as network.step = 'resnet18'."
            )
        from medpipe_timm.encoders import encoder

        return encoder(self, data)
