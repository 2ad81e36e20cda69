"""From reader steps to what reads with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import StepError
from medpipe.registry.parameters import values_of
from medpipe.steps import ChosenReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medpipe.registry.registry import Registry
    from medpipe.steps import Dataset, ReaderStep


def chosen(steps: Iterable[ReaderStep], registry: Registry) -> tuple[ChosenReader, ...]:
    """The readers with their titles, and what decides what each gives."""
    readers = []
    for step in steps:
        made_by = registry.made_by(step)
        text = None if made_by is None else json.dumps(made_by, sort_keys=True)
        readers.append(ChosenReader(step=step, title=registry.title(step), made_by=text))
    return tuple(readers)


def with_readers(dataset: Dataset, readers: tuple[ChosenReader, ...], title: str) -> Dataset:
    """The data set, read with the readers of the configuration.

    They are what is recorded, and what new files are read with; so a data set has none of its own.

    Args:
        dataset: What was listed.
        readers: Those of the configuration.
        title: Who listed it, for the error.

    Raises:
        StepError: It names readers that the configuration does not have.
    """
    known = [reader.step for reader in readers]
    own: list[Any] = [getattr(one, "step", one) for one in dataset.reading.readers]
    other = [step for step in own if step not in known]
    if other:
        named = ", ".join(str(getattr(step, "name", step)) for step in other)
        ways = "; ".join(
            how_to_choose(step.name, values_of(step)) for step in other if attrs.has(type(step))
        )
        raise StepError(
            f"{title} gives a Dataset whose Reading has readers of its own ({named}), and those of "
            "the configuration decide, for new files too. Leave readers out of the Reading, and "
            f"choose the reader in the configuration: {ways or '[[reader]]'}."
        )
    return attrs.evolve(dataset, reading=attrs.evolve(dataset.reading, readers=readers))


def how_to_choose(name: str, parameters: Mapping[str, object]) -> str:
    """How a reader is chosen, on the command line and in Python.

    Args:
        name: The name of the reader step.
        parameters: Its parameters; None is left out.
    """
    given = [
        f"{key}={json.dumps(value, default=str)}"
        for key, value in parameters.items()
        if value is not None
    ]
    table = ", ".join([f'step="{name}"', *given])
    call = ", ".join([f'"{name}"', *given])
    return f"--set 'reader=[{{{table}}}]', in Python .reader({call})"
