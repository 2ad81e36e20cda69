"""DenseNets and ResNets written anew, whose tensors are named as torchvision's and timm's are.

After Huang et al. (arXiv:1608.06993) and He et al. (arXiv:1512.03385). Nothing of MONAI or medpipe
is used, so that tests compare with something else.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv2(functional.relu(self.norm2(self.conv1(functional.relu(self.norm1(x))))))
        return torch.cat([x, new], 1)


class DenseNet(nn.Module):
    """A DenseNet with a classifier; by default of 121 layers."""

    def __init__(
        self,
        blocks: tuple[int, ...] = (6, 12, 24, 16),
        growth: int = 32,
        init: int = 64,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv0"] = nn.Conv2d(3, init, 7, stride=2, padding=3, bias=False)
        parts["norm0"] = nn.BatchNorm2d(init)
        parts["relu0"] = nn.ReLU()
        parts["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
        channels = init
        for stage, layers in enumerate(blocks, 1):
            block: OrderedDict[str, nn.Module] = OrderedDict()
            for layer in range(1, layers + 1):
                block[f"denselayer{layer}"] = _DenseLayer(channels, growth)
                channels += growth
            parts[f"denseblock{stage}"] = nn.Sequential(block)
            if stage < len(blocks):
                between: OrderedDict[str, nn.Module] = OrderedDict()
                between["norm"] = nn.BatchNorm2d(channels)
                between["relu"] = nn.ReLU()
                between["conv"] = nn.Conv2d(channels, channels // 2, 1, bias=False)
                between["pool"] = nn.AvgPool2d(2)
                parts[f"transition{stage}"] = nn.Sequential(between)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.classifier(functional.relu(self.features(x)).mean((2, 3)))
        return output


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(channels, planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(new + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = _downsample(channels, planes * 4, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))
        new = self.bn3(self.conv3(new))
        return functional.relu(new + (x if self.downsample is None else self.downsample(x)))


def _downsample(channels: int, planes: int, stride: int) -> nn.Module | None:
    if stride == 1 and channels == planes:
        return None
    return nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))


class ResNet(nn.Module):
    """A ResNet with a last layer; by default of 18 layers."""

    def __init__(
        self,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        block = _Bottleneck if bottleneck else _Basic
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, count in enumerate(blocks):
            planes = 64 * 2**stage
            layers = []
            for index in range(count):
                layers.append(block(channels, planes, 2 if stage and not index else 1))
                channels = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        output: torch.Tensor = self.fc(x.mean((2, 3)))
        return output


PUBLIC = {
    "densenet121": lambda: DenseNet(),
    "resnet18": lambda: ResNet(),
    "resnet50": lambda: ResNet((3, 4, 6, 3), bottleneck=True),
}
"""By the names that torchvision and timm have for them."""


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with other values in batch norm than a new one has."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        network.train()
        network(torch.randn(2, 3, 64, 64))
    return network.eval()
