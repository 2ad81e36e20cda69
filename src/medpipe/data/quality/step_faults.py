"""Faults that a dataset step makes itself, which nobody can repair in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from medpipe.errors import Fault
    from medpipe.registry.registry import Registry
    from medpipe.steps import Dataset, DatasetStep

MADE = {"id": "ids", "label": "labels", "split": "splits"}
"""Kinds of faults in what a dataset step says of samples, and what that is called."""


def counted_samples(faults: Iterable[Fault]) -> int:
    """How many samples have faults; those that share an id have one fault each."""
    some = list(faults)
    sharing = [fault for fault in some if fault.kind == "id"]
    ids = {fault.sample for fault in sharing}
    return len(sharing) + len({fault.sample for fault in some} - ids)


def made_by_step(faults: Sequence[Fault], dataset: Dataset) -> list[Fault]:
    """Those that the library found in what the step said, and the step itself did not report."""
    reported = set(dataset.faults)
    return [fault for fault in faults if fault.kind in MADE and fault not in reported]


def titled(step: DatasetStep, registry: Registry) -> str:
    """A step with its distribution; empty for one of medpipe's own."""
    return "" if registry.is_builtin(step) else registry.title(step)


def blame(made: Sequence[Fault], step: str) -> str:
    """A sentence that names the step; empty where there is nothing to say.

    Args:
        made: What `made_by_step` gave.
        step: See `titled`; the ids and labels of medpipe's own steps are those of files.
    """
    if not made or not step:
        return ""
    what = " and ".join(word for kind, word in MADE.items() if any(f.kind == kind for f in made))
    return f"{step[0].upper()}{step[1:]} gives these {what}: correct them there."
