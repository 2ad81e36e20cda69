"""Inferers that each fail one check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataInfo, Inferer, InfererStep

if TYPE_CHECKING:
    import torch

Network = Callable[..., Any]


@attrs.frozen(kw_only=True)
class Sound(InfererStep):
    """The network's outputs, as `infer` has them."""

    name: ClassVar[str] = "sound"

    def build(self, data: DataInfo) -> Inferer:
        return lambda inputs, network: self.infer(inputs, network, data)

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        return network(inputs).float()


@attrs.frozen(kw_only=True)
class FirstAlone(Sound):
    """The outputs of the first image alone."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        return network(inputs[:1])


@attrs.frozen(kw_only=True)
class Counts(Sound):
    """A little more at each call."""

    def build(self, data: DataInfo) -> Inferer:
        calls: list[int] = []

        def infer(inputs: torch.Tensor, network: Network) -> Any:
            calls.append(1)
            return network(inputs).float() + 1e-3 * len(calls)

        return infer


@attrs.frozen(kw_only=True)
class Centred(Sound):
    """Less the mean over the batch."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        outputs = network(inputs).float()
        return outputs - 0.1 * outputs.mean(0, keepdim=True)


@attrs.frozen(kw_only=True)
class EvenSides(Sound):
    """Even sides alone, found out when it is too late."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        shape = inputs.shape
        halves = inputs.reshape(*shape[:2], 2, shape[2] // 2, *shape[3:])
        return super().infer(halves.reshape(shape), network, data)


@attrs.frozen(kw_only=True)
class Halves(Sound):
    """Regions that share the row in the middle."""

    def build(self, data: DataInfo) -> Inferer:
        step = self

        class InHalves:
            def __call__(self, inputs: torch.Tensor, network: Network) -> Any:
                return step.infer(inputs, network, data)

            def regions(self, inputs: torch.Tensor, network: Network) -> Iterator[Any]:
                outputs, middle = self(inputs, network), inputs.shape[2] // 2
                for part in (slice(0, middle + 1), slice(middle, inputs.shape[2])):
                    where = (part, *(slice(0, side) for side in inputs.shape[3:]))
                    yield (slice(0, len(inputs)), *where), outputs[:, :, part]

        return InHalves()


@attrs.frozen(kw_only=True)
class AllAtOnce(Sound):
    """The image twice in one batch."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        import torch

        outputs = network(torch.cat([inputs, inputs])).float()
        return sum(outputs.chunk(2)) / 2


@attrs.frozen(kw_only=True)
class NotTurnedBack(Sound):
    """Outputs of the flipped image, as they come."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        return (network(inputs).float() + network(inputs.flip([2])).float()) / 2


@attrs.frozen(kw_only=True)
class IntoTraining(Sound):
    """It leaves a layer in training mode."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        from torch import nn

        outputs = super().infer(inputs, network, data)
        if isinstance(network, nn.Module):
            next(network.children()).train()
        return outputs


@attrs.frozen(kw_only=True)
class OneType(Sound):
    """It takes float32 alone."""

    def infer(self, inputs: torch.Tensor, network: Network, data: DataInfo) -> Any:
        import torch

        outputs = network(inputs)
        return torch.zeros(outputs.shape).lerp(outputs, 1.0)


@attrs.frozen(kw_only=True)
class Brighter(InfererStep):
    """The mean probability of a volume and of brighter ones, as logarithms.

    Attributes:
        by: How much brighter each is than the one before.
    """

    name: ClassVar[str] = "brighter"
    by: float = attrs.field()

    def build(self, data: DataInfo) -> Inferer:
        if data.spatial_dims != 3 or not data.task.step.dense or None in data.spatial_shape:
            raise ValueError("it is for masks of volumes of one shape")

        def infer(inputs: torch.Tensor, network: Network) -> Any:
            shares = [
                network(inputs * (1 + place * self.by)).float().softmax(1) for place in range(3)
            ]
            return (sum(shares) / 3).log()

        return infer


BROKEN: dict[str, Any] = {
    "infers_each_sample": FirstAlone(),
    "infers_the_same_twice": Counts(),
    "infers_samples_apart": Centred(),
    "takes_images_of_other_sides": EvenSides(),
    "regions_make_the_whole": Halves(),
    "calls_in_small_batches": AllAtOnce(),
    "puts_outputs_where_they_belong": NotTurnedBack(),
    "leaves_the_network_as_it_is": IntoTraining(),
    "takes_outputs_in_bfloat16": OneType(),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), Brighter(by=0.1)]
"""Steps that fail none."""
