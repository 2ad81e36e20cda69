"""Loss steps for segmentation: MONAI's, with what is not annotated left out.

They take logits (batch, outputs, spatial...) and labels: of the form ``mask`` uint8 (batch, 1,
spatial...) with the background as 0, or of the form ``masks`` uint8 (batch, names, spatial...) of 0
and 1. Where a label is 255, neither prediction nor label counts; a structure without any other
value, and a sample without one, is left out of the mean. All compute in float32, also under
autocast: the sums over large volumes lose digits in bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt

from medpipe.builtin.class_weights import not_negative, voxel_weights
from medpipe.plugin import LossStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from medpipe.plugin import DataInfo, Denominator, Loss

    Of = Callable[[torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor]

IGNORED = 255
"""The value of a label that counts nowhere."""
FORMS = frozenset({"mask", "masks"})
SMALL = 1e-12


@attrs.frozen(kw_only=True, eq=False)
class Sums:
    """Sums over voxels, of shape (batch, structures), or (1, structures) of all samples together.

    Attributes:
        both: Of prediction times label.
        predicted: Of the predictions.
        present: Of the labels.
        there: Whether anything of it is annotated.
    """

    both: torch.Tensor
    predicted: torch.Tensor
    present: torch.Tensor
    there: torch.Tensor


@attrs.frozen(kw_only=True)
class OverlapLoss(LossStep):
    """What the losses of an overlap have in common.

    Attributes:
        batch: Whether a structure's overlap is that of all samples of the batch together, which is
            steadier where a patch may be without it; or one of each sample, then averaged.
        include_background: Whether the background counts as a structure, where names exclude one
            another.
        smooth_nr: Added to the numerator; 1 for a structure that is absent and not found: no loss.
        smooth_dr: Added to the denominator, so that it is never 0.
    """

    batchwise: ClassVar[bool] = True
    labels: ClassVar[frozenset[str]] = FORMS

    batch: bool = True
    include_background: bool = False
    smooth_nr: float = attrs.field(default=1e-5, validator=ge(0))
    smooth_dr: float = attrs.field(default=1e-5, validator=gt(0))

    def build(self, data: DataInfo) -> Loss:
        """Make the loss."""
        exclusive = data.task.step.label_form == "mask"

        def loss(outputs: torch.Tensor, labels: torch.Tensor, _: object) -> torch.Tensor:
            import torch

            shares = torch.softmax(outputs, 1) if exclusive else torch.sigmoid(outputs)
            return self.reduced(self.sums(shares, labels, exclusive))

        return _module(self, loss)

    def sums(self, shares: torch.Tensor, labels: torch.Tensor, exclusive: bool) -> Sums:
        """Sum over voxels what the overlap is made of.

        Args:
            shares: Probabilities, of shape (batch, outputs, spatial...).
            labels: See the module.
            exclusive: Whether labels are of the form ``mask``.
        """
        import torch

        first = int(exclusive and not self.include_background)
        target = _target(labels, shares.shape[1], exclusive)[:, first:].flatten(2)
        shares, counted = shares[:, first:].flatten(2), (labels != IGNORED).flatten(2)
        # Of the label's channels all are counted alike; where names overlap, each has its own.
        there = counted.any(2).expand(shares.shape[:2])
        powers = shares * shares if self.squared else shares
        if powers.is_cuda or not counted.all():  # to ask a GPU would wait for it
            powers = powers * counted.to(shares)
        # Products are summed as they are made: they would take long to write and read again.
        both = torch.einsum("bcn,bcn->bc", shares, target)
        sums = [both, powers.sum(2), target.sum(2)]
        if self.batch:
            sums = [each.sum(0, keepdim=True) for each in sums]
            there = there.any(0, keepdim=True)
        both, predicted, present = sums
        return Sums(both=both, predicted=predicted, present=present, there=there)

    @property
    def squared(self) -> bool:
        """Whether predictions are squared before they are summed."""
        return False

    def reduced(self, sums: Sums) -> torch.Tensor:
        """Make one number of them."""
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Dice(OverlapLoss):
    """Dice loss: MONAI's `DiceLoss`, after Milletari et al. (arXiv:1606.04797).

    Attributes:
        squared_pred: Whether predictions are squared in the denominator.
    """

    name: ClassVar[str] = "dice"
    labels: ClassVar[frozenset[str]] = FORMS

    squared_pred: bool = False

    @property
    def squared(self) -> bool:
        """As the parameter says."""
        return self.squared_pred

    def reduced(self, sums: Sums) -> torch.Tensor:
        """The mean over what is there."""
        return _mean(self.each(sums), sums.there)

    def each(self, sums: Sums) -> torch.Tensor:
        """The loss of each structure, of the shape of the sums."""
        overlap = 2 * sums.both + self.smooth_nr
        return 1 - overlap / (sums.predicted + sums.present + self.smooth_dr)


@attrs.frozen(kw_only=True)
class DiceCE(Dice):
    """Dice and cross-entropy: MONAI's `DiceCELoss`, after nnU-Net (arXiv:1904.08128).

    The cross-entropy is of all voxels and classes, the background among them; where names overlap,
    it is the binary one of each (MONAI's is a softmax there unless there is one name).

    Attributes:
        lambda_dice: The weight of the Dice loss.
        lambda_ce: The weight of the cross-entropy.
        class_weights: A weight of each class in both losses, as MONAI's ``weight``: for the
            background first, then for each structure in the order of the names; where names
            overlap for each name (in the cross-entropy the weight of its presence).
            ``balanced``: one over the voxels of the class in the training masks, so that the mean
            is 1. None: all the same.
    """

    name: ClassVar[str] = "dice_ce"
    labels: ClassVar[frozenset[str]] = FORMS

    lambda_dice: float = attrs.field(default=1.0, validator=ge(0))
    lambda_ce: float = attrs.field(default=1.0, validator=ge(0))
    class_weights: Literal["balanced"] | tuple[float, ...] | None = attrs.field(
        default=None, validator=not_negative
    )

    def build(self, data: DataInfo) -> Loss:
        """Make the loss.

        Raises:
            DataError: The weights don't fit the classes, or a class to balance is in no mask.
        """
        exclusive = data.task.step.label_form == "mask"
        entropy = _entropy_of_mask if exclusive else _entropy_of_masks
        first = int(exclusive and not self.include_background)
        weights = voxel_weights(self.class_weights, "dice_ce.class_weights", data)

        def loss(
            outputs: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None
        ) -> torch.Tensor:
            if exclusive and weight is None and self._quick(labels):
                sums, mean = self._at_once(outputs, labels)
            else:
                shares, mean = entropy(outputs, labels, weight)
                sums = self.sums(shares, labels, exclusive)
            each = self.each(sums)
            if weight is not None and outputs.shape[1] > 1:  # as MONAI has it
                each = each * weight[first:]
            return self.lambda_dice * _mean(each, sums.there) + self.lambda_ce * mean

        return _module(self, loss, weights)

    def _quick(self, labels: torch.Tensor) -> bool:
        """Whether all is annotated; not on a GPU, which to ask would wait for."""
        return not (self.squared or labels.is_cuda) and bool((labels != IGNORED).all())

    def _at_once(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[Sums, torch.Tensor]:
        """The sums, and the mean cross-entropy, of names that exclude one another."""
        import torch

        from medpipe.builtin.segmentation.softmax_sums import softmax_sums

        target = _target(labels, outputs.shape[1], True).flatten(2)
        both, predicted, entropy = softmax_sums(outputs.flatten(2), target)
        first = int(not self.include_background)
        some = [each[:, first:] for each in (both, predicted, target.sum(2))]
        if self.batch:
            some = [each.sum(0, keepdim=True) for each in some]
        both, predicted, present = some
        there = torch.ones_like(present, dtype=torch.bool)
        sums = Sums(both=both, predicted=predicted, present=present, there=there)
        return sums, entropy / labels.numel()


def _entropy_of_mask(
    outputs: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of names that exclude one another, and the mean cross-entropy."""
    from torch.nn import functional

    logs = functional.log_softmax(outputs, 1)
    indices = labels[:, 0].long()
    total = functional.nll_loss(logs, indices, weight, ignore_index=IGNORED, reduction="sum")
    counted = labels[:, 0] != IGNORED
    if weight is None:
        return logs.exp(), total / counted.sum().clamp(min=1)
    each = weight[indices.where(counted, 0)] * counted
    return logs.exp(), total / each.sum().clamp(min=SMALL)


def _entropy_of_masks(
    outputs: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of names that may overlap, and the mean binary cross-entropy."""
    from torch.nn import functional

    counted = labels != IGNORED
    total = functional.binary_cross_entropy_with_logits(
        outputs,
        _target(labels, outputs.shape[1], False),
        weight=counted.float(),
        pos_weight=None if weight is None else weight.reshape(-1, *[1] * (outputs.ndim - 2)),
        reduction="sum",
    )
    return outputs.sigmoid(), total / counted.sum().clamp(min=1)


@attrs.frozen(kw_only=True)
class GeneralizedDice(OverlapLoss):
    """Generalised Dice loss: MONAI's `GeneralizedDiceLoss`, after arXiv:1707.03237.

    Structures are summed before the division, with weights that make small ones count.

    Attributes:
        w_type: The weight of a structure: one over its squared volume (``square``), over its
            volume (``simple``), or the same for all (``uniform``).
    """

    name: ClassVar[str] = "generalized_dice"
    labels: ClassVar[frozenset[str]] = FORMS

    w_type: Literal["square", "simple", "uniform"] = "square"

    def reduced(self, sums: Sums) -> torch.Tensor:
        """The mean over samples of the weighted overlap of all structures."""
        import torch

        present, there = sums.present, sums.there
        power = {"square": 2, "simple": 1, "uniform": 0}[self.w_type]
        weights = present.clamp(min=1) ** -power
        # As MONAI does: an absent structure weighs as much as the heaviest.
        if power:
            weights = weights * (present > 0)
            weights = torch.where(present > 0, weights, weights.amax(-1, keepdim=True))
        weights = weights * there
        overlap = (2 * (sums.both * weights).sum(-1) + self.smooth_nr) / (
            ((sums.predicted + present) * weights).sum(-1) + self.smooth_dr
        )
        return _mean(1 - overlap, there.any(-1))


@attrs.frozen(kw_only=True)
class Tversky(OverlapLoss):
    """Tversky loss: MONAI's `TverskyLoss`, after Salehi et al. (arXiv:1706.05721).

    Attributes:
        alpha: The weight of what is predicted and not there.
        beta: The weight of what is there and not predicted.
    """

    name: ClassVar[str] = "tversky"
    labels: ClassVar[frozenset[str]] = FORMS

    alpha: float = attrs.field(default=0.5, validator=ge(0))
    beta: float = attrs.field(default=0.5, validator=ge(0))

    def reduced(self, sums: Sums) -> torch.Tensor:
        """The mean over what is there."""
        both = sums.both
        wrong = self.alpha * (sums.predicted - both) + self.beta * (sums.present - both)
        share = (both + self.smooth_nr) / (both + wrong + self.smooth_dr)
        return _mean(1 - share, sums.there)


def dense_focal(step: LossStep, elementwise: Any, exclusive: bool) -> Loss:
    """Make of MONAI's focal loss of each output the mean over what is annotated.

    Args:
        step: The step, for the module's name.
        elementwise: `monai.losses.FocalLoss` with ``reduction="none"``.
        exclusive: Whether labels are of the form ``mask``.
    """

    def focal(outputs: torch.Tensor, labels: torch.Tensor, _: object) -> torch.Tensor:
        counted = labels != IGNORED
        target = _target(labels, outputs.shape[1], exclusive)
        values: torch.Tensor = elementwise(outputs, target) * counted
        return values.sum() / counted.expand_as(values).sum().clamp(min=1)

    return _module(step, focal, denominator=_annotated)


def _annotated(labels: torch.Tensor) -> torch.Tensor:
    """How many values of labels count: for `TrainingParts.denominator`."""
    return (labels != IGNORED).sum()


def _target(labels: torch.Tensor, outputs: int, exclusive: bool) -> torch.Tensor:
    """Give labels a channel of 0 and 1 for each output, float32; where they are ignored, 0."""
    import torch

    if not exclusive:
        return (labels == 1).float()
    classes = torch.arange(outputs, dtype=labels.dtype, device=labels.device)
    return (labels == classes.view(1, -1, *[1] * (labels.ndim - 2))).float()


def _mean(values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """The mean of the values that are there; 0 with a gradient of 0 where none is."""
    return (values * there).sum() / there.sum().clamp(min=1)


def _module(
    step: LossStep,
    function: Of,
    weights: Sequence[float] | None = None,
    denominator: Denominator | None = None,
) -> Loss:
    """Make a module that computes in float32, of labels that fit.

    Args:
        step: The step, for the module's text.
        function: Gets outputs, labels and the weights, a tensor on the module's device.
        weights: Of the classes; None: the function gets None.
        denominator: What the loss of labels is divided by; None: the number of samples, or nothing.
    """
    import torch
    from torch import nn

    class SegmentationLoss(nn.Module):
        weight: torch.Tensor | None

        def __init__(self) -> None:
            super().__init__()
            tensor = torch.tensor(weights, dtype=torch.float32) if weights is not None else None
            self.register_buffer("weight", tensor, persistent=False)
            if denominator is not None:
                self.denominator = denominator

        def extra_repr(self) -> str:
            return repr(step)

        def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            if outputs.shape[2:] != labels.shape[2:] or labels.shape[1] not in (
                1,
                outputs.shape[1],
            ):
                raise ValueError(
                    f"the outputs have the shape {tuple(outputs.shape)} and the labels "
                    f"{tuple(labels.shape)}: after the channels they must be the same"
                )
            with torch.autocast(outputs.device.type, enabled=False):
                return function(outputs.float(), labels, self.weight)

    return SegmentationLoss()


SEGMENTATION_LOSSES: tuple[type[LossStep], ...] = (Dice, DiceCE, GeneralizedDice, Tversky)
"""All built-in losses for segmentation alone."""
