"""Every built-in network passes every check for plugins."""

from __future__ import annotations

import pytest

from medpipe.builtin.networks import NETWORKS
from medpipe.builtin.segmentation.networks import SEGMENTATION_NETWORKS
from medpipe.plugin import NetworkStep
from support.checked import outcomes

QUICK = {"resnet10", "resnet18", "unet", "basic_unet", "dynunet", "segresnet", "unetr", "vnet"}
"""Those that take little; the others are as one of them, and take longer."""
STEPS = [
    pytest.param(step, id=step.name, marks=[] if step.name in QUICK else [pytest.mark.long])
    for step in (*NETWORKS, *SEGMENTATION_NETWORKS)
]


@pytest.mark.parametrize("step", STEPS)
def test_a_built_in_network_passes_every_check(step: type[NetworkStep]) -> None:
    found = outcomes(step)
    assert [str(outcome) for outcome in found if outcome.status == "failed"] == []
    skipped = {outcome.check.name for outcome in found if outcome.status == "skipped"}
    assert skipped <= ({"takes_three_channels"} if step.name == "vnet" else set())
