"""The loss of several outputs against MONAI's, for lists and for stacked tensors."""

from __future__ import annotations

from typing import Any

import monai.losses
import pytest
import torch
from monai.networks.nets import DynUNet, SegResNetDS
from torch import nn
from torch.nn import functional

from medpipe.builtin.segmentation.losses import DiceCE
from medpipe.optimization.deep_supervision import deeply_supervised, first_output, heads_of
from support.dense_tasks import dense_data

DATA = dense_data((16, 12, 8), names=2)
SIDES = ((16, 12, 8), (8, 6, 4), (5, 3, 2))


def outputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, *sides, generator=generator) for sides in SIDES]


def labels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 3, (2, 1, *SIDES[0]), generator=generator, dtype=torch.uint8)


def test_it_is_monais_over_the_sum_of_its_weights() -> None:
    inner = monai.losses.DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    inner.dice.include_background = False
    theirs = monai.losses.DeepSupervisionLoss(inner)
    ours = deeply_supervised(DiceCE().build(DATA))
    expected = theirs(outputs(), labels().float()) / (1 + 1 / 2 + 1 / 4)
    torch.testing.assert_close(ours(outputs(), labels()), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", range(1, 20))
def test_labels_are_resampled_as_by_nearest_exact(side: int) -> None:
    seen: list[torch.Tensor] = []

    def watched(given: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.append(label)
        return given.sum() * 0

    given = labels()
    small: Any = [torch.zeros(2, 3, *SIDES[0]), torch.zeros(2, 3, side, 12, side)]
    deeply_supervised(watched)(small, given)
    expected = functional.interpolate(given.float(), (side, 12, side), mode="nearest-exact")
    assert seen[0] is given
    assert seen[1].dtype == torch.uint8
    assert torch.equal(seen[1].float(), expected)


def test_one_output_has_its_own_loss() -> None:
    plain = DiceCE().build(DATA)
    ours = deeply_supervised(plain)
    first = outputs()[0]
    assert torch.equal(ours(first, labels()), plain(first, labels()))
    assert torch.equal(ours([first], labels()), plain(first, labels()))  # type: ignore[arg-type]


@pytest.mark.parametrize("stacked", [True, False])
def test_networks_of_monai_are_trained_on_all_their_outputs(stacked: bool) -> None:
    """Each parameter gets a gradient, those of the deep heads too."""
    torch.manual_seed(0)
    network: nn.Module
    if stacked:
        network = DynUNet(
            3, 1, 3, [3] * 4, [1, 2, 2, 2], [2] * 3, (4, 8, 8, 8), deep_supervision=True,
            deep_supr_num=2,
        )  # fmt: skip
    else:
        network = SegResNetDS(3, init_filters=4, in_channels=1, out_channels=3, dsdepth=3)
    images = torch.randn(2, 1, 16, 16, 16)
    label = torch.randint(0, 3, (2, 1, 16, 16, 16), dtype=torch.uint8)
    given = network.train()(images)
    assert len(heads_of(given, 5)) == 3
    deeply_supervised(DiceCE().build(DATA))(given, label).backward()
    # The last bias of a convolution before a norm has none, so weights alone are looked at.
    heads = [
        parameter.grad
        for name, parameter in network.named_parameters()
        if "head" in name and name.endswith("weight")
    ]
    assert all(gradient is not None and bool(gradient.any()) for gradient in heads)
    with torch.no_grad():
        assert first_output(network.eval())(images).shape == (2, 3, 16, 16, 16)
        assert first_output(network.train())(images).shape == (2, 3, 16, 16, 16)


def test_a_denominator_stays() -> None:
    class Mean(nn.Module):
        def denominator(self, label: torch.Tensor) -> torch.Tensor:
            return (label != 255).sum()

        def forward(self, given: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return given.mean()

    loss: Any = deeply_supervised(Mean())
    assert int(loss.denominator(labels())) == labels().numel()
