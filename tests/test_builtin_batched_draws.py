"""What the random steps for batches draw, against what MONAI's transforms draw: statistically.

The seeds are fixed, so that a test that passes passes always.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, ks_2samp, kstest

from medpipe.builtin.transforms.monai_transforms import TRANSFORMS

STEPS: dict[str, Any] = {step.name: step for step in TRANSFORMS}
DRAWS = 3000
IMAGE = torch.zeros(3, 5, 6, 7)


def affine_numbers(monai: Any) -> list[float]:
    grid = monai.rand_affine.rand_affine_grid
    return [
        *grid.rotate_params,
        *grid.shear_params,
        *grid.translate_params,
        *grid.scale_params,
    ]


# The step, its parameters, the numbers of a draw, and those of MONAI's transform.
CONTINUOUS: list[tuple[str, dict[str, Any], Callable[[Any], Any], Callable[[Any], Any]]] = [
    (
        "rand_rotate",
        {"range_x": 0.4, "range_y": (-0.1, 0.9), "range_z": (0.8, 0.2)},
        lambda draw: draw["angles"],
        lambda monai: (monai.rand_rotate.x, monai.rand_rotate.y, monai.rand_rotate.z),
    ),
    (
        "rand_affine",
        {
            "rotate_range": (0.4, (0.1, 0.9)),
            "shear_range": 0.3,
            "translate_range": (3, (-5.0, -1.0), 2),
            "scale_range": ((-0.4, -0.1), 0.3),
        },
        lambda draw: [*draw["rotate"], *draw["shear"], *draw["translate"], *draw["scale"]],
        affine_numbers,
    ),
    (
        "rand_zoom",
        {"min_zoom": 0.7, "max_zoom": 1.2},
        lambda draw: draw["zoom"] * 3,
        lambda monai: monai.rand_zoom._zoom,
    ),
    (
        "rand_zoom",
        {"min_zoom": (0.7, 0.9, 1.0), "max_zoom": (0.8, 1.2, 1.3)},
        lambda draw: draw["zoom"],
        lambda monai: monai.rand_zoom._zoom,
    ),
    (
        "rand_shift_intensity",
        {"offsets": 0.3},
        lambda draw: [draw["by"]],
        lambda monai: [monai.shifter._offset],
    ),
    (
        "rand_shift_intensity",
        {"offsets": (0.9, 0.2)},
        lambda draw: [draw["by"]],
        lambda monai: [monai.shifter._offset],
    ),
    (
        "rand_scale_intensity",
        {"factors": (-0.5, 0.2)},
        lambda draw: [draw["by"]],
        lambda monai: [monai.scaler.factor],
    ),
    (
        "rand_adjust_contrast",
        {},
        lambda draw: [draw["gamma"]],
        lambda monai: [monai.adjuster.gamma_value],
    ),
    (
        "rand_adjust_contrast",
        {"gamma": 2.0},
        lambda draw: [draw["gamma"]],
        lambda monai: [monai.adjuster.gamma_value],
    ),
]


def draws_of(step: Any) -> list[Any]:
    rng = np.random.default_rng(11)
    return [step.draw(rng) for _ in range(DRAWS)]


def monai_of(step: Any) -> Any:
    monai = step.build()
    monai.set_random_state(seed=7)
    return monai


def inner(monai: Any) -> Any:
    """The transform of arrays that draws the numbers, inside the one of dictionaries."""
    names = ("rand_rotate", "rand_affine", "rand_zoom", "shifter", "scaler", "adjuster", "flipper")
    return next(getattr(monai, name) for name in names if hasattr(monai, name))


@pytest.mark.parametrize(("name", "values", "ours", "theirs"), CONTINUOUS)
def test_numbers_are_spread_as_monai_s(
    name: str, values: dict[str, Any], ours: Callable[[Any], Any], theirs: Callable[[Any], Any]
) -> None:
    step = STEPS[name](prob=1.0, **values)
    drawn = np.array([ours(draw) for draw in draws_of(step)])
    monai = monai_of(step)
    expected = []
    for _ in range(DRAWS):
        inner(monai).randomize(IMAGE)
        expected.append(theirs(monai))
    expected = np.array(expected)
    assert drawn.shape == expected.shape
    for one, other in zip(drawn.T, expected.T, strict=True):
        assert ks_2samp(one, other).pvalue > 0.01
    # What MONAI draws on its own is drawn on its own here: no two numbers go together.
    different = [column for column in drawn.T if not np.array_equal(column, drawn.T[0])]
    for column in different:
        assert abs(np.corrcoef(drawn.T[0], column)[0, 1]) < 0.06


@pytest.mark.parametrize(("name", "values"), [("rand_flip", {}), ("rand_affine", {})])
@pytest.mark.parametrize("prob", [0.1, 0.5, 1.0])
def test_as_many_are_changed(name: str, values: dict[str, Any], prob: float) -> None:
    step = STEPS[name](prob=prob, **values)
    changed = sum(map(bool, draws_of(step)))
    monai = monai_of(step)
    theirs = 0
    for _ in range(DRAWS):
        monai.randomize(None)
        theirs += monai._do_transform
    assert bool(theirs == DRAWS) is (prob == 1.0)
    table = [[changed, DRAWS - changed + 1], [theirs, DRAWS - theirs + 1]]
    assert chi2_contingency(table).pvalue > 0.01


@pytest.mark.parametrize("most", [2, 3, 5])
def test_quarter_turns_are_as_frequent(most: int) -> None:
    step = STEPS["rand_rotate90"](prob=1.0, max_k=most)
    ours = np.bincount([draw["turns"] for draw in draws_of(step)], minlength=most + 1)
    monai = monai_of(step)
    theirs = []
    for _ in range(DRAWS):
        monai.randomize()
        theirs.append(monai._rand_k)
    table = np.array([ours, np.bincount(theirs, minlength=most + 1)])
    assert table[:, 0].sum() == 0
    assert chi2_contingency(table[:, 1:]).pvalue > 0.01


@pytest.mark.parametrize("dims", [2, 3])
def test_axes_are_as_frequent(dims: int) -> None:
    step = STEPS["rand_axis_flip"](prob=1.0)
    sides = (4,) * dims
    ours = np.bincount([step.group(draw, sides) for draw in draws_of(step)], minlength=dims)
    monai = monai_of(step)
    theirs = []
    for _ in range(DRAWS):
        monai.flipper.randomize(torch.zeros(1, *sides))
        theirs.append(monai.flipper._axis)
    assert chi2_contingency([ours, np.bincount(theirs, minlength=dims)]).pvalue > 0.01


@pytest.mark.parametrize("sample_std", [True, False])
def test_noise_is_spread_as_monai_s(sample_std: bool) -> None:
    step = STEPS["rand_gaussian_noise"](prob=1.0, mean=0.2, std=0.5, sample_std=sample_std)
    rng = np.random.default_rng(3)
    draws = [step.draw(rng) for _ in range(400)]
    noise = step.apply_batch({"image": torch.zeros(400, 1, 8, 9)}, draws)["image"].numpy()
    monai = monai_of(step)
    theirs = np.stack([monai({"image": torch.zeros(1, 8, 9)})["image"].numpy() for _ in draws])
    assert ks_2samp(noise.std(axis=(1, 2, 3)), theirs.std(axis=(1, 2, 3))).pvalue > 0.01
    assert ks_2samp(noise[:, 0, 4, 4], theirs[:, 0, 4, 4]).pvalue > 0.01
    spreads = np.array([draw["std"] for draw in draws])[:, None, None, None]
    assert kstest(((noise - 0.2) / spreads)[::7].ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.4


def test_channels_are_spread_as_monai_s() -> None:
    step = STEPS["rand_shift_intensity"](prob=1.0, offsets=0.3, channel_wise=True)
    rng = np.random.default_rng(3)
    draws = [step.draw(rng) for _ in range(1000)]
    ours = step.apply_batch({"image": torch.zeros(1000, 2, 1, 1)}, draws)["image"].numpy()
    monai = monai_of(step)
    theirs = []
    for _ in range(1000):
        monai.shifter.randomize(torch.zeros(2, 1, 1))
        theirs.append(monai.shifter._offset)
    for channel in range(2):
        assert ks_2samp(ours[:, channel, 0, 0], np.array(theirs)[:, channel]).pvalue > 0.01
    assert abs(np.corrcoef(ours[:, :, 0, 0].T)[0, 1]) < 0.1
