"""The built-in networks for segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.builtin.segmentation.residual_networks import FlexibleUNet, SegResNet, VNet
from medpipe.builtin.segmentation.transformers import UNETR, SwinUNETR
from medpipe.builtin.segmentation.unets import AttentionUNet, BasicUNet, DynUNet, UNet

if TYPE_CHECKING:
    from medpipe.plugin import NetworkStep

SEGMENTATION_NETWORKS: tuple[type[NetworkStep], ...] = (
    UNet,
    AttentionUNet,
    DynUNet,
    SegResNet,
    BasicUNet,
    VNet,
    FlexibleUNet,
    SwinUNETR,
    UNETR,
)
"""All built-in network steps for segmentation."""
