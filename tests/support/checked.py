"""All checks of `medpipe.testing` over the built-in steps of a kind."""

from __future__ import annotations

from typing import Any

from medpipe.registry.registry import Registry
from medpipe.steps import Step
from medpipe.testing import checks_for

OF_MODULES = ("imports_nothing_heavy", "imports_quickly")
"""Checks that say the same of all steps of a module, and start processes."""


def builtin(kind: type[Step]) -> list[type[Step]]:
    """The built-in steps of a kind."""
    return [
        cls
        for plugin in Registry.discover().plugins
        for cls in plugin.steps
        if issubclass(cls, kind) and cls.__module__.startswith("medpipe.builtin.")
    ]


def failures(cls: type[Step]) -> dict[str, str]:
    """What a built-in step fails, by check; the first of a module also stands for it."""
    first = next(one for one in builtin(_kind(cls)) if one.__module__ == cls.__module__)
    failed: dict[str, Any] = {}
    for check in checks_for(cls):
        if check.name in OF_MODULES and cls is not first:
            continue
        for outcome in check.outcomes(cls):
            if outcome.status == "failed":
                failed[check.name] = f"{outcome.example}: {outcome.said}"
            assert bool(outcome.said) == (outcome.status != "passed")
    return failed


def _kind(cls: type[Step]) -> type[Step]:
    from medpipe.steps import STEP_KINDS

    return next(kind for kind in STEP_KINDS if issubclass(cls, kind))
