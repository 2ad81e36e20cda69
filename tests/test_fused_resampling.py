"""Neighbours that move pixels become one resampling, in a batch as in a single sample."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.data.chain import Chain
from medpipe.plugin import DataError, TransformStep, has_image_label
from medpipe.steps import FusedStep
from medpipe.steps.resampling import ResampledStep, SpatialMap, fitting

STEPS = {step.name: step for step in TRANSFORMS}
MOVING: dict[str, dict[str, Any]] = {
    "rand_rotate": {"range_x": 0.4, "padding_mode": "border"},
    "rand_affine": {"rotate_range": (0.3,), "scale_range": (0.2, 0.2), "padding_mode": "border"},
    "augment": {"scale_range": 0.2},
    "rand_flip": {"spatial_axis": 0},
    "rand_axis_flip": {},
    "rand_rotate90": {},
}


def made(name: str, **parameters: Any) -> TransformStep:
    return STEPS[name](prob=1.0, **{**MOVING[name], **parameters})


def chain(*steps: TransformStep, seed: int = 0) -> Chain:
    return Chain([(f"transform[{n}], {s.name},", s) for n, s in enumerate(steps)], seed=seed)


def picture(sides: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    """A smooth image and a label of a few values."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij")).float()
    generator = torch.Generator().manual_seed(seed)
    rates = 0.05 + 0.2 * torch.rand(len(sides), generator=generator)
    image = sum(torch.sin(rate * place) for rate, place in zip(rates, places, strict=True))
    label = (places.sum(0) > sum(sides) / 2).to(torch.uint8) * 5
    return {"image": MetaTensor(image[None]), "label": label[None], "id": "a"}


def test_there_and_back_is_the_image_itself() -> None:
    """Two resamplings would blur it."""
    angle = math.radians(20)
    there, back = (
        made("rand_affine", rotate_range=((a, a),), scale_range=None) for a in (angle, -angle)
    )
    given_ = picture((24, 24))
    noise = torch.randn(1, 24, 24, generator=torch.Generator().manual_seed(1))
    given_["image"] = MetaTensor(noise)
    left = chain(there, back)(given_, training=True)
    assert torch.allclose(left["image"].as_tensor(), noise, atol=1e-4)
    assert torch.equal(left["label"], given_["label"])


@given(
    names=st.lists(st.sampled_from(sorted(MOVING)), min_size=2, max_size=4),
    dims=st.sampled_from([2, 3]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_fused_is_as_one_after_the_other_but_for_blur_and_edges(
    names: list[str], dims: int, seed: int
) -> None:
    steps = [made(name) for name in names]
    (whole,) = [step for _, step in chain(*steps).steps] if fuses(names) else [None]
    given_ = picture((22,) * dims, seed % 7)
    if whole is None:
        assert len(chain(*steps).steps) == len(steps)
        return
    assert isinstance(whole, FusedStep)
    rng = np.random.default_rng(seed)
    draw = whole.draw(rng)
    batch = {
        "image": given_["image"].as_tensor()[None],
        "label": given_["label"][None],
        "id": ["a"],
    }
    assert has_image_label(batch)
    together = whole.apply_batch(batch, [draw])
    apart: Any = batch
    for step, one in zip(steps, draw["steps"], strict=True):
        apart = step.apply_batch(apart, [one])
    middle = (slice(None), slice(None), *[slice(8, 14)] * dims)
    assert torch.allclose(together["image"][middle], apart["image"][middle], atol=0.05)
    assert set(together["label"].unique().tolist()) <= {0, 5}
    # Rounded at each step, the border may end one voxel further, in each of the six rows.
    assert (together["label"][middle] == apart["label"][middle]).float().mean() > 0.8


def fuses(names: list[str]) -> bool:
    kinds = [STEPS[name] for name in names]
    return not all(issubclass(kind, ResampledStep) and kind.reorders for kind in kinds)


def test_steps_that_only_reorder_stay_exact() -> None:
    flips = (made("rand_flip"), made("rand_rotate90"))
    assert [step for _, step in chain(*flips).steps] == list(flips)


def test_a_step_between_keeps_them_apart() -> None:
    noise = STEPS["rand_gaussian_noise"](prob=1.0)
    steps = chain(made("rand_rotate"), noise, made("rand_affine")).steps
    assert [step.name for _, step in steps] == ["rand_rotate", "rand_gaussian_noise", "rand_affine"]


def test_a_sample_is_changed_as_its_batch() -> None:
    steps = chain(made("rand_rotate"), made("rand_flip"), made("augment", spatial_size=(12, 12)))
    samples = [{**picture((20, 24), seed), "id": str(seed)} for seed in range(3)]
    batch = {
        "image": torch.stack([one["image"].as_tensor() for one in samples]),
        "label": torch.stack([one["label"] for one in samples]),
        "id": [one["id"] for one in samples],
    }
    together = steps.batched_stage(batch, training=True, epoch=0)
    assert together["image"].shape == (3, 1, 12, 12)
    for place, one in enumerate(samples):
        alone = steps(one, training=True)
        assert isinstance(alone["image"], MetaTensor)
        assert torch.equal(together["image"][place], alone["image"].as_tensor())
        assert torch.equal(together["label"][place], alone["label"])


def test_samples_that_none_of_them_changes_stay_exact() -> None:
    steps = [STEPS["rand_rotate"](prob=0.0), STEPS["augment"](prob=0.0)]
    given_ = picture((9, 9))
    left = chain(*steps)(given_, training=True)
    assert torch.equal(left["image"].as_tensor(), given_["image"].as_tensor())


def test_modes_that_differ_are_applied_one_after_the_other() -> None:
    steps = [made("rand_rotate", mode="nearest"), made("augment")]
    whole = chain(*steps).steps[0][1]
    assert isinstance(whole, FusedStep)
    draw = whole.draw(np.random.default_rng(0))
    batch = {"image": picture((9, 9))["image"].as_tensor()[None], "id": ["a"]}
    apart: Any = batch
    for step, one in zip(steps, draw["steps"], strict=True):
        apart = step.apply_batch(apart, [one])
    assert torch.equal(whole.apply_batch(batch, [draw])["image"], apart["image"])


def test_an_error_names_all_that_became_one() -> None:
    from medpipe.errors import StepError

    steps = chain(made("rand_rotate"), made("augment", flip_axes=(2,)))
    with pytest.raises(StepError, match=r"transform\[0\], rand_rotate and transform\[1\], augment"):
        steps({**picture((9, 9))}, training=True)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_deformation_moves_an_image_and_its_label_alike(dims: int) -> None:
    sides = (33,) * dims
    step = STEPS["augment"](prob=1.0, rotate_range=0.0, translate_range=0.0, elastic_range=0.3)
    along = torch.arange(33.0).reshape(33, *[1] * (dims - 1)).expand(sides)[None]
    given_ = {"image": MetaTensor(along), "label": (along > 16).to(torch.uint8), "id": "a"}
    left = chain(step)(given_, training=True)
    moved = left["image"].as_tensor() - along
    assert 0.5 < moved.abs().max() <= 0.3 * 8
    sure = (left["image"].as_tensor() - 16.5).abs() > 0.6
    assert torch.equal(left["label"][sure] > 0, (left["image"].as_tensor() > 16.5)[sure])
    again = chain(step)(given_, training=True)
    assert torch.equal(again["image"].as_tensor(), left["image"].as_tensor())
    other = chain(step)(given_, training=True, epoch=1)
    assert not torch.equal(other["image"].as_tensor(), left["image"].as_tensor())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"maps": np.eye(2, 3)[None]}, r"shape \(1, 2, 3\)\. Give an array of shape \(4, 2, 3\)"),
        ({"maps": np.tile(np.eye(2), (4, 1, 1))}, r"Give an array of shape \(4, 2, 3\)"),
        ({"maps": np.full((4, 2, 3), np.nan)}, "NaN or infinite"),
        ({"shifts": np.zeros((1, 2, 3, 3))}, r"Give \(4, 2\)"),
        ({"size": (3,)}, "Give 2 sides"),
        (
            {"mode": "trilinear"},
            "^there is mode = 'trilinear' in the spatial_map of 'odd': "
            "give one of 'nearest', 'bilinear', 'bicubic', None$",
        ),
        (
            {"mode": "linear", "padding_mode": "edge"},
            "mode = 'linear' in .*, None; and padding_mode = 'edge' in the spatial_map of 'odd': "
            "give one of 'zeros', 'border', 'reflection'$",
        ),
    ],
)
def test_a_map_that_does_not_fit_the_images_is_refused(changes: dict[str, Any], said: str) -> None:
    @attrs.frozen(kw_only=True)
    class Odd(ResampledStep):
        name: ClassVar[str] = "odd"
        prob: float = 1.0

        def values(self, rng: np.random.Generator) -> dict[str, Any]:
            return {"any": 1}

        def spatial_map(self, draws: Any, sides: Any) -> SpatialMap:
            return SpatialMap(**{"maps": np.tile(np.eye(2, 3), (4, 1, 1)), **changes})

    images = torch.rand(4, 1, 5, 5)
    for step in (Odd(), FusedStep(steps=(Odd(),))):
        draws = [step.draw(np.random.default_rng(seed)) for seed in range(4)]
        with pytest.raises(ValueError, match=said):
            step.apply_batch({"image": images}, draws)


def test_the_mode_of_a_map_is_one_that_fits_its_axes() -> None:
    flat, deep = np.zeros((1, 2, 3)), np.zeros((1, 3, 4))
    for mode in ("nearest", "bilinear", "bicubic", None):
        assert fitting(SpatialMap(maps=flat, mode=mode), 1, 2, "odd").mode == mode
    with pytest.raises(
        ValueError, match=r"'bicubic' in .* 'odd': give one of 'nearest', 'bilinear', None"
    ):
        fitting(SpatialMap(maps=deep, mode="bicubic"), 1, 3, "odd")


SWAPPED = {"flip_axes": (0,), "swap_labels": ((1, 2), (4, 3))}


def sided(form: str, seed: int) -> dict[str, Any]:
    """An image with a label of five structures and of what counts nowhere."""
    sample = {**picture((16, 16), seed), "id": str(seed)}
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 1, 2, 3, 4, 5, 255], dtype=torch.uint8)
    label = values[torch.randint(0, 7, (16, 16), generator=generator)]
    if form == "channels":
        label = torch.where(
            label == 255, 255, torch.nn.functional.one_hot(label.long() % 255, 6).movedim(-1, 0)[1:]
        )
        return {**sample, "label": label.to(torch.uint8)}
    return {**sample, "label": label[None]}


def exchanged(label: torch.Tensor) -> torch.Tensor:
    if len(label) > 1:
        return label[[1, 0, 3, 2, 4]]
    table = torch.arange(256, dtype=torch.uint8)
    table[[1, 2, 3, 4]] = torch.tensor([2, 1, 4, 3], dtype=torch.uint8)
    return table[label.long()]


@pytest.mark.parametrize("form", ["indices", "channels"])
def test_flips_of_left_and_right_swap_the_structures_that_have_sides(form: str) -> None:
    """Alone and fused with steps that flip too, in a batch and one by one."""
    still = {"rotate_range": 0.0, "translate_range": 0.0, "scale_range": 0.0}
    step: Any = STEPS["augment"](prob=0.8, **still, **SWAPPED)
    plain: Any = STEPS["augment"](prob=0.5, **still, flip_axes=(0,))
    swapped = SWAPPED["swap_labels"]
    flip: Any = STEPS["rand_flip"](prob=0.6, spatial_axis=0, swap_labels=swapped)
    along: Any = STEPS["rand_axis_flip"](prob=0.9, swap_labels=swapped)
    swapping = (step, flip, along)
    samples = [sided(form, seed) for seed in range(12)]
    batch: dict[str, Any] = {
        "image": torch.stack([one["image"].as_tensor() for one in samples]),
        "label": torch.stack([one["label"] for one in samples]),
        "id": [one["id"] for one in samples],
    }
    for several in (
        *([one] for one in swapping),
        [plain, step],
        [step, step],
        [step, made("rand_flip")],
        [flip, plain],
        [along, step],
    ):
        ((_, whole),) = chain(*several).steps
        draws = [whole.draw(np.random.default_rng(seed)) for seed in range(len(samples))]
        together = whole.apply_batch(batch, draws)["label"]
        seen = set()
        for place, (one, draw) in enumerate(zip(samples, draws, strict=True)):
            parts = draw.get("steps", [draw]) if draw else [{}] * len(several)
            expected, flips = one["label"], 0
            for each, part in zip(several, parts, strict=True):
                if part.get("axis", 0) >= 0.5:
                    expected = expected.flip(2)
                elif 0 in part.get("flips", []) or "flip" in part or "axis" in part:
                    flips += 1
                    expected = expected.flip(1)
                    expected = exchanged(expected) if each in swapping else expected
            seen.add(flips)
            assert torch.equal(together[place], expected)
            assert torch.equal(whole.apply(one, draw)["label"], expected)
        assert len(seen) > 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"swap_labels": ((1, 2),)}, r"give flip_axes = \[0\], too"),
        ({"flip_axes": (0,), "swap_labels": ((1, 2), (2, 3))}, "pairs of different numbers from 1"),
        ({"flip_axes": (0,), "swap_labels": ((0, 2),)}, "pairs of different numbers from 1"),
    ],
)
def test_swaps_of_augment_that_mean_nothing_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        STEPS["augment"](**wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        (
            "rand_flip",
            {"spatial_axis": (1, 2), "swap_labels": ((1, 2),)},
            "let spatial_axis have 0",
        ),
        ("rand_flip", {"swap_labels": ((1, 2), (2, 3))}, "pairs of different numbers from 1"),
        ("rand_axis_flip", {"swap_labels": ((1, 1),)}, "pairs of different numbers from 1"),
    ],
)
def test_swaps_of_flips_that_mean_nothing_are_refused(
    name: str, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        STEPS[name](**wrong)


@pytest.mark.parametrize("axis", [None, 0, -2, (0, 1), 1])
def test_a_flip_swaps_only_where_it_makes_left_of_right(axis: Any) -> None:
    swapped = () if axis == 1 else SWAPPED["swap_labels"]
    step: Any = STEPS["rand_flip"](prob=1.0, spatial_axis=axis, swap_labels=swapped)
    one = sided("indices", 3)
    found = step.apply(one, step.draw(np.random.default_rng(0)))["label"]
    dims = (1, 2) if axis in (None, (0, 1)) else ((axis % 2) + 1,)
    flipped = one["label"].flip(dims)
    assert torch.equal(found, flipped if axis == 1 else exchanged(flipped))


def test_a_swap_of_a_channel_that_is_not_there_is_refused() -> None:
    step: Any = STEPS["augment"](flip_axes=(0,), swap_labels=((1, 7),))
    with pytest.raises(
        DataError, match=r"augment.* names the structure 7, and there are 5. Count them from 1"
    ):
        step.swapped(torch.zeros(1, 5, 4, 4), [{"flips": [0]}])
    flip: Any = STEPS["rand_flip"](swap_labels=((1, 7),))
    with pytest.raises(DataError, match=r"rand_flip.* names the structure 7, and there are 5"):
        flip.swapped(torch.zeros(1, 5, 4, 4), [{"flip": True}])
