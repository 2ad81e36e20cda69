"""A small run on drawn images, with a ready network or a registered one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe import PipelineBuilder

if TYPE_CHECKING:
    from medpipe.plugin import DataInfo


def tiny(**loader: Any) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset("phantom", samples=120, size=32)
        .network(small_network)
        .trainer("supervised", max_epochs=2, learning_rate=3e-3)
        .loader(batch_size=16, **{"workers": 0, **loader})
        .split(validation=0.2, test=0.2)
    )


def small_network(data: DataInfo) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(data.channels, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, data.outputs),
    )


def registered(builder: PipelineBuilder) -> PipelineBuilder:
    return builder.network("resnet10", widen_factor=0.125, conv1_t_size=3)
