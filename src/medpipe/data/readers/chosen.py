"""From reader steps to what reads with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from medpipe.registry.parameters import unstructure
from medpipe.steps import ChosenReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medpipe.registry.registry import Registry
    from medpipe.steps import ReaderStep


def chosen(steps: Iterable[ReaderStep], registry: Registry) -> tuple[ChosenReader, ...]:
    """The readers with their titles, and what decides what each gives."""
    return tuple(
        ChosenReader(step=step, title=registry.title(step), made_by=_made_by(step, registry))
        for step in steps
    )


def _made_by(step: ReaderStep, registry: Registry) -> str | None:
    plugin = registry.plugin_of(step)
    if plugin is None or not plugin.version:
        return None  # nothing says when it has changed
    parameters = unstructure(step, name_of=registry.saved_name)
    return json.dumps({**parameters, "version": plugin.version}, sort_keys=True)
