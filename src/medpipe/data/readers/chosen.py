"""From reader steps to what reads with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from medpipe.steps import ChosenReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medpipe.registry.registry import Registry
    from medpipe.steps import ReaderStep


def chosen(steps: Iterable[ReaderStep], registry: Registry) -> tuple[ChosenReader, ...]:
    """The readers with their titles, and what decides what each gives."""
    readers = []
    for step in steps:
        made_by = registry.made_by(step)
        text = None if made_by is None else json.dumps(made_by, sort_keys=True)
        readers.append(ChosenReader(step=step, title=registry.title(step), made_by=text))
    return tuple(readers)
