"""All checks of `medpipe.testing` over the built-in steps of a kind."""

from __future__ import annotations

from typing import Any

from medpipe.registry.registry import Registry
from medpipe.steps import Step
from medpipe.testing import checks_for

OF_IMPORTS = ("imports_nothing_heavy", "imports_quickly")
"""Checks that start processes, and say the same of all steps of a module.

How long medpipe itself takes to import is for other tests: on a busy machine it is anything.
"""


def builtin(kind: type[Step]) -> list[type[Step]]:
    """The built-in steps of a kind."""
    return [
        cls
        for plugin in Registry.discover().plugins
        for cls in plugin.steps
        if issubclass(cls, kind) and cls.__module__.startswith("medpipe.builtin.")
    ]


def failures(cls: type[Step]) -> dict[str, str]:
    """What a built-in step fails, by check, imports aside."""
    failed: dict[str, Any] = {}
    for check in checks_for(cls):
        if check.name in OF_IMPORTS:
            continue
        for outcome in check.outcomes(cls):
            if outcome.status == "failed":
                failed[check.name] = f"{outcome.example}: {outcome.said}"
            assert bool(outcome.said) == (outcome.status != "passed")
    return failed
