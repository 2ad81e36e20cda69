"""Network steps over MONAI's classifiers, in 2-D and 3-D, always with fresh weights.

Those for segmentation are in `segmentation`.
Parameters bear MONAI's names and have its defaults. ``pretrained`` is left out: it would download.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import and_, ge, gt, le, lt

from medpipe.plugin import (
    Auto,
    AutoInfo,
    DataError,
    DataInfo,
    NetworkStep,
    auto_width,
    or_auto,
    resolved,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from torch import nn


class Classifier(NetworkStep):
    """What the classifiers have in common: MONAI's class or function, and what it gets."""

    monai_name: ClassVar[str]

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """What it gets beside the number of dimensions."""
        raise NotImplementedError

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network.

        Raises:
            DataError: The images are neither 2-D nor 3-D, or the task has images as labels.
        """
        if data.task.step.dense:
            raise DataError(
                f"The network {self.name} gives numbers for an image as a whole, and the task "
                f"{data.task.kind} wants an output for each pixel. Use a network such as unet."
            )
        if data.spatial_dims not in (2, 3):
            raise DataError(
                f"The network {self.name} takes images of 2 or 3 spatial dimensions, and these "
                f"have {data.spatial_dims}: their shape is {(data.channels, *data.spatial_shape)}, "
                "channels first. Change the transforms, for example with squeeze_dim."
            )
        import monai.networks.nets

        make = getattr(monai.networks.nets, self.monai_name)
        network: nn.Module = make(spatial_dims=data.spatial_dims, **self.arguments(data))
        return network

    def bundle_form(self, data: DataInfo) -> Mapping[str, Any] | None:
        """MONAI's class or function with its parameters."""
        target = f"monai.networks.nets.{self.monai_name}"
        return {"_target_": target, "spatial_dims": data.spatial_dims, **self.arguments(data)}


@attrs.frozen(kw_only=True)
class DenseNet(Classifier):
    """What the DenseNets have in common.

    Attributes:
        init_features: Filters of the first convolution. ``"auto"``: 64, or 32 for fewer than 100
            training samples and no trained weights.
        growth_rate: Filters that each layer adds. ``"auto"``: 32, or 16 in the same case.
        dropout_prob: Dropout after each dense layer.
    """

    init_features: int | Auto = attrs.field(default=64, validator=or_auto(ge(1)))
    growth_rate: int | Auto = attrs.field(default=32, validator=or_auto(ge(1)))
    dropout_prob: float = attrs.field(default=0.0, validator=and_(ge(0), lt(1)))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(init_features=8, growth_rate=4)]

    def resolve(self, info: AutoInfo) -> NetworkStep:
        """Choose the width by the number of samples."""
        width = auto_width(info.samples, pretrained=info.pretrained)
        chosen = {
            name: value
            for name, value in zip(("init_features", "growth_rate"), width, strict=True)
            if getattr(self, name) == "auto"
        }
        return attrs.evolve(self, **chosen) if chosen else self

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {
            "in_channels": data.channels,
            "out_channels": data.outputs,
            "init_features": resolved(self.init_features),
            "growth_rate": resolved(self.growth_rate),
            "dropout_prob": self.dropout_prob,
        }


@attrs.frozen(kw_only=True)
class DenseNet121(DenseNet):
    """DenseNet of 121 layers: MONAI's `DenseNet121`, after Huang et al. (arXiv:1608.06993)."""

    name: ClassVar[str] = "densenet121"
    monai_name: ClassVar[str] = "DenseNet121"


@attrs.frozen(kw_only=True)
class DenseNet169(DenseNet):
    """DenseNet of 169 layers: MONAI's `DenseNet169`, after Huang et al. (arXiv:1608.06993)."""

    name: ClassVar[str] = "densenet169"
    monai_name: ClassVar[str] = "DenseNet169"


@attrs.frozen(kw_only=True)
class DenseNet201(DenseNet):
    """DenseNet of 201 layers: MONAI's `DenseNet201`, after Huang et al. (arXiv:1608.06993)."""

    name: ClassVar[str] = "densenet201"
    monai_name: ClassVar[str] = "DenseNet201"


@attrs.frozen(kw_only=True)
class DenseNet264(DenseNet):
    """DenseNet of 264 layers: MONAI's `DenseNet264`, after Huang et al. (arXiv:1608.06993)."""

    name: ClassVar[str] = "densenet264"
    monai_name: ClassVar[str] = "DenseNet264"


@attrs.frozen(kw_only=True)
class ResNet(Classifier):
    """What the ResNets have in common.

    Attributes:
        conv1_t_size: Side of the first convolution's kernel.
        conv1_t_stride: Stride of the first convolution.
        no_max_pool: Leave out the pooling after it, for small images.
        shortcut_type: How a block that changes the number of filters passes its input on: ``B``:
            by a convolution; ``A``: with filters of zeros added, and without a gradient.
        bias_downsample: Whether that convolution has a bias. False in torchvision's and timm's
            ResNets, which also have ``conv1_t_stride = 2``.
        widen_factor: Multiplies the filters of every layer.
    """

    conv1_t_size: int = attrs.field(default=7, validator=ge(1))
    conv1_t_stride: int = attrs.field(default=1, validator=ge(1))
    no_max_pool: bool = False
    shortcut_type: Literal["A", "B"] = "B"
    bias_downsample: bool = True
    widen_factor: float = attrs.field(default=1.0, validator=gt(0))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Narrow ones, which are quick."""
        return [cls(widen_factor=0.125, conv1_t_stride=2)]

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {
            "n_input_channels": data.channels,
            "num_classes": data.outputs,
            "conv1_t_size": self.conv1_t_size,
            "conv1_t_stride": self.conv1_t_stride,
            "no_max_pool": self.no_max_pool,
            "shortcut_type": self.shortcut_type,
            "bias_downsample": self.bias_downsample,
            "widen_factor": self.widen_factor,
        }


@attrs.frozen(kw_only=True)
class ResNet10(ResNet):
    """ResNet of 10 layers: MONAI's `resnet10`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet10"
    monai_name: ClassVar[str] = "resnet10"


@attrs.frozen(kw_only=True)
class ResNet18(ResNet):
    """ResNet of 18 layers: MONAI's `resnet18`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet18"
    monai_name: ClassVar[str] = "resnet18"


@attrs.frozen(kw_only=True)
class ResNet34(ResNet):
    """ResNet of 34 layers: MONAI's `resnet34`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet34"
    monai_name: ClassVar[str] = "resnet34"


@attrs.frozen(kw_only=True)
class ResNet50(ResNet):
    """ResNet of 50 layers: MONAI's `resnet50`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet50"
    monai_name: ClassVar[str] = "resnet50"


@attrs.frozen(kw_only=True)
class ResNet101(ResNet):
    """ResNet of 101 layers: MONAI's `resnet101`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet101"
    monai_name: ClassVar[str] = "resnet101"


@attrs.frozen(kw_only=True)
class ResNet152(ResNet):
    """ResNet of 152 layers: MONAI's `resnet152`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet152"
    monai_name: ClassVar[str] = "resnet152"


@attrs.frozen(kw_only=True)
class ResNet200(ResNet):
    """ResNet of 200 layers: MONAI's `resnet200`, after He et al. (arXiv:1512.03385)."""

    name: ClassVar[str] = "resnet200"
    monai_name: ClassVar[str] = "resnet200"


@attrs.frozen(kw_only=True)
class SENet(Classifier):
    """What the squeeze-and-excitation networks have in common.

    Attributes:
        dropout_prob: Dropout before the last layer. Like MONAI's, the default differs.
        reduction: How much the excitation narrows the channels.
    """

    dropout_prob: float = attrs.field(default=0.0, validator=and_(ge(0), le(1)))
    reduction: int = attrs.field(default=16, validator=ge(1))

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {
            "in_channels": data.channels,
            "num_classes": data.outputs,
            "dropout_prob": self.dropout_prob or None,  # None is MONAI's word for no dropout
            "reduction": self.reduction,
        }


@attrs.frozen(kw_only=True)
class SENet154(SENet):
    """SENet of 154 layers: MONAI's `SENet154`, after Hu et al. (arXiv:1709.01507)."""

    name: ClassVar[str] = "senet154"
    monai_name: ClassVar[str] = "SENet154"

    dropout_prob: float = attrs.field(default=0.2, validator=and_(ge(0), le(1)))


@attrs.frozen(kw_only=True)
class SEResNet50(SENet):
    """SE-ResNet of 50 layers: MONAI's `SEResNet50`, after Hu et al. (arXiv:1709.01507)."""

    name: ClassVar[str] = "seresnet50"
    monai_name: ClassVar[str] = "SEResNet50"


@attrs.frozen(kw_only=True)
class SEResNet101(SENet):
    """SE-ResNet of 101 layers: MONAI's `SEResNet101`, after Hu et al. (arXiv:1709.01507)."""

    name: ClassVar[str] = "seresnet101"
    monai_name: ClassVar[str] = "SEResNet101"

    dropout_prob: float = attrs.field(default=0.2, validator=and_(ge(0), le(1)))


@attrs.frozen(kw_only=True)
class SEResNet152(SENet):
    """SE-ResNet of 152 layers: MONAI's `SEResNet152`, after Hu et al. (arXiv:1709.01507)."""

    name: ClassVar[str] = "seresnet152"
    monai_name: ClassVar[str] = "SEResNet152"

    dropout_prob: float = attrs.field(default=0.2, validator=and_(ge(0), le(1)))


@attrs.frozen(kw_only=True)
class SEResNeXt50(SENet):
    """SE-ResNeXt of 50 layers: MONAI's `SEResNext50`, after Hu et al. (arXiv:1709.01507)."""

    name: ClassVar[str] = "seresnext50"
    monai_name: ClassVar[str] = "SEResNext50"


@attrs.frozen(kw_only=True)
class SEResNeXt101(SENet):
    """SE-ResNeXt of 101 layers: MONAI's `SEResNext101`, after Hu et al. (arXiv:1709.01507)."""

    name: ClassVar[str] = "seresnext101"
    monai_name: ClassVar[str] = "SEResNext101"


@attrs.frozen(kw_only=True)
class EfficientNet(Classifier):
    """EfficientNet: MONAI's `EfficientNetBN`, after Tan and Le (arXiv:1905.11946).

    Attributes:
        model: Its size, which also sets its dropout.
    """

    name: ClassVar[str] = "efficientnet"
    monai_name: ClassVar[str] = "EfficientNetBN"

    model: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"] = "b0"

    def arguments(self, data: DataInfo) -> dict[str, Any]:
        """The parameters."""
        return {
            "model_name": f"efficientnet-{self.model}",
            "pretrained": False,  # MONAI's default is True, which downloads
            "in_channels": data.channels,
            "num_classes": data.outputs,
        }


NETWORKS: tuple[type[NetworkStep], ...] = (
    DenseNet121,
    DenseNet169,
    DenseNet201,
    DenseNet264,
    ResNet10,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    ResNet152,
    ResNet200,
    SENet154,
    SEResNet50,
    SEResNet101,
    SEResNet152,
    SEResNeXt50,
    SEResNeXt101,
    EfficientNet,
)
"""All built-in network steps."""
