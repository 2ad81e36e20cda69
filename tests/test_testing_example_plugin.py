"""The example plugin passes every check for plugins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medpipe import Registry
from medpipe.testing.catalogue import outcomes_for

pytestmark = pytest.mark.long

PLUGIN = Path(__file__).parents[1] / "examples" / "plugins" / "medpipe-grades"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    sys.path.insert(0, str(PLUGIN))
    module = importlib.import_module("medpipe_grades")
    yield Registry.discover().with_plugin(module, name="medpipe-grades")
    sys.path.remove(str(PLUGIN))


def test_every_step_of_the_example_plugin_passes_every_check(registry: Registry) -> None:
    steps = registry.plugins[-1].steps
    found = [outcome for step in steps for outcome in outcomes_for(step, registry=registry)]
    assert len({outcome.step for outcome in found}) == len(steps) == 13
    assert [str(outcome) for outcome in found if outcome.status == "failed"] == []
