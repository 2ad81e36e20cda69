"""Every built-in network passes every check for plugins."""

from __future__ import annotations

import pytest

from medpipe.builtin.networks import NETWORKS
from medpipe.builtin.segmentation.networks import SEGMENTATION_NETWORKS
from medpipe.plugin import NetworkStep
from support.checked import outcomes

pytestmark = pytest.mark.long

QUICK = {"resnet10", "resnet18", "unet", "basic_unet", "dynunet", "segresnet", "unetr"}
"""Those that take little."""
FAMILIES = {"densenet121", "efficientnet", "attention_unet"}
"""Those that stand for deeper and slower ones of their class."""


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    """Those of a network: deeper and slower ones of a family are rare."""
    if name in QUICK:
        return []
    return [pytest.mark.long] if name in FAMILIES else [pytest.mark.long, pytest.mark.rare]


STEPS = [
    pytest.param(step, id=step.name, marks=marks_of(step.name))
    for step in (*NETWORKS, *SEGMENTATION_NETWORKS)
]


@pytest.mark.parametrize("step", STEPS)
def test_a_built_in_network_passes_every_check(step: type[NetworkStep]) -> None:
    found = outcomes(step)
    assert [str(outcome) for outcome in found if outcome.status == "failed"] == []
    skipped = {outcome.check.name for outcome in found if outcome.status == "skipped"}
    assert skipped <= ({"takes_three_channels"} if step.name == "vnet" else set())
