"""The losses for segmentation against MONAI's, and with voxels and structures left out."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import monai.losses
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from medpipe.builtin.losses import Focal
from medpipe.builtin.segmentation.losses import (
    SEGMENTATION_LOSSES,
    Dice,
    DiceCE,
    GeneralizedDice,
    Tversky,
)
from medpipe.builtin.segmentation.softmax_sums import softmax_sums
from medpipe.plugin import DataError, LossStep
from support.dense_tasks import dense_data
from support.examples import examples

EXCLUSIVE = dense_data((6, 5, 4), names=3)
OVERLAPPING = dense_data((6, 5, 4), names=3, overlapping=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(channels: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(3, channels, 6, 5, 4, generator=generator(seed))


def mask(seed: int = 1) -> torch.Tensor:
    """Indices, where the last structure is in one sample alone."""
    made = torch.randint(0, 4, (3, 1, 6, 5, 4), generator=generator(seed), dtype=torch.uint8)
    made[1:][made[1:] == 3] = 0
    return made


def masks(seed: int = 1) -> torch.Tensor:
    made = torch.randint(0, 2, (3, 3, 6, 5, 4), generator=generator(seed), dtype=torch.uint8)
    made[:, 2] = 0
    return made


def bce(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, labels.float())


SAME = [
    (Dice, "DiceLoss", {"squared_pred": True}),
    (Dice, "DiceLoss", {"smooth_nr": 0.5, "smooth_dr": 1.0}),
    (DiceCE, "DiceCELoss", {"lambda_ce": 0.3, "lambda_dice": 2.0}),
    (GeneralizedDice, "GeneralizedDiceLoss", {"w_type": "square"}),
    (GeneralizedDice, "GeneralizedDiceLoss", {"w_type": "simple"}),
    (GeneralizedDice, "GeneralizedDiceLoss", {"w_type": "uniform"}),
    (Tversky, "TverskyLoss", {"alpha": 0.3, "beta": 0.7}),
]
cases = pytest.mark.parametrize(
    ("step", "monai_name", "values"), SAME, ids=[f"{s.name}-{v}" for s, _, v in SAME]
)


@cases
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_masks_that_exclude_one_another_give_monais_loss_and_gradient(
    step: type[LossStep], monai_name: str, values: dict[str, Any], batch: bool, background: bool
) -> None:
    options = {**values, "batch": batch, "include_background": background}
    ours = step(**options).build(EXCLUSIVE)
    theirs = getattr(monai.losses, monai_name)(softmax=True, to_onehot_y=True, **options)
    first, second = logits(4).requires_grad_(), logits(4).requires_grad_()
    found, expected = ours(first, mask()), theirs(second, mask())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    found.backward()
    expected.backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-7)


def test_the_sums_of_a_softmax_have_their_gradient() -> None:
    outputs = logits(4).double().flatten(2).requires_grad_()
    target = functional.one_hot(mask()[:, 0].long(), 4).movedim(-1, 1).flatten(2).double()

    assert torch.autograd.gradcheck(lambda given: softmax_sums(given, target), (outputs,))


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_one_voxel_that_is_ignored_hardly_changes_loss_and_gradient(
    batch: bool, background: bool
) -> None:
    # The sums of what is annotated as a whole are taken in another way.
    loss = DiceCE(batch=batch, include_background=background).build(EXCLUSIVE)
    first, second = logits(4).requires_grad_(), logits(4).requires_grad_()
    labels = mask()
    expected = loss(first, labels)
    labels[0, 0, 0, 0, 0] = 255
    found = loss(second, labels)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)
    found.backward()
    expected.backward()
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(first.grad[1:], second.grad[1:], rtol=0.1, atol=1e-4)


def test_a_share_too_small_for_float32_gives_a_finite_loss() -> None:
    wrong = functional.one_hot(3 - mask()[:, 0].long(), 4).movedim(-1, 1) * 1e4
    outputs = wrong.requires_grad_()
    loss = DiceCE().build(EXCLUSIVE)(outputs, mask())
    loss.backward()
    assert torch.isfinite(loss)
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


@cases
@pytest.mark.parametrize("batch", [True, False])
def test_masks_that_overlap_give_monais_loss(
    step: type[LossStep], monai_name: str, values: dict[str, Any], batch: bool
) -> None:
    options = {**values, "batch": batch}
    found = step(**options).build(OVERLAPPING)(logits(3), masks())
    if step is DiceCE:  # MONAI's has a softmax where there are several names
        weights = (options.pop("lambda_dice"), options.pop("lambda_ce"))
        dice = monai.losses.DiceLoss(sigmoid=True, **options)(logits(3), masks())
        expected = weights[0] * dice + weights[1] * bce(logits(3), masks())
    else:
        theirs = getattr(monai.losses, monai_name)(sigmoid=True, **options)
        expected = theirs(logits(3), masks().float())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_one_name_gives_monais_dice_and_cross_entropy() -> None:
    data = dense_data((6, 5, 4), names=1, overlapping=True)
    found = DiceCE().build(data)(logits(1), masks()[:, :1])
    theirs = monai.losses.DiceCELoss(sigmoid=True, batch=True)
    torch.testing.assert_close(found, theirs(logits(1), masks()[:, :1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("background", [True, False])
def test_class_weights_are_monais(background: bool) -> None:
    weights = (0.2, 1.5, 3.0, 0.0)
    options: dict[str, Any] = {"batch": True, "include_background": background}
    ours = DiceCE(class_weights=weights, **options).build(EXCLUSIVE)
    theirs = monai.losses.DiceCELoss(
        softmax=True, to_onehot_y=True, weight=torch.tensor(weights), **options
    )
    torch.testing.assert_close(ours(logits(4), mask()), theirs(logits(4), mask()))
    ignored = mask()
    ignored[0] = 255  # its voxels weigh nothing
    torch.testing.assert_close(
        ours(logits(4), ignored), theirs(logits(4)[1:], mask()[1:]), rtol=1e-5, atol=1e-6
    )


def test_class_weights_of_masks_that_overlap() -> None:
    """In the Dice as MONAI has it, in the cross-entropy as torch's ``pos_weight``."""
    weights = torch.tensor((0.5, 2.0, 1.0))
    found = DiceCE(class_weights=(0.5, 2.0, 1.0)).build(OVERLAPPING)(logits(3), masks())
    dice = monai.losses.DiceLoss(sigmoid=True, batch=True, weight=weights)(logits(3), masks())
    entropy = functional.binary_cross_entropy_with_logits(
        logits(3), masks().float(), pos_weight=weights.view(3, 1, 1, 1)
    )
    torch.testing.assert_close(found, dice + entropy)


def test_weights_are_balanced_by_the_voxels_of_the_training() -> None:
    data = attrs.evolve(EXCLUSIVE, statistics={"voxel_counts": (900, 50, 40, 10)})
    given = (logits(4), mask())
    shares = [1 / count for count in (900, 50, 40, 10)]
    same = DiceCE(class_weights=tuple(4 * share / sum(shares) for share in shares)).build(data)
    balanced = DiceCE(class_weights="balanced").build(data)
    torch.testing.assert_close(balanced(*given), same(*given))
    with pytest.raises(DataError) as caught:
        DiceCE(class_weights="balanced").build(
            attrs.evolve(EXCLUSIVE, statistics={"voxel_counts": (900, 50, 0, 10)})
        )
    assert str(caught.value) == (
        "dice_ce.class_weights can't be balanced: the training split has no voxel of 'structure "
        "1'. Leave it out of the data, or give the weights as numbers."
    )
    with pytest.raises(DataError, match="how many voxels each structure has is not known"):
        DiceCE(class_weights="balanced").build(EXCLUSIVE)
    with pytest.raises(DataError, match=r"3 numbers and the data have 4 outputs: background, s"):
        DiceCE(class_weights=(1.0, 2.0, 3.0)).build(EXCLUSIVE)


@pytest.mark.parametrize("alpha", [None, 0.25, "each"])
@pytest.mark.parametrize("overlapping", [True, False])
def test_focal_is_monais(alpha: Any, overlapping: bool) -> None:
    data = OVERLAPPING if overlapping else EXCLUSIVE
    if alpha == "each":
        alpha = (0.1, 0.2, 0.3) if overlapping else (0.4, 0.1, 0.2, 0.3)
    found = Focal(alpha=alpha, gamma=1.5).build(data)
    theirs = monai.losses.FocalLoss(
        alpha=alpha, gamma=1.5, use_softmax=not overlapping, to_onehot_y=not overlapping
    )
    given = (logits(3), masks()) if overlapping else (logits(4), mask())
    torch.testing.assert_close(found(*given), theirs(*given), rtol=0, atol=1e-5)


def test_focal_names_the_background_among_what_is_weighed() -> None:
    with pytest.raises(DataError) as caught:
        Focal(alpha=(0.1, 0.2, 0.3)).build(EXCLUSIVE)
    assert str(caught.value) == (
        "focal.alpha has 3 numbers and the data have 4 outputs: background, structure 0, "
        "structure 1, structure 2. Give one number for each, in this order."
    )


ALL: list[LossStep] = [
    *(
        cls(batch=batch)
        for cls in (Dice, DiceCE, GeneralizedDice, Tversky)
        for batch in (True, False)
    ),
    Focal(),
]
every = pytest.mark.parametrize("step", ALL, ids=repr)


@every
@settings(max_examples=examples(40))
@given(seed=st.integers(0, 1000), side=st.integers(1, 5))
def test_what_is_ignored_changes_nothing(step: LossStep, seed: int, side: int) -> None:
    """Outputs below ignored voxels have neither influence nor gradient; the rest counts alone."""
    loss = step.build(EXCLUSIVE)
    labels = mask(seed)
    labels[..., side - 1 :, :] = 255
    outputs = logits(4, seed).requires_grad_()
    found = loss(outputs, labels)
    found.backward()
    assert outputs.grad is not None
    assert not outputs.grad[..., side - 1 :, :].any()
    assert torch.isfinite(outputs.grad).all()
    if side > 1:
        cut = loss(outputs.detach()[..., : side - 1, :], labels[..., : side - 1, :])
        torch.testing.assert_close(found.detach(), cut, rtol=0, atol=1e-5)
    else:
        assert found == 0


@every
@settings(max_examples=examples(40))
@given(seed=st.integers(0, 1000))
def test_names_that_are_not_annotated_are_left_out(step: LossStep, seed: int) -> None:
    loss = step.build(OVERLAPPING)
    labels = masks(seed)
    labels[:, 1] = 255
    outputs = logits(3, seed).requires_grad_()
    found = loss(outputs, labels)
    found.backward()
    assert outputs.grad is not None
    assert not outputs.grad[:, 1].any()
    kept = loss(outputs.detach()[:, [0, 2]], labels[:, [0, 2]])
    torch.testing.assert_close(found.detach(), kept, rtol=0, atol=1e-5)


@every
def test_a_sample_without_annotation_is_left_out(step: LossStep) -> None:
    loss = step.build(EXCLUSIVE)
    labels = mask()
    labels[2] = 255
    found = loss(logits(4), labels)
    torch.testing.assert_close(found, loss(logits(4)[:2], labels[:2]), rtol=0, atol=1e-5)


@every
def test_losses_are_in_float32_under_autocast(step: LossStep) -> None:
    loss = step.build(EXCLUSIVE)
    outputs = logits(4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(outputs, mask())
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(outputs.float(), mask()))


@every
def test_a_perfect_prediction_costs_nothing(step: LossStep) -> None:
    perfect = functional.one_hot(mask()[:, 0].long(), 4).movedim(-1, 1) * 200.0
    assert step.build(EXCLUSIVE)(perfect, mask()) < 1e-4
    assert step.build(OVERLAPPING)(masks() * 200.0 - 100, masks()) < 1e-4


@every
def test_labels_of_another_shape_are_refused(step: LossStep) -> None:
    with pytest.raises(ValueError, match=r"labels \(3, 1, 6, 5, 3\): after the channels they must"):
        step.build(EXCLUSIVE)(logits(4), mask()[..., :3])


@pytest.mark.parametrize("step", SEGMENTATION_LOSSES, ids=lambda step: step.name)
def test_each_is_a_well_made_step(step: type[LossStep]) -> None:
    assert "labels" in step.__dict__
    assert step.batchwise
    made = step()
    assert pickle.loads(pickle.dumps(made)) == made
    for field in attrs.fields(step):
        assert getattr(made, field.name) == field.default


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (Dice, {"smooth_dr": 0.0}),
        (DiceCE, {"lambda_ce": -1.0}),
        (DiceCE, {"class_weights": (-1.0, 1.0)}),
        (Tversky, {"alpha": -0.1}),
    ],
)
def test_impossible_numbers_are_refused(step: type[LossStep], values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"'{next(iter(values))}' must be"):
        step(**values)
