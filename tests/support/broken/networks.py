"""Networks that each fail one check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataError, DataInfo, NetworkStep

if TYPE_CHECKING:
    from torch import Tensor, nn


@attrs.frozen(kw_only=True)
class Sound(NetworkStep):
    """A network that fails no check.

    Attributes:
        width: Channels of the convolution.
    """

    name: ClassVar[str] = "sound"
    width: int = 4

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(data.channels, self.width, 3, stride=4),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * self.width, data.outputs),
        )


def then(network: Any, change: Callable[[Any, Tensor], Tensor], **held: Any) -> Any:
    """A network with something behind its first layers, and what that needs.

    Args:
        network: A sequence of layers.
        change: Gets what is held and what the first layers gave.
        held: Layers, tensors and other things, as attributes.
    """
    from torch import nn

    class Then(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in held.items():
                setattr(self, name, value)

        def forward(self, some: Tensor) -> Tensor:
            return change(self, some)

    return nn.Sequential(*network[:-2], Then(), *network[-2:])


@attrs.frozen(kw_only=True)
class BuildsNothing(Sound):
    """Can't be built."""

    def build(self, data: DataInfo) -> nn.Module:
        raise ValueError("there is no such layer")


@attrs.frozen(kw_only=True)
class FailsInTraining(Sound):
    """Has an instance norm over a single pixel, which can't be trained."""

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        first, _, *rest = Sound.build(self, data)
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.InstanceNorm2d(self.width))
        return nn.Sequential(first, pooled, *rest)


@attrs.frozen(kw_only=True)
class OneChannel(Sound):
    """For one channel, whatever the data have."""

    def build(self, data: DataInfo) -> nn.Module:
        return Sound.build(self, attrs.evolve(data, channels=1))


@attrs.frozen(kw_only=True)
class ThreeOutputs(Sound):
    """Always three outputs."""

    def build(self, data: DataInfo) -> nn.Module:
        return Sound.build(self, attrs.evolve(data, outputs=3))


@attrs.frozen(kw_only=True)
class LooksAtWeights(Sound):
    """Reads a number out of a tensor while it is built."""

    def build(self, data: DataInfo) -> nn.Module:
        import torch

        rate = torch.linspace(0, 0.1, 3)[1].item()
        return then(Sound.build(self, data), lambda _, some: some * rate)  # type: ignore[no-any-return]


@attrs.frozen(kw_only=True)
class DoubleWeights(Sound):
    """Has a parameter in float64."""

    def build(self, data: DataInfo) -> nn.Module:
        import torch
        from torch import nn

        scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        return then(  # type: ignore[no-any-return]
            Sound.build(self, data), lambda own, some: (some * own.scale).float(), scale=scale
        )


@attrs.frozen(kw_only=True)
class DoubleOutputs(Sound):
    """Answers in float64."""

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        class ToDouble(nn.Module):
            def forward(self, some: Tensor) -> Tensor:
                return some.double()

        return nn.Sequential(*Sound.build(self, data), ToDouble())


@attrs.frozen(kw_only=True)
class DividesByTheSpread(Sound):
    """Divides an image by its standard deviation."""

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        class Standardized(nn.Module):
            def forward(self, some: Tensor) -> Tensor:
                return some / some.std(dim=(1, 2, 3), keepdim=True)

        return nn.Sequential(Standardized(), *Sound.build(self, data))


@attrs.frozen(kw_only=True)
class UnusedLayer(Sound):
    """Has a layer that forward leaves out."""

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        return then(Sound.build(self, data), lambda _, some: some, spare=nn.Linear(2, 2))  # type: ignore[no-any-return]


@attrs.frozen(kw_only=True)
class RandomInEval(Sound):
    """Adds noise from a generator of its own, also in eval mode."""

    def build(self, data: DataInfo) -> nn.Module:
        import numpy as np

        return then(  # type: ignore[no-any-return]
            Sound.build(self, data),
            lambda own, some: some + float(own.rng.normal()),
            rng=np.random.default_rng(0),
        )


@attrs.frozen(kw_only=True)
class NormalizesOverTheBatch(Sound):
    """Has a batch norm without running statistics."""

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        first, _, *rest = Sound.build(self, data)
        return nn.Sequential(first, nn.BatchNorm2d(self.width, track_running_stats=False), *rest)


@attrs.frozen(kw_only=True)
class SetsTheSeed(Sound):
    """Sets the seed while it is built."""

    def build(self, data: DataInfo) -> nn.Module:
        import torch

        torch.manual_seed(7)
        return Sound.build(self, data)


@attrs.frozen(kw_only=True)
class OtherWeightsEachTime(Sound):
    """Draws weights from a generator that nobody seeds."""

    def build(self, data: DataInfo) -> nn.Module:
        import numpy as np
        import torch

        network = Sound.build(self, data)
        with torch.no_grad():
            next(iter(network.parameters())).mul_(float(np.random.default_rng().uniform(0.5, 2)))
        return network


@attrs.frozen(kw_only=True)
class TensorOutsideTheState(Sound):
    """Keeps a tensor that its state does not have."""

    def build(self, data: DataInfo) -> nn.Module:
        import torch

        return then(  # type: ignore[no-any-return]
            Sound.build(self, data), lambda own, some: some * own.scale, scale=torch.rand(1)
        )


@attrs.frozen(kw_only=True)
class DecidesByValues(Sound):
    """Decides by the values of the images."""

    def build(self, data: DataInfo) -> nn.Module:
        def change(_: Any, some: Tensor) -> Tensor:
            return some if some.is_meta or some.mean() < 0.5 else some * 2

        return then(Sound.build(self, data), change)  # type: ignore[no-any-return]


@attrs.frozen(kw_only=True)
class Dense(NetworkStep):
    """For volumes with masks; leaves a layer out at random, and gives several outputs in training.

    Attributes:
        depth: How many layers.
    """

    name: ClassVar[str] = "dense"
    depth: int = 3

    def build(self, data: DataInfo) -> nn.Module:
        import torch
        from torch import nn

        if not data.task.step.dense or data.spatial_dims != 3:
            raise DataError("The network dense is for volumes with masks.")
        layers, width = self.depth, 4

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Conv3d(data.channels, width, 3, padding=1)
                self.more = nn.ModuleList(
                    nn.Conv3d(width, width, 3, padding=1) for _ in range(layers)
                )
                self.norm, self.drop = nn.InstanceNorm3d(width), nn.Dropout(0.2)
                self.last = nn.Conv3d(width, data.outputs, 1)

            def forward(self, images: Tensor) -> Any:
                some = self.first(images)
                for layer in self.more:
                    if not self.training or float(torch.rand(())) < 0.5:
                        some = some + torch.relu(self.norm(layer(some)))
                outputs = self.last(self.drop(some))
                return [outputs, outputs[:, :, ::2, ::2, ::2]] if self.training else outputs

        return Network()


@attrs.frozen(kw_only=True)
class OfLargeColourImages(Sound):
    """As a pretrained network: for colours and large images alone, with fixed weights."""

    def build(self, data: DataInfo) -> nn.Module:
        import torch
        from torch import nn

        if data.channels != 3 or (data.spatial_shape[0] or 0) < 100:
            raise DataError("This network is for large images in colours.")
        with torch.random.fork_rng(devices=[]):
            network = Sound.build(self, data)
            for parameter in network.parameters():
                nn.init.constant_(parameter, 0.1)
        return network


@attrs.frozen(kw_only=True)
class Mixed(Sound):
    """Dropout, instance, group and spectral norms, and weight norm."""

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn
        from torch.nn.utils.parametrizations import spectral_norm, weight_norm

        return nn.Sequential(
            spectral_norm(nn.Conv2d(data.channels, 8, 3, 2)),
            nn.InstanceNorm2d(8, affine=True),
            nn.SiLU(inplace=True),
            nn.Dropout2d(0.3),
            nn.Conv2d(8, 8, 3, 2),
            nn.GroupNorm(2, 8),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(8),
            weight_norm(nn.Linear(8, data.outputs)),
        )


@attrs.frozen(kw_only=True)
class Attends(Sound):
    """A transformer, with a position for each patch of the images."""

    def build(self, data: DataInfo) -> nn.Module:
        import math

        import torch
        from torch import nn

        patches = math.prod((side or 64) // 8 for side in data.spatial_shape)

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.patches = nn.Conv2d(data.channels, 16, 8, stride=8)
                self.places = nn.Parameter(torch.randn(1, patches, 16) * 0.02)
                layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
                self.encoder = nn.TransformerEncoder(layer, 1)
                self.head = nn.Linear(16, data.outputs)

            def forward(self, images: Tensor) -> Tensor:
                tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
                answer: Tensor = self.head(self.encoder(tokens).mean(dim=1))
                return answer

        return Network()


@attrs.frozen(kw_only=True)
class Scaled(Sound):
    """For images and volumes, with a scale for each channel, as a ConvNeXt has it."""

    def build(self, data: DataInfo) -> nn.Module:
        import torch
        from torch import nn

        volumes, width = data.spatial_dims == 3, self.width
        convolution: Any = nn.Conv3d if volumes else nn.Conv2d
        ones = torch.ones(width, *[1] * data.spatial_dims)  # of 4 axes for volumes
        layers = nn.Sequential(
            convolution(data.channels, width, 3, stride=4),
            convolution(width, width, 3),
            (nn.BatchNorm3d if volumes else nn.BatchNorm2d)(width),
            nn.ReLU(),
            nn.Sequential(
                (nn.AdaptiveAvgPool3d if volumes else nn.AdaptiveAvgPool2d)(1), nn.Flatten()
            ),
            nn.Linear(width, data.outputs),
        )
        return then(  # type: ignore[no-any-return]
            layers, lambda own, some: self.change(some * own.scale), scale=nn.Parameter(ones)
        )

    def change(self, some: Tensor) -> Tensor:
        """What else becomes of the features."""
        return some


@attrs.frozen(kw_only=True)
class FailsForVolumes(Scaled):
    """Is built for volumes, and can't take them."""

    def change(self, some: Tensor) -> Tensor:
        batch, channels, height, width = some.shape
        return some.reshape(batch, channels, height, width)


@attrs.frozen(kw_only=True)
class OneOutputForVolumes(Scaled):
    """Gives another number of outputs for volumes."""

    def build(self, data: DataInfo) -> nn.Module:
        outputs = 1 if data.spatial_dims == 3 else data.outputs
        return Scaled.build(self, attrs.evolve(data, outputs=outputs))


@attrs.frozen(kw_only=True)
class NoLayerForVolumes(Sound):
    """Looks for its layer in a table that has none for volumes."""

    def build(self, data: DataInfo) -> nn.Module:
        return {2: Sound.build}[data.spatial_dims](self, data)


@attrs.frozen(kw_only=True)
class RandomForVolumes(Scaled):
    """Adds noise to volumes, also in eval mode."""

    def change(self, some: Tensor) -> Tensor:
        import numpy as np

        return some if some.ndim == 4 else some + float(np.random.default_rng().normal())


@attrs.frozen(kw_only=True)
class LooksAtStrides(Scaled):
    """Decides by the memory format."""

    def change(self, some: Tensor) -> Tensor:
        return some if some.is_contiguous() else some * 2


BROKEN: dict[str, list[Any]] = {
    "builds_a_network": [BuildsNothing(), FailsInTraining()],
    "takes_images_and_volumes": [FailsForVolumes(), OneOutputForVolumes(), NoLayerForVolumes()],
    "takes_three_channels": [OneChannel()],
    "gives_a_number_for_each_output": [ThreeOutputs()],
    "builds_on_meta": [LooksAtWeights()],
    "is_of_float32": [DoubleWeights(), DoubleOutputs()],
    "gives_finite_outputs": [DividesByTheSpread()],
    "gradients_reach_all_parameters": [UnusedLayer()],
    "is_deterministic_in_eval": [RandomInEval(), RandomForVolumes()],
    "keeps_samples_apart_in_eval": [NormalizesOverTheBatch()],
    "draws_weights_from_the_seed": [SetsTheSeed(), OtherWeightsEachTime()],
    "comes_back_from_its_state": [TensorOutsideTheState()],
    "answers_alike_in_channels_last": [LooksAtStrides()],
    "can_be_exported": [DecidesByValues()],
}
"""For each check steps that fail it alone."""
SOUND = [Sound(), Scaled(), Dense(), OfLargeColourImages(), Mixed(), Attends()]
"""Steps that fail none."""
