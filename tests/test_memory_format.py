"""Networks are evaluated in channels last, whatever else they hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medpipe.training.memory_format import in_channels_last


class Scaled(nn.Module):
    """A convolution, a scale for each channel and a buffer of another number of dimensions."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.convolution = (nn.Conv2d if dims == 2 else nn.Conv3d)(2, 3, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(3, *(1,) * dims))
        self.register_buffer("other", torch.rand(1, 3, 2, 2, 2) if dims == 2 else torch.ones(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images) * self.scale


@pytest.mark.parametrize("dims", [2, 3])
def test_parameters_of_other_dimensions_stay_as_they_are(dims: int) -> None:
    torch.manual_seed(0)
    network = Scaled(dims).eval()
    images = torch.rand(2, 2, *(5,) * dims)
    strides = {name: value.stride() for name, value in network.state_dict().items()}
    weight = network.convolution.weight
    last = torch.channels_last if dims == 2 else torch.channels_last_3d
    with torch.no_grad(), in_channels_last(network) as run:
        assert weight.is_contiguous(memory_format=last)
        torch.testing.assert_close(run(images), network(images))
    assert network.convolution.weight is weight
    assert {name: value.stride() for name, value in network.state_dict().items()} == strides
