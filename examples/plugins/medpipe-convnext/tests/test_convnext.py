"""What the paper says of the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from medpipe_convnext import ConvNeXt
from medpipe_convnext.blocks import ConvNeXtBlock

from medpipe.plugin import DataError, DataInfo, Multiclass, Task


def data_info(
    *, channels: int = 1, sides: tuple[int, ...] = (32, 32), outputs: int = 2
) -> DataInfo:
    names = tuple(f"class {number:04}" for number in range(outputs))
    return DataInfo(
        task=Task(kind=Multiclass(), names=names),
        channels=channels,
        spatial_shape=sides,
        spatial_dims=len(sides),
        outputs=outputs,
    )


def test_convnext_t_has_as_many_parameters_as_the_authors_networks() -> None:
    step = ConvNeXt(widths=(96, 192, 384, 768), depths=(3, 3, 9, 3))
    with torch.device("meta"):
        network = step.build(data_info(channels=3, sides=(224, 224), outputs=1000))
    assert sum(value.numel() for value in network.parameters()) == 28_589_128


@pytest.mark.parametrize("dims", [2, 3])
def test_a_block_is_that_of_the_paper(dims: int) -> None:
    torch.manual_seed(0)
    block = ConvNeXtBlock(6, dims=dims, kernel=3, scale=0.5, drop=0.0)
    images = torch.randn(2, 6, *(8,) * dims)
    state: dict[str, Any] = block.state_dict()
    # The authors' second form: linear layers on channels that come last.
    inner = block.depthwise(images).movedim(1, -1)
    inner = (inner - inner.mean(-1, keepdim=True)) / (
        inner.var(-1, keepdim=True, correction=0) + 1e-6
    ).sqrt()
    for layer in ("widen", "narrow"):
        inner = inner @ state[f"{layer}.weight"].flatten(1).T + state[f"{layer}.bias"]
        inner = torch.nn.functional.gelu(inner) if layer == "widen" else inner
    torch.testing.assert_close(block(images), images + 0.5 * inner.movedim(-1, 1))


def test_a_dropped_block_leaves_the_sample_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    block = ConvNeXtBlock(4, dims=2, kernel=3, scale=1.0, drop=0.5)
    images = torch.randn(1, 4, 8, 8).expand(400, -1, -1, -1)
    whole = block.eval()(images)[:1] - images[:1]
    changes = block.train()(images) - images
    sizes = changes.flatten(1).norm(dim=1) / whole.norm()
    assert ((sizes < 1e-6) | ((sizes - 2).abs() < 1e-4)).all()
    assert 0.4 < (sizes < 1e-6).float().mean() < 0.6


def test_images_that_are_too_small_are_refused_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"sides of 16 pixels.*have 12. Set network.stem lower"):
        ConvNeXt().build(data_info(sides=(12, 40)))
    assert ConvNeXt(stem=2).build(data_info(sides=(12, 40)))(torch.zeros(2, 1, 12, 40)).shape == (
        2,
        2,
    )


def test_as_many_depths_as_widths() -> None:
    with pytest.raises(ValueError, match="'depths' has 3 stages, and 'widths' 2"):
        ConvNeXt(widths=(8, 16))
