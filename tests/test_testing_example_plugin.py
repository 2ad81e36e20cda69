"""The example plugin passes every check for plugins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medpipe.plugin import Step
from support.checked import outcomes

PLUGIN = Path(__file__).parents[1] / "examples" / "plugins" / "medpipe-grades"


@pytest.fixture(scope="module")
def steps() -> Iterator[list[type[Step]]]:
    sys.path.insert(0, str(PLUGIN))
    module = importlib.import_module("medpipe_grades")
    yield [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Step) and one.__module__ == module.__name__
    ]
    sys.path.remove(str(PLUGIN))


def test_every_step_of_the_example_plugin_passes_every_check(steps: list[type[Step]]) -> None:
    found = [outcome for step in steps for outcome in outcomes(step)]
    assert len({outcome.step for outcome in found}) == len(steps) >= 13
    assert [str(outcome) for outcome in found if outcome.status == "failed"] == []
