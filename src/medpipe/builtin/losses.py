"""Loss steps: torch's and MONAI's, with class weights and with missing labels left out.

All compute in float32, whatever the precision of the predictions, and those for float labels
take the mean over the labels that are there: NaN is missing. Each is an ``nn.Module``; its
weights follow ``.to(device)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, optional

from medpipe.builtin.class_weights import not_negative, one_for_each
from medpipe.builtin.focal_powers import softmax_focal
from medpipe.builtin.segmentation.losses import dense_focal
from medpipe.plugin import DataError, DataInfo, Loss, LossStep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    import torch
    from torch import nn

NUMBERS = frozenset({"numbers"})


def _shares(step: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Check that a number, or each of several, is between 0 and 1."""
    each: Any = and_(ge(0), le(1))
    check = deep_iterable(each) if isinstance(value, tuple) else optional(each)
    check(step, field, value)


@attrs.frozen(kw_only=True)
class CrossEntropy(LossStep):
    """Cross-entropy of the classes: torch's `CrossEntropyLoss`.

    Attributes:
        class_weights: A weight for each class, in the order of the classes; ``balanced``: the
            number of training samples over the number of classes times the class's samples;
            None: all the same.
        label_smoothing: How much of each label is spread over all classes (arXiv:1512.00567).
    """

    name: ClassVar[str] = "cross_entropy"
    labels: ClassVar[frozenset[str]] = frozenset({"class"})

    class_weights: Literal["balanced"] | tuple[float, ...] | None = attrs.field(
        default=None, validator=not_negative
    )
    label_smoothing: float = attrs.field(default=0.0, validator=and_(ge(0), lt(1)))

    def build(self, data: DataInfo) -> Loss:
        """Make the loss.

        Raises:
            DataError: The weights don't fit the classes, or a class to balance has no sample.
        """
        import torch
        from torch import nn

        weights = self._weights(data)

        class WeightedMean(nn.CrossEntropyLoss):
            def denominator(self, labels: torch.Tensor) -> torch.Tensor:
                weight = self.weight
                return (
                    labels.new_ones(len(labels)).sum() if weight is None else weight[labels].sum()
                )

        loss = WeightedMean(
            weight=None if weights is None else torch.tensor(weights, dtype=torch.float32),
            label_smoothing=self.label_smoothing,
        )
        loss.register_forward_pre_hook(_in_float32)
        return loss

    def _weights(self, data: DataInfo) -> tuple[float, ...] | None:
        if self.class_weights != "balanced":
            return one_for_each(self.class_weights, "cross_entropy.class_weights", data)
        counts = data.class_counts
        if counts is None:
            raise DataError(
                "cross_entropy can't balance the classes: how many training samples each has is "
                "not known. Give class_weights as numbers."
            )
        for name, count in zip(data.task.names, counts, strict=True):
            if count == 0:
                raise DataError(
                    "cross_entropy can't balance the classes: the training split has no sample of "
                    f"{name!r}. Remove the class from the data, or give class_weights as numbers."
                )
        return tuple(sum(counts) / (len(counts) * count) for count in counts)


@attrs.frozen(kw_only=True)
class Focal(LossStep):
    """Focal loss, which weighs easy samples less: MONAI's `FocalLoss`, after arXiv:1708.02002.

    With softmax for ``multiclass`` and for masks whose names exclude one another, with sigmoid for
    ``multilabel`` and for masks that may overlap. MONAI takes the mean over
    samples and classes, so that with gamma 0 and several classes it is the cross-entropy
    divided by the number of classes.

    Attributes:
        gamma: How much less; 0: not at all.
        alpha: A weight for each class or finding (of masks that exclude one another for the
            background first, then for each name); or one number, which MONAI takes as the weight
            of every class but the first (of a finding that is there), with one minus it for the
            first (for a finding that is not). None: all the same.
    """

    name: ClassVar[str] = "focal"
    labels: ClassVar[frozenset[str]] = frozenset({"class", "findings", "mask", "masks"})

    gamma: float = attrs.field(default=2.0, validator=ge(0))
    alpha: float | tuple[float, ...] | None = attrs.field(default=None, validator=_shares)

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """With the usual power, and with one below 1."""
        return [cls(), cls(gamma=0.5, alpha=0.25)]

    def build(self, data: DataInfo) -> Loss:
        """Make the loss.

        Raises:
            DataError: The weights don't fit the classes or findings.
        """
        from monai.losses import FocalLoss

        alpha = self.alpha
        if isinstance(alpha, tuple):
            alpha = one_for_each(alpha, "focal.alpha", data)
        form = data.task.step.label_form
        softmax = form in ("class", "mask")
        if softmax and isinstance(alpha, (int, float)):
            # What MONAI makes of one number, without its reading the number back at every step.
            alpha = (1 - alpha, *[alpha] * (data.outputs - 1))
        below_one = None
        if softmax and 0 < self.gamma < 1:
            below_one = softmax_focal(self.gamma, alpha if isinstance(alpha, tuple) else None)
        if form in ("mask", "masks"):
            # The reduction comes after what is not annotated has been left out.
            each = FocalLoss(gamma=self.gamma, alpha=alpha, use_softmax=softmax, reduction="none")
            return dense_focal(self, below_one or each, form == "mask")
        if form != "class":
            return _mean_over_present(FocalLoss(gamma=self.gamma, alpha=alpha, reduction="none"))
        if below_one is not None:
            return below_one
        loss = FocalLoss(gamma=self.gamma, alpha=alpha, to_onehot_y=True, use_softmax=True)
        loss.register_forward_pre_hook(_in_float32)
        loss.register_forward_pre_hook(_labels_as_column)
        return loss


@attrs.frozen(kw_only=True)
class BCEWithLogits(LossStep):
    """Binary cross-entropy of each finding: torch's `BCEWithLogitsLoss`, without missing labels.

    Attributes:
        pos_weight: For each finding the weight of its presence against its absence;
            ``balanced``: the number of training samples without it over those with it, unknown
            ones left out; None: 1.
    """

    name: ClassVar[str] = "bce_with_logits"
    labels: ClassVar[frozenset[str]] = frozenset({"findings"})

    pos_weight: Literal["balanced"] | tuple[float, ...] | None = attrs.field(
        default=None, validator=not_negative
    )

    def build(self, data: DataInfo) -> Loss:
        """Make the loss.

        Raises:
            DataError: The weights don't fit the findings, or a finding to balance is in no
                training sample, or in all.
        """
        import torch
        from torch import nn

        weights = self._weights(data)
        tensor = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        return _mean_over_present(nn.BCEWithLogitsLoss(reduction="none", pos_weight=tensor))

    def _weights(self, data: DataInfo) -> tuple[float, ...] | None:
        if self.pos_weight != "balanced":
            return one_for_each(self.pos_weight, "bce_with_logits.pos_weight", data)
        counts = data.finding_counts
        if counts is None:
            raise DataError(
                "bce_with_logits can't balance the findings: how many training samples have each "
                "is not known. Give pos_weight as numbers."
            )
        for name, (absent, present) in zip(data.task.names, counts, strict=True):
            if not absent or not present:
                which = "no training sample has" if absent else "no training sample is without"
                raise DataError(
                    f"bce_with_logits can't balance the findings: {which} {name!r}. Leave the "
                    "finding out of the data, or give pos_weight as numbers."
                )
        return tuple(absent / present for absent, present in counts)


@attrs.frozen(kw_only=True)
class L1(LossStep):
    """Mean absolute error: torch's `L1Loss`, without missing labels."""

    name: ClassVar[str] = "l1"
    labels: ClassVar[frozenset[str]] = NUMBERS

    def build(self, data: DataInfo) -> Loss:
        """Make the loss."""
        from torch import nn

        return _mean_over_present(nn.L1Loss(reduction="none"))


@attrs.frozen(kw_only=True)
class MSE(LossStep):
    """Mean squared error: torch's `MSELoss`, without missing labels."""

    name: ClassVar[str] = "mse"
    labels: ClassVar[frozenset[str]] = NUMBERS

    def build(self, data: DataInfo) -> Loss:
        """Make the loss."""
        from torch import nn

        return _mean_over_present(nn.MSELoss(reduction="none"))


@attrs.frozen(kw_only=True)
class Huber(LossStep):
    """Squared for small errors, absolute for large: torch's `HuberLoss`, without missing labels.

    Attributes:
        delta: The error at which it changes, in the unit of the targets.
    """

    name: ClassVar[str] = "huber"
    labels: ClassVar[frozenset[str]] = NUMBERS

    delta: float = attrs.field(default=1.0, validator=gt(0))

    def build(self, data: DataInfo) -> Loss:
        """Make the loss."""
        from torch import nn

        return _mean_over_present(nn.HuberLoss(reduction="none", delta=self.delta))


def _in_float32(
    loss: nn.Module, arguments: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """A network under autocast predicts in bfloat16, which weights in float32 don't fit."""
    predictions, labels = arguments
    return predictions.float(), labels


def _labels_as_column(
    loss: nn.Module, arguments: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """MONAI wants a channel dimension on the labels."""
    predictions, labels = arguments
    return predictions, labels[:, None]


def _mean_over_present(elementwise: nn.Module) -> nn.Module:
    """Make of a loss for each number the mean over the labels that are not NaN.

    With no label present it is 0, with a gradient of 0.
    """
    import torch
    from torch import nn

    class MeanOverPresent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.elementwise = elementwise

        def denominator(self, labels: torch.Tensor) -> torch.Tensor:
            return (~torch.isnan(labels)).sum()

        def forward(self, predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            if predictions.shape != labels.shape:
                raise ValueError(
                    f"the predictions have the shape {tuple(predictions.shape)} and the labels "
                    f"{tuple(labels.shape)}: they must be the same"
                )
            present = ~torch.isnan(labels)
            # Zeros stand in for what is missing, for NaN would come back in the gradient.
            filled = torch.where(present, labels, torch.zeros_like(labels))
            values = self.elementwise(predictions.float(), filled)
            total: torch.Tensor = torch.where(present, values, torch.zeros_like(values)).sum()
            return total / present.sum().clamp(min=1)

    return MeanOverPresent()


LOSSES: tuple[type[LossStep], ...] = (CrossEntropy, Focal, BCEWithLogits, L1, MSE, Huber)
"""All built-in loss steps."""
