"""Losses that each fail one check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataInfo, Loss, LossStep

if TYPE_CHECKING:
    import torch


@attrs.frozen(kw_only=True)
class Sound(LossStep):
    """A cross-entropy, whose `of` subclasses spoil."""

    name: ClassVar[str] = "sound"
    labels: ClassVar[frozenset[str]] = frozenset({"class"})

    def build(self, data: DataInfo) -> Loss:
        return lambda outputs, labels: self.of(outputs.float(), labels)

    def of(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        return self.each(outputs, labels).mean()

    def each(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        from torch.nn import functional

        return functional.cross_entropy(outputs, labels, reduction="none")


@attrs.frozen(kw_only=True)
class OfEachSample(Sound):
    """One number for each sample."""

    def of(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        return self.each(outputs, labels)


@attrs.frozen(kw_only=True)
class LogOfProbability(Sound):
    """The logarithm of a probability, which may be 0."""

    def each(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        shares = outputs.softmax(1)
        wrong = shares.sum(1) - shares.gather(1, labels[:, None])[:, 0]
        return -(1 - wrong).log()


@attrs.frozen(kw_only=True)
class FirstDetached(Sound):
    """Nothing trains the first output."""

    def each(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        import torch

        first = outputs[:, :1].detach()
        return super().each(torch.cat([first, outputs[:, 1:]], 1), labels)


@attrs.frozen(kw_only=True)
class Negative(Sound):
    """The wrong sign."""

    def each(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        return -super().each(outputs, labels)


@attrs.frozen(kw_only=True)
class Summed(Sound):
    """A sum over the batch, which says that it is a mean."""

    def of(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        return self.each(outputs, labels).sum()


@attrs.frozen(kw_only=True)
class LaterWeighMore(Sound):
    """Weights by the place in the batch."""

    batchwise: ClassVar[bool] = True

    def of(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        import torch

        weights = torch.arange(1.0, len(outputs) + 1, device=outputs.device)
        return (self.each(outputs, labels) * weights).sum() / weights.sum()


@attrs.frozen(kw_only=True)
class RemembersTheLargest(Sound):
    """Larger once it met a large loss."""

    def build(self, data: DataInfo) -> Loss:
        largest = [0.0]

        def loss(outputs: torch.Tensor, labels: torch.Tensor) -> Any:
            value = self.of(outputs.float(), labels)
            if not outputs.is_meta:
                largest[0] = max(largest[0], float(value.detach()))
            return value * (1.1 if largest[0] > 5 else 1.0)

        return loss


@attrs.frozen(kw_only=True)
class WeightsInFloat32(Sound):
    """Weights in float32, beside outputs in bfloat16."""

    def build(self, data: DataInfo) -> Loss:
        import torch

        return torch.nn.CrossEntropyLoss(weight=torch.ones(data.outputs))


@attrs.frozen(kw_only=True)
class WeightsOnTheCPU(Sound):
    """Weights that are no buffer."""

    def build(self, data: DataInfo) -> Loss:
        import torch
        from torch.nn import functional

        weights = torch.ones(data.outputs)
        return lambda outputs, labels: functional.cross_entropy(outputs.float(), labels, weights)


@attrs.frozen(kw_only=True)
class OfNumbers(LossStep):
    """The absolute error of each sample's targets, averaged over samples."""

    name: ClassVar[str] = "of_numbers"
    labels: ClassVar[frozenset[str]] = frozenset({"numbers"})

    def build(self, data: DataInfo) -> Loss:
        def loss(outputs: torch.Tensor, labels: torch.Tensor) -> Any:
            import torch

            present = ~labels.isnan()
            errors = self.error(outputs.float(), torch.where(present, labels, outputs + 1))
            each = torch.where(present, errors, torch.zeros_like(errors)).sum(1)
            return (each / present.sum(1).clamp(min=1)).mean()

        return loss

    def error(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (outputs - labels).abs()


@attrs.frozen(kw_only=True)
class RootOfZero(OfNumbers):
    """A root without a small number below it."""

    def error(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (outputs - labels).square().sqrt()


@attrs.frozen(kw_only=True)
class MissingAreNaN(OfNumbers):
    """No thought of missing labels."""

    def build(self, data: DataInfo) -> Loss:
        return lambda outputs, labels: self.error(outputs.float(), labels).mean()


@attrs.frozen(kw_only=True)
class OfVolumes(LossStep):
    """A cross-entropy of voxels, for volumes alone.

    Attributes:
        weights: A weight for each class.
    """

    name: ClassVar[str] = "of_volumes"
    labels: ClassVar[frozenset[str]] = frozenset({"mask"})
    batchwise: ClassVar[bool] = True
    weights: tuple[float, ...] = attrs.field()

    def build(self, data: DataInfo) -> Loss:
        if data.spatial_dims != 3:
            raise ValueError("it is for volumes")
        if len(self.weights) != data.outputs:
            raise ValueError("it needs a weight for each output")
        import torch
        from torch import nn

        step = self

        class Entropy(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("weights", torch.tensor(step.weights))

            def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
                outputs = step.shaped(outputs.float(), data)
                counted = labels[:, 0] != 255
                each = nn.functional.cross_entropy(
                    outputs, labels[:, 0].long() * counted, self.weights, reduction="none"
                )
                return (each * counted).sum() / counted.sum().clamp(min=1)

        return Entropy()

    def shaped(self, outputs: torch.Tensor, data: DataInfo) -> torch.Tensor:
        return outputs


@attrs.frozen(kw_only=True)
class OfOneShape(OfVolumes):
    """The sides of the data, whatever comes."""

    def shaped(self, outputs: torch.Tensor, data: DataInfo) -> torch.Tensor:
        return outputs.reshape(-1, data.outputs, *map(int, data.spatial_shape))


@attrs.frozen(kw_only=True)
class OfSurvival(LossStep):
    """A loss of labels that no built-in task has."""

    name: ClassVar[str] = "of_survival"
    labels: ClassVar[frozenset[str]] = frozenset({"survival"})

    def build(self, data: DataInfo) -> Loss:
        raise ValueError("it is for labels of survival")


BROKEN: dict[str, Any] = {
    "gives_one_number": OfEachSample(),
    "is_finite_for_sure_outputs": LogOfProbability(),
    "gives_each_output_a_gradient": FirstDetached(),
    "has_finite_gradients": RootOfZero(),
    "leaves_missing_labels_out": MissingAreNaN(),
    "is_lower_for_right_outputs": Negative(),
    "is_a_mean_by_its_denominator": Summed(),
    "ignores_the_order_of_samples": LaterWeighMore(),
    "gives_the_same_loss_twice": RemembersTheLargest(),
    "takes_deep_supervision": OfOneShape(weights=(1.0, 2.0, 3.0)),
    "withstands_autocast": WeightsInFloat32(),
    "moves_to_the_device": WeightsOnTheCPU(),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), OfNumbers(), OfVolumes(weights=(1.0, 2.0, 3.0)), OfSurvival()]
"""Steps that fail none."""
