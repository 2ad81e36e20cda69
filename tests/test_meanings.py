"""What parameters mean is said of every one, once."""

from __future__ import annotations

import inspect

import pytest

from medpipe import Registry
from medpipe.builtin.transforms.parameter_meanings import MEANINGS, OF_STEPS
from medpipe.builtin.transforms.transform_table import TABLE
from medpipe.cli.show import show
from medpipe.registry.meanings import meanings, without_meanings
from medpipe.registry.parameters import parameter_types
from medpipe.steps import STEP_KINDS

REGISTRY = Registry.discover()


@pytest.mark.parametrize("kind", STEP_KINDS, ids=lambda kind: kind.kind)
def test_every_parameter_of_a_built_in_step_has_a_meaning(kind: type) -> None:
    for name, cls in REGISTRY.names(kind).items():
        plugin = REGISTRY.plugin_of(cls)
        if plugin is not None and plugin.builtin:
            missing = [each for each in parameter_types(cls) if each not in meanings(cls)]
            assert not missing, (name, missing)


def test_no_meaning_is_left_of_a_parameter_that_is_gone() -> None:
    used = {(entry.name, name) for entry in TABLE for name in (*entry.parameters, *entry.own)}
    assert set(MEANINGS) <= {name for _, name in used}
    assert set(OF_STEPS) <= used


def test_entries_are_read_from_docstrings() -> None:
    class Base:
        """A base.

        Attributes:
            width: How wide,
                in voxels.
            low, high: Ends.
        """

    class Own(Base):
        """A step.

        Attributes:
            low: The lower end.

        It goes on.
        """

    assert meanings(Own) == {
        "width": "How wide, in voxels.",
        "low": "The lower end.",
        "high": "Ends.",
    }
    text = inspect.getdoc(Own) or ""
    assert without_meanings(text) == "A step.\n\nIt goes on."
    assert without_meanings("No section.") == "No section."


def test_show_says_what_parameters_mean(capsys: pytest.CaptureFixture[str]) -> None:
    show("transform", "rand_zoom")
    shown = capsys.readouterr().out
    assert "  min_zoom: a number or a list, each a number; default 0.9\n      The smallest" in shown
    assert "Attributes:" not in shown
