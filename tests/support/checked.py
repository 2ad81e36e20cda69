"""All checks of `medpipe.testing`, of one step, and over the built-in steps of a kind."""

from __future__ import annotations

from typing import Any

from medpipe.registry.registry import Registry
from medpipe.steps import Step
from medpipe.testing import Outcome, checks_for
from medpipe.testing.catalogue import outcomes_for

OF_IMPORTS = ("imports_nothing_heavy", "imports_quickly")
"""Checks that start processes, and say the same of all steps of a module."""


def builtin(kind: type[Step]) -> list[type[Step]]:
    """The built-in steps of a kind."""
    return [
        cls
        for plugin in Registry.discover().plugins
        for cls in plugin.steps
        if issubclass(cls, kind) and cls.__module__.startswith("medpipe.builtin.")
    ]


def outcomes(step: type[Step] | Step) -> list[Outcome]:
    """Of each check, and of each example of a class."""
    if isinstance(step, type):
        return list(outcomes_for(step))
    known: dict[str, Outcome] = {}
    registry = Registry.discover()
    return [check.outcome(step, registry, own=False, known=known) for check in checks_for(step)]


def failures(cls: type[Step]) -> dict[str, str]:
    """What a built-in step fails, by check, imports aside."""
    failed: dict[str, Any] = {}
    names = [check.name for check in checks_for(cls) if check.name not in OF_IMPORTS]
    for outcome in outcomes_for(cls, names=names):
        if outcome.status == "failed":
            failed[outcome.check.name] = f"{outcome.example}: {outcome.said}"
        assert bool(outcome.said) == (outcome.status != "passed")
    return failed
