"""All checks, by the kind of step that they are for."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from medpipe.testing.check import Check

if TYPE_CHECKING:
    from medpipe.steps import Step

MODULES = ("any_step", "transforms", "transform_forms", "networks", "trainers", "handlers")
"""The modules of this package that have checks, in the order in which they are told."""


@functools.cache
def all_checks() -> tuple[Check, ...]:
    """Every check, those of all kinds first."""
    modules = [importlib.import_module(f"medpipe.testing.{name}") for name in MODULES]
    return tuple(
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, Check) and one.tries.__module__ == module.__name__
    )


def checks_for(step: Step | type[Step]) -> tuple[Check, ...]:
    """The checks of a step, those of all kinds first.

    Args:
        step: The step, or its class.
    """
    cls = step if isinstance(step, type) else type(step)
    return tuple(one for one in all_checks() if one.fits(cls))
