"""The built-in losses against torch and MONAI, whole and with labels missing."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import attrs
import monai.losses
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from medpipe.builtin.losses import L1, LOSSES, MSE, BCEWithLogits, CrossEntropy, Focal, Huber
from medpipe.plugin import DataError, DataInfo, LossStep, Task
from support.examples import examples


def data(kind: str, counts: tuple[int, ...] | None = None) -> DataInfo:
    return DataInfo(
        task=Task(kind=kind, names=("Hand", "Chest", "Head")),
        channels=1,
        spatial_shape=(8, 8),
        spatial_dims=2,
        outputs=3,
        statistics={"class_counts": counts},
    )


def with_findings(*counts: tuple[int, int]) -> DataInfo:
    return attrs.evolve(data("multilabel"), statistics={"finding_counts": counts})


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


def labels_for(kind: str) -> torch.Tensor:
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
@settings(max_examples=examples(50), deadline=None)
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


@pytest.mark.parametrize("alpha", [None, 0.25, (0.2, 0.3, 0.5)])
def test_focal_with_a_power_below_one_is_monais_with_a_gradient_where_a_class_is_certain(
    alpha: Any,
) -> None:
    info = data("multiclass")
    theirs = monai.losses.FocalLoss(gamma=0.5, alpha=alpha, to_onehot_y=True, use_softmax=True)
    ours = Focal(gamma=0.5, alpha=alpha).build(info)
    outputs = [logits().requires_grad_() for _ in range(2)]
    values = theirs(outputs[0], CLASSES[:, None]), ours(outputs[1], CLASSES)
    torch.testing.assert_close(*values)
    for value in values:
        value.backward()
    torch.testing.assert_close(outputs[0].grad, outputs[1].grad)
    certain = (100.0 * functional.one_hot(CLASSES, 3)).requires_grad_()
    ours(certain, CLASSES).backward()
    assert certain.grad is not None
    assert not certain.grad.any()


@masked
def test_complete_labels_give_the_mean(step: LossStep, kind: str, reference: nn.Module) -> None:
    labels = labels_for(kind)
    ours = step.build(data(kind))(logits(), labels)
    torch.testing.assert_close(ours, reference(logits(), labels).mean())


@masked
@given(absent=st.lists(st.booleans(), min_size=30, max_size=30))
@settings(max_examples=examples(20), deadline=None)
def test_missing_labels_count_for_nothing(
    step: LossStep, kind: str, reference: nn.Module, absent: list[bool]
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


REFERENCES: dict[str, tuple[str, LossStep, Any]] = {
    "bce": (
        "multilabel",
        BCEWithLogits(),
        lambda p, y: functional.binary_cross_entropy_with_logits(p, y),
    ),
    "focal": (
        "multilabel",
        Focal(gamma=1.5),
        lambda p, y: monai.losses.FocalLoss(gamma=1.5)(p[None], y[None]),
    ),
    "l1": ("regression", L1(), functional.l1_loss),
    "mse": ("regression", MSE(), functional.mse_loss),
    "huber": (
        "regression",
        Huber(delta=0.5),
        lambda p, y: functional.huber_loss(p, y, delta=0.5),
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
@given(
    rows=st.integers(1, 6),
    outputs=st.integers(1, 5),
    share=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    column=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=examples(25), deadline=None)
def test_value_and_gradient_are_torchs_on_the_labels_that_are_there(
    name: str, rows: int, outputs: int, share: float, column: bool, seed: int
) -> None:
    kind, step, reference = REFERENCES[name]
    generator = torch.Generator().manual_seed(seed)
    values = 3 * torch.randn(rows, outputs, generator=generator)
    labels = 2 * torch.randn(rows, outputs, generator=generator)
    if kind == "multilabel":
        labels = (labels > 0).float()
    missing = torch.rand(rows, outputs, generator=generator) < share
    missing[:, 0] |= column  # a column without any label
    labels[missing] = math.nan
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    task = Task(kind=kind, names=tuple(f"n{place}" for place in range(outputs)))
    loss = step.build(attrs.evolve(data(kind), task=task, outputs=outputs))
    value = loss(ours, labels)
    value.backward()
    assert ours.grad is not None
    if missing.all():
        assert value == 0
        assert bool((ours.grad == 0).all())
        return
    # The numbers in one column, so that whatever torch averages over is what is there.
    expected = reference(theirs[~missing][:, None], labels[~missing][:, None])
    expected.backward()
    torch.testing.assert_close(value.detach(), expected.detach())
    torch.testing.assert_close(ours.grad, theirs.grad)


@given(counts=st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=3, max_size=3))
@settings(max_examples=examples(50), deadline=None)
def test_a_balanced_finding_weighs_as_much_present_as_absent(counts: Any) -> None:
    loss: Any = BCEWithLogits(pos_weight="balanced").build(with_findings(*counts))
    weights = loss.elementwise.pos_weight
    absent, present = torch.tensor(counts, dtype=torch.float32).T
    torch.testing.assert_close(weights * present, absent)


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=5))
@settings(max_examples=examples(25), deadline=None)
def test_balanced_classes_are_scikit_learns(counts: list[int]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [place for place, count in enumerate(counts) for _ in range(count)]
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    task = Task(names=tuple(f"n{place}" for place in range(len(counts))))
    info = attrs.evolve(
        data("multiclass"),
        task=task,
        outputs=len(counts),
        statistics={"class_counts": tuple(counts)},
    )
    loss: Any = CrossEntropy(class_weights="balanced").build(info)
    torch.testing.assert_close(loss.weight.double(), torch.from_numpy(expected), rtol=1e-6, atol=0)


EVERY = [
    *[(step, kind) for step, kind, _ in MASKED],
    (CrossEntropy(), "multiclass"),
    (CrossEntropy(class_weights="balanced"), "multiclass"),
    (Focal(alpha=0.25), "multiclass"),
]
every = pytest.mark.parametrize(("step", "kind"), EVERY, ids=[f"{s}-{k}" for s, k in EVERY])


@every
def test_half_precision_is_computed_in_float32(step: LossStep, kind: str) -> None:
    loss = step.build(data(kind, (5, 3, 2)))
    half = logits().bfloat16()
    result = loss(half, labels_for(kind))
    assert result.dtype == torch.float32
    assert result.shape == ()
    assert torch.equal(result, loss(half.float(), labels_for(kind)))


@every
def test_each_works_without_values_and_as_a_copy(step: LossStep, kind: str) -> None:
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
            "cross_entropy can't balance the classes: the training split has no sample of "
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
            BCEWithLogits(pos_weight="balanced"),
            data("multilabel"),
            "bce_with_logits can't balance the findings: how many training samples have each is "
            "not known. Give pos_weight as numbers.",
        ),
        (
            BCEWithLogits(pos_weight="balanced"),
            with_findings((3, 2), (5, 0), (1, 1)),
            "bce_with_logits can't balance the findings: no training sample has 'Chest'. Leave "
            "the finding out of the data, or give pos_weight as numbers.",
        ),
        (
            BCEWithLogits(pos_weight="balanced"),
            with_findings((3, 2), (5, 1), (0, 1)),
            "bce_with_logits can't balance the findings: no training sample is without 'Head'. "
            "Leave the finding out of the data, or give pos_weight as numbers.",
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
    assert "labels" in step.__dict__
    assert [other.name for other in LOSSES].count(step.name) == 1
    made = step()
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(TypeError):
        step(1.0)
    assert step.__doc__ is not None
    for field in attrs.fields(attrs.resolve_types(step)):
        assert f"{field.name}: " in step.__doc__
        assert field.eq
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(made, field.name, field.default)


@pytest.mark.parametrize("weights", [(0.0, 0.0), ()])
def test_weights_without_one_above_zero_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="'class_weights' must have a number above 0"):
        CrossEntropy(class_weights=weights)
