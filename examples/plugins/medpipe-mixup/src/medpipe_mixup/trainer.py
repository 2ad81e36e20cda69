"""The trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import attrs
from attrs.validators import ge, gt

from medpipe.plugin import TrainerStep, Training, TrainingParts

if TYPE_CHECKING:
    import torch

    from medpipe.plugin import Loss


class MixedLabels(NamedTuple):
    """The labels of a batch whose images are mixed.

    Attributes:
        own: Of the first image of each pair.
        other: Of the second.
        share: Of the first image, in each pair.
    """

    own: torch.Tensor
    other: torch.Tensor
    share: float


@attrs.frozen(kw_only=True)
class Mixup(TrainerStep):
    """MONAI's trainer with mixup (Zhang et al., 2018, arXiv:1710.09412) and AdamW.

    Each image is mixed with another one of its batch, in one proportion for the batch. The loss of
    the configuration is mixed in place of the labels, which for cross-entropy is the same; so it
    may be any loss that is a mean over samples, of classes, findings, numbers or masks.

    Attributes:
        alpha: Both parameters of the beta distribution that proportions are drawn from; the
            larger, the more often images are mixed half and half.
        learning_rate: The learning rate.
        weight_decay: The decay of the weights in a step, as a share of the learning rate.
    """

    name: ClassVar[str] = "mixup"
    alpha: float = attrs.field(default=0.2, validator=gt(0))
    learning_rate: float = attrs.field(default=1e-3, validator=gt(0))
    weight_decay: float = attrs.field(default=0.01, validator=ge(0))

    def build(self, parts: TrainingParts) -> Training:
        """Make the trainer."""
        import torch
        from monai.engines.trainer import SupervisedTrainer
        from monai.engines.utils import default_prepare_batch

        def mixed_batch(batch: Any, device: Any, non_blocking: bool, **options: Any) -> Any:
            prepared: Any = default_prepare_batch(batch, device, non_blocking, **options)
            image, label = prepared
            return mixed(image, label, self.alpha)

        optimizer = torch.optim.AdamW(
            parts.network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        engine: Any = SupervisedTrainer(
            device=parts.device,
            max_epochs=parts.max_epochs,
            train_data_loader=parts.loader,
            network=parts.parallel(parts.network),
            optimizer=optimizer,
            loss_function=mixed_loss(parts.loss),
            prepare_batch=mixed_batch,
            inferer=parts.inferer(),
            decollate=False,
        )
        state = {"network": parts.network, "optimizer": optimizer}
        return Training(engine=engine, state=state, planned={})


def mixed(
    images: torch.Tensor, labels: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, MixedLabels]:
    """Mix each image of a batch with another one, in one proportion.

    It draws from torch's generator, which the checkpoint holds: a resumed run draws the same.

    Args:
        images: Of shape (batch, channels, spatial...).
        labels: Of shape (batch, ...).
        alpha: Both parameters of the beta distribution.
    """
    import torch

    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(images)).to(images.device)
    return torch.lerp(images[order], images, share), MixedLabels(labels, labels[order], share)


def mixed_loss(loss: Loss) -> Any:
    """A loss of mixed labels: that of both labels, in their proportion."""

    def of_both(outputs: torch.Tensor, labels: MixedLabels) -> torch.Tensor:
        return labels.share * loss(outputs, labels.own) + (1 - labels.share) * loss(
            outputs, labels.other
        )

    return of_both
