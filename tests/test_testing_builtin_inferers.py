"""The built-in inferers pass all checks for plugins."""

from __future__ import annotations

import pytest

from medpipe.plugin import InfererStep
from support.checked import builtin, failures

pytestmark = pytest.mark.long

STEPS = builtin(InfererStep)


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_it_passes_all_checks(step: type[InfererStep]) -> None:
    assert failures(step) == {}


def test_all_are_tried() -> None:
    assert len(STEPS) >= 4
