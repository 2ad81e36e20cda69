"""Inferers for segmentation: windows against MONAI's, in less memory, and flips."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import nn

import medpipe
from medpipe.builtin.inferers import Flips, Shifts, Simple
from medpipe.builtin.segmentation.sliding_window import SlidingWindow, SlidingWindowInferer
from medpipe.plugin import DataError, DataInfo, Task
from support.dense_tasks import dense_data
from support.examples import examples


def network(dims: int, outputs: int = 3) -> nn.Module:
    """One that sees what is around a pixel, and where windows end."""
    kind: Any = nn.Conv2d if dims == 2 else nn.Conv3d
    torch.manual_seed(0)
    return nn.Sequential(kind(1, 4, 3, padding=1), nn.ReLU(), kind(4, outputs, 5, padding=2)).eval()


def decided(outputs: torch.Tensor) -> torch.Tensor:
    return outputs.argmax(1, keepdim=True).to(torch.uint8)


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(shape: tuple[int, ...], **values: Any) -> SlidingWindowInferer:
    inferer = SlidingWindow(**values).build(dense_data(shape))
    assert isinstance(inferer, SlidingWindowInferer)
    return inferer


@settings(max_examples=examples(80))
@given(
    sides=st.lists(st.tuples(st.integers(1, 11), st.integers(3, 6)), min_size=2, max_size=3),
    batch=st.integers(1, 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    mode=st.sampled_from(["gaussian", "constant"]),
    at_once=st.integers(1, 5),
)
@torch.no_grad()
def test_outputs_and_labels_are_monais(
    sides: list[tuple[int, int]], batch: int, overlap: float, mode: Any, at_once: int
) -> None:
    """Also where some sides, or all, are smaller than the window's."""
    shape = tuple(side for side, _ in sides)
    roi = tuple(size for _, size in sides)
    images, net = image(batch, 1, *shape), network(len(shape))
    values = {"roi_size": roi, "overlap": overlap, "mode": mode, "sw_batch_size": at_once}
    expected = sliding_window_inference(images, predictor=net, **values)
    inferer = made(shape, **values)
    torch.testing.assert_close(inferer(images, net), expected, rtol=0, atol=1e-5)
    labels = inferer.labels(images, net, decided)
    assert labels.dtype == torch.uint8
    # Where two outputs are equal but for rounding, either is right.
    gap = expected.topk(2, dim=1).values
    sure = (gap[:, :1] - gap[:, 1:]) > 1e-4
    assert torch.equal(labels[sure], decided(expected)[sure])
    assert sure.float().mean() > 0.9


@torch.no_grad()
def test_labels_of_a_volume_are_monais() -> None:
    images, net = image(1, 1, 48, 40, 36), network(3, 5)
    values: dict[str, Any] = {"roi_size": (16, 16, 16), "sw_batch_size": 1}
    expected = sliding_window_inference(
        images, predictor=net, overlap=0.25, mode="gaussian", **values
    )
    inferer = made((48, 40, 36), **values)
    assert torch.equal(inferer(images, net), expected)
    assert torch.equal(inferer.labels(images, net, decided), decided(expected))


@torch.no_grad()
def test_a_whole_side_is_one_window() -> None:
    images, net = image(2, 1, 9, 12, 10), network(3)
    values: dict[str, Any] = {"overlap": 0.25, "mode": "gaussian"}
    expected = sliding_window_inference(images, (4, 12, 10), 4, net, **values)
    found = made((9, 12, 10), roi_size=(4, -1, -1))(images, net)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    whole = made((9, 12, 10), roi_size=(-1, -1, -1))(images, net)
    torch.testing.assert_close(whole, net(images), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_network_under_autocast_is_summed_in_float32() -> None:
    images, net = image(1, 1, 20, 20), network(2)
    calls: list[torch.dtype] = []

    def watched(windows: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = net(windows)
        calls.append(outputs.dtype)
        return outputs

    with torch.autocast("cpu", torch.bfloat16):
        found = made((20, 20), roi_size=(8, 8))(images, watched)
    assert set(calls) == {torch.bfloat16}
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, made((20, 20), roi_size=(8, 8))(images, net), atol=0.02, rtol=0
    )


@torch.no_grad()
@pytest.mark.parametrize("shape", [(12, 16), (11, 16), (7, 3)])
def test_images_of_one_window_cost_what_they_cost_as_a_whole(shape: tuple[int, int]) -> None:
    """One forward pass of the batch as it comes, and no copy of its outputs."""
    images, net = image(6, 1, *shape), network(2)
    given: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []

    def watched(windows: torch.Tensor) -> torch.Tensor:
        given.append(windows)
        outputs.append(net(windows))
        return outputs[-1]

    inferer = made(shape, roi_size=(12, 16), sw_batch_size=2)
    found = inferer(images, watched)
    assert [tuple(windows.shape) for windows in given] == [(6, 1, 12, 16)]
    assert found.untyped_storage().data_ptr() == outputs[0].untyped_storage().data_ptr()
    assert found.shape == (6, 3, *shape)
    assert (given[0] is images) == (shape == (12, 16))
    assert torch.equal(inferer.labels(images, net, decided), decided(found))


@torch.no_grad()
def test_regions_are_the_image_once() -> None:
    images, net = image(2, 1, 21, 13), network(2)
    seen = torch.zeros(2, 21, 13)
    for (some, *region), outputs in made((21, 13), roi_size=(8, 16)).regions(images, net):
        seen[(some, *region)] += 1
        assert outputs.shape[2:] == seen[(some, *region)].shape[1:]
        assert outputs.shape[2] <= 8  # never more of the longer axis than a window has
    assert torch.equal(seen, torch.ones(2, 21, 13))


@torch.no_grad()
def test_flips_turn_outputs_of_each_pixel_back() -> None:
    images, net = image(2, 1, 7, 9), network(2)
    expected = torch.zeros(2, 3, 7, 9)
    for dims in ([], [2], [3], [2, 3]):
        expected += net(images.flip(dims)).flip(dims) / 4
    found = Flips().build(dense_data((7, 9)))(images, net)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    twice = Flips().build(dense_data((7, 9)))(images.flip(3), net).flip(3)
    torch.testing.assert_close(found, twice, rtol=0, atol=1e-6)


@torch.no_grad()
def test_windows_can_be_flipped_each() -> None:
    images, net = image(1, 1, 20, 9), network(2)
    flipped = Flips(axes=(1,))
    inner = flipped.build(dense_data((20, 9)))
    expected = sliding_window_inference(
        images, (8, 9), 4, lambda windows: inner(windows, net), overlap=0.25, mode="gaussian"
    )
    found = made((20, 9), roi_size=(8, 9), inferer=flipped)(images, net)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(DataError) as caught:
        SlidingWindow(roi_size=(8, 8)).build(dense_data((9, 9, 9)))
    assert str(caught.value) == (
        "sliding_window.roi_size has 2 numbers, [8, 8], and the images have 3 spatial dimensions. "
        "Give one for each."
    )
    whole = DataInfo(
        task=Task(names=("a", "b")), channels=1, spatial_shape=(9, 9), spatial_dims=2, outputs=2
    )
    with pytest.raises(DataError) as caught:
        SlidingWindow(roi_size=(8, 8)).build(whole)
    assert str(caught.value) == (
        "sliding_window is for outputs of each pixel, and the task multiclass wants numbers for an "
        "image as a whole. Use simple or flips."
    )
    with pytest.raises(ValueError) as refused:
        made((20, 20), roi_size=(8, 8))(image(1, 1, 20, 20), nn.AvgPool2d(2))
    assert str(refused.value) == (
        "the network gives (3, 1, 4, 4) for windows of (3, 1, 8, 8): after the channels they must "
        "be the same"
    )


@pytest.mark.parametrize(
    "values",
    [{"roi_size": (0, 8)}, {"roi_size": ()}, {"overlap": 1.0}, {"overlap": math.nan}],
)
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SlidingWindow(**{"roi_size": (8, 8), **values})


def test_it_is_a_step_of_a_configuration() -> None:
    builder = medpipe.PipelineBuilder().inferer(
        "sliding_window", roi_size=(8, 8), inferer=medpipe.step("flips", axes=(0,))
    )
    again = medpipe.PipelineBuilder.from_toml(builder.to_toml())
    step = again.build().configuration.inferer
    assert step == SlidingWindow(roi_size=(8, 8), inferer=Flips(axes=(0,), inferer=Simple()))
    assert pickle.loads(pickle.dumps(step)) == step


MEMORY = """
import sys, torch
from monai.inferers import sliding_window_inference
from support.dense_tasks import dense_data
from medpipe.builtin.segmentation.sliding_window import SlidingWindow

torch.set_num_threads(1)
shape, roi, classes = (128, 96, 96), (32, 32, 32), 14

def network(windows):  # next to no memory of its own
    return windows.expand(-1, classes, -1, -1, -1) * scale

def decide(outputs):
    return outputs.argmax(1, keepdim=True).to(torch.uint8)

def kilobytes(field):
    line = next(line for line in open("/proc/self/status") if line.startswith(field))
    return int(line.split()[1])

with torch.no_grad():
    scale = torch.linspace(-1, 1, classes).view(1, -1, 1, 1, 1)
    volume = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    inferer = SlidingWindow(roi_size=roi, sw_batch_size=1).build(dense_data(shape))
    warm = torch.zeros(1, 1, *roi)
    inferer.labels(warm, network, decide)
    sliding_window_inference(warm, roi, 1, network, mode="gaussian")
    open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
    before = kilobytes("VmRSS")
    if sys.argv[1] == "monai":
        labels = decide(sliding_window_inference(volume, roi, 1, network, mode="gaussian"))
    else:
        labels = inferer.labels(volume, network, decide)
    print(kilobytes("VmHWM") - before, int(labels.long().sum()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.long
def test_labels_take_less_memory_than_monais() -> None:
    """66 MB of logits, of which a quarter is held at a time."""
    found = {}
    for which in ("monai", "medpipe"):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, which],
            cwd=Path(__file__).parent,  # for `support`
            capture_output=True,
            text=True,
            check=True,
        )
        found[which] = tuple(map(int, done.stdout.split()))
    assert found["medpipe"][1] == found["monai"][1]
    assert found["medpipe"][0] < 0.7 * found["monai"][0], found


@pytest.mark.parametrize("shape", [(9, 12), (6, 8, 10)])
@torch.no_grad()
def test_shifts_are_taken_back_and_averaged(shape: tuple[int, ...]) -> None:
    kind: Any = nn.Conv2d if len(shape) == 2 else nn.Conv3d
    everywhere = kind(1, 3, 3, padding=1, padding_mode="circular").eval()
    given_ = image(2, 1, *shape)
    infer = Shifts(count=3).build(dense_data(shape))
    # To a convolution on a ring every place is alike, so that shifts change nothing.
    torch.testing.assert_close(infer(given_, everywhere), everywhere(given_))

    def strided(images: torch.Tensor) -> torch.Tensor:
        kept = torch.zeros_like(images)
        every = (..., *[slice(None, None, 2)] * len(shape))
        kept[every] = images[every]
        return kept

    axes = tuple(range(2, 2 + len(shape)))
    by_hand = sum(
        strided(given_.roll((by,) * len(shape), axes)).roll((-by,) * len(shape), axes)
        for by in range(3)
    )
    torch.testing.assert_close(infer(given_, strided), by_hand / 3)
