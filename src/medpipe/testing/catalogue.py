"""All checks, by the kind of step that they are for."""

from __future__ import annotations

import functools
import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from medpipe.registry.registry import Registry
from medpipe.testing.check import Check, Outcome
from medpipe.testing.examples import examples_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.steps import Step

MODULES = (
    "any_step",
    "transforms",
    "transform_forms",
    "networks",
    "datasets",
    "dataset_files",
    "readers",
    "tasks",
    "task_scores",
    "losses",
    "optimization",
    "schedules",
    "metrics",
    "mask_measures",
    "inferers",
    "trainers",
    "trainer_calls",
    "handlers",
    "trackers",
    "exports",
)
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


def outcomes_for(
    cls: type[Step], *, registry: Registry | None = None, names: Sequence[str] = ()
) -> Iterator[Outcome]:
    """What becomes of all checks of a class of steps, which are made once for all.

    Args:
        cls: The class.
        registry: Where the name of a step is looked up; by default the installed plugins.
        names: The names of checks to try; empty: all.

    Yields:
        An outcome for each check and each of its examples, in the order of the checks.
    """
    wanted = [one for one in checks_for(cls) if not names or one.name in names]
    looked_up = registry or Registry.discover()
    with tempfile.TemporaryDirectory() as folder:
        try:
            steps = examples_of(cls, Path(folder))
        except Exception:
            for one in wanted:
                yield from one.outcomes(cls, registry=looked_up)
            return
        known: list[dict[str, Outcome]] = [{} for _ in steps]
        for one in wanted:
            for step, found in zip(steps, known, strict=True):
                yield one.outcome(step, looked_up, own=True, known=found)


def checks_for(step: Step | type[Step]) -> tuple[Check, ...]:
    """The checks of a step, those of all kinds first.

    Args:
        step: The step, or its class.
    """
    cls = step if isinstance(step, type) else type(step)
    return tuple(one for one in all_checks() if one.fits(cls))
