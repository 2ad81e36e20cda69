"""The built-in losses against torch and MONAI, whole and with labels missing."""

from __future__ import annotations

import copy
import math

import attrs
import monai.losses
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from medpipe.builtin.losses import (
    L1,
    LOSSES,
    MSE,
    BCEWithLogits,
    CrossEntropy,
    Focal,
    Huber,
)
from medpipe.plugin import DataError, DataInfo, LossStep, Task, TaskKind


def data(kind: TaskKind, counts: tuple[int, ...] | None = None) -> DataInfo:
    return DataInfo(
        task=Task(kind=kind, names=("Hand", "Chest", "Head")),
        channels=1,
        spatial_shape=(8, 8),
        spatial_dims=2,
        outputs=3,
        class_counts=counts,
    )


def logits(seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(10, 3, generator=torch.Generator().manual_seed(seed))


CLASSES = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 0, 1])
FINDINGS = torch.nn.functional.one_hot(CLASSES, 3).float()
TARGETS = logits(1)

# A step for float labels, its kind of task, and torch's loss of each number.
MASKED = [
    (BCEWithLogits(), "multilabel", nn.BCEWithLogitsLoss(reduction="none")),
    (
        BCEWithLogits(pos_weight=(1.0, 2.0, 3.0)),
        "multilabel",
        nn.BCEWithLogitsLoss(reduction="none", pos_weight=torch.tensor([1.0, 2.0, 3.0])),
    ),
    (Focal(), "multilabel", monai.losses.FocalLoss(reduction="none")),
    (
        Focal(alpha=0.25, gamma=1.5),
        "multilabel",
        monai.losses.FocalLoss(reduction="none", alpha=0.25, gamma=1.5),
    ),
    (
        Focal(alpha=(0.1, 0.5, 0.9)),
        "multilabel",
        monai.losses.FocalLoss(reduction="none", alpha=(0.1, 0.5, 0.9)),
    ),
    (L1(), "regression", nn.L1Loss(reduction="none")),
    (MSE(), "regression", nn.MSELoss(reduction="none")),
    (Huber(delta=0.7), "regression", nn.HuberLoss(reduction="none", delta=0.7)),
]
masked = pytest.mark.parametrize(
    ("step", "kind", "reference"), MASKED, ids=[repr(step) for step, _, _ in MASKED]
)


def labels_for(kind: TaskKind) -> torch.Tensor:
    return {"multiclass": CLASSES, "multilabel": FINDINGS, "regression": TARGETS}[kind].clone()


def test_cross_entropy_is_torchs() -> None:
    loss = CrossEntropy().build(data("multiclass"))
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert torch.equal(loss(logits(), CLASSES), functional.cross_entropy(logits(), CLASSES))
    smooth = CrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5))
    expected = functional.cross_entropy(
        logits(), CLASSES, weight=torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1
    )
    assert torch.equal(smooth.build(data("multiclass"))(logits(), CLASSES), expected)


@given(st.lists(st.integers(1, 10_000), min_size=3, max_size=3).map(tuple))
@settings(max_examples=50, deadline=None)
def test_balanced_weights_give_every_class_the_same_share(counts: tuple[int, int, int]) -> None:
    loss = CrossEntropy(class_weights="balanced").build(data("multiclass", counts))
    weights = loss.weight
    share = sum(counts) / 3
    torch.testing.assert_close(weights * torch.tensor(counts), torch.full((3,), share))


def test_focal_for_classes_is_monais_and_without_focus_cross_entropy() -> None:
    info = data("multiclass")
    for alpha in (None, 0.25, (0.2, 0.3, 0.5)):
        theirs = monai.losses.FocalLoss(gamma=1.5, alpha=alpha, to_onehot_y=True, use_softmax=True)(
            logits(), CLASSES[:, None]
        )
        ours = Focal(gamma=1.5, alpha=alpha).build(info)(logits(), CLASSES)
        torch.testing.assert_close(ours, theirs)
    plain = Focal(gamma=0.0).build(info)(logits(), CLASSES)
    torch.testing.assert_close(plain, functional.cross_entropy(logits(), CLASSES) / 3)


@masked
def test_complete_labels_give_the_mean(
    step: LossStep, kind: TaskKind, reference: nn.Module
) -> None:
    labels = labels_for(kind)
    ours = step.build(data(kind))(logits(), labels)
    torch.testing.assert_close(ours, reference(logits(), labels).mean())


@masked
@given(absent=st.lists(st.booleans(), min_size=30, max_size=30))
@settings(max_examples=20, deadline=None)
def test_missing_labels_count_for_nothing(
    step: LossStep, kind: TaskKind, reference: nn.Module, absent: list[bool]
) -> None:
    missing = torch.tensor(absent).reshape(10, 3)
    complete = labels_for(kind)
    labels = torch.where(missing, torch.nan, complete)
    predictions = logits().requires_grad_()
    loss = step.build(data(kind))(predictions, labels)
    loss.backward()
    each = reference(logits(), complete)
    expected = torch.tensor(0.0) if missing.all() else each[~missing].mean()
    torch.testing.assert_close(loss.detach(), expected)
    assert predictions.grad is not None
    assert bool((predictions.grad[missing] == 0).all())
    assert bool(torch.isfinite(predictions.grad).all())


EVERY = [
    *[(step, kind) for step, kind, _ in MASKED],
    (CrossEntropy(), "multiclass"),
    (CrossEntropy(class_weights="balanced"), "multiclass"),
    (Focal(alpha=0.25), "multiclass"),
]
every = pytest.mark.parametrize(("step", "kind"), EVERY, ids=[f"{s}-{k}" for s, k in EVERY])


@every
def test_half_precision_is_computed_in_float32(step: LossStep, kind: TaskKind) -> None:
    loss = step.build(data(kind, (5, 3, 2)))
    half = logits().bfloat16()
    result = loss(half, labels_for(kind))
    assert result.dtype == torch.float32
    assert result.shape == ()
    assert torch.equal(result, loss(half.float(), labels_for(kind)))


@every
def test_each_works_without_values_and_as_a_copy(step: LossStep, kind: TaskKind) -> None:
    loss = copy.deepcopy(step.build(data(kind, (5, 3, 2))))
    assert isinstance(loss, nn.Module)
    result = loss.to("meta")(logits().to("meta"), labels_for(kind).to("meta"))
    assert result.shape == ()


def test_shapes_that_would_broadcast_are_refused() -> None:
    loss = MSE().build(data("regression"))
    with pytest.raises(ValueError) as caught:
        loss(torch.zeros(4, 1), torch.zeros(4))
    assert str(caught.value) == (
        "the predictions have the shape (4, 1) and the labels (4,): they must be the same"
    )


@pytest.mark.parametrize(
    ("step", "info", "message"),
    [
        (
            CrossEntropy(class_weights="balanced"),
            data("multiclass", (4, 0, 6)),
            "cross_entropy can't balance the classes: the training part has no sample of "
            "'Chest'. Remove the class from the data, or give class_weights as numbers.",
        ),
        (
            CrossEntropy(class_weights="balanced"),
            data("multiclass"),
            "cross_entropy can't balance the classes: how many training samples each has is not "
            "known. Give class_weights as numbers.",
        ),
        (
            CrossEntropy(class_weights=(1.0, 2.0)),
            data("multiclass"),
            "cross_entropy.class_weights has 2 numbers and the data have 3 classes: Hand, Chest, "
            "Head. Give one number for each, in this order.",
        ),
        (
            BCEWithLogits(pos_weight=(1.0,)),
            data("multilabel"),
            "bce_with_logits.pos_weight has 1 numbers and the data have 3 findings: Hand, Chest, "
            "Head. Give one number for each, in this order.",
        ),
        (
            Focal(alpha=(0.5, 0.5)),
            data("multiclass"),
            "focal.alpha has 2 numbers and the data have 3 classes: Hand, Chest, Head. Give one "
            "number for each, in this order.",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(step: LossStep, info: DataInfo, message: str) -> None:
    with pytest.raises(DataError) as caught:
        step.build(info)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (CrossEntropy, {"class_weights": (1.0, -1.0)}),
        (CrossEntropy, {"label_smoothing": 1.0}),
        (Focal, {"gamma": -1.0}),
        (Focal, {"gamma": math.nan}),
        (Focal, {"alpha": 1.5}),
        (Focal, {"alpha": (0.5, 1.5)}),
        (BCEWithLogits, {"pos_weight": (-1.0,)}),
        (Huber, {"delta": 0.0}),
    ],
)
def test_impossible_numbers_are_refused(step: type[LossStep], values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        step(**values)


@pytest.mark.parametrize("step", LOSSES, ids=lambda step: step.name)
def test_each_is_a_well_made_step(step: type[LossStep]) -> None:
    assert "__attrs_attrs__" in step.__dict__
    assert {"name", "tasks"} <= set(step.__dict__)
    assert step() == step()
    assert step.__doc__
    attrs.resolve_types(step)
