"""What the paper says of the transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from medpipe_randconv import RandConv
from medpipe_randconv.transform import _weights  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("dims", [2, 3])
def test_each_image_of_a_batch_is_mixed_with_its_own_convolution(dims: int) -> None:
    step = RandConv(prob=1.0)
    random = np.random.default_rng(3)
    draws = [step.draw(random) for _ in range(8)]
    assert len({draw["kernel"] for draw in draws}) > 1
    images = torch.rand(8, 2, *(12,) * dims)
    found = step.apply_batch({"image": images}, draws)["image"]
    for image, draw, result in zip(images, draws, found, strict=True):
        expected = draw["share"] * convolved(image, draw) + (1 - draw["share"]) * image.numpy()
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)
        alone = step.apply({"image": image}, draw)["image"]
        torch.testing.assert_close(alone, result, atol=1e-5, rtol=0)


def convolved(image: torch.Tensor, draw: Any) -> Any:
    """By shifted sums, with NumPy alone."""
    axes, half = image.ndim - 1, draw["kernel"] // 2
    weights = _weights(draw, len(image), axes).numpy()
    padded = np.pad(image.numpy(), [(0, 0), *[(half, half)] * axes])
    found = np.zeros(image.shape)
    for shift in np.ndindex(*(draw["kernel"],) * axes):
        places = tuple(slice(s, s + n) for s, n in zip(shift, image.shape[1:], strict=True))
        found += np.einsum("oi,i...->o...", weights[(..., *shift)], padded[(slice(None), *places)])
    return found


def test_the_weights_have_the_variance_of_the_paper() -> None:
    weights = torch.stack([_weights({"kernel": 5, "seed": seed}, 3, 2) for seed in range(200)])
    assert float(weights.var()) == pytest.approx(1 / (3 * 25), rel=0.03)
    assert abs(float(weights.mean())) < 0.001


def test_an_image_that_is_not_changed_stays_bit_for_bit() -> None:
    images = torch.rand(3, 1, 8, 8)
    step = RandConv(prob=0.0)
    draws = [step.draw(np.random.default_rng(seed)) for seed in range(3)]
    assert torch.equal(step.apply_batch({"image": images}, draws)["image"], images)


@pytest.mark.parametrize("kernels", [(), (2,), (3, -1)])
def test_kernels_are_odd(kernels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="kernels"):
        RandConv(kernels=kernels)
