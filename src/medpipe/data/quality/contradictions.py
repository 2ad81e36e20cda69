"""Contradictions: the same image under different labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medpipe.data.ids import portable_id
from medpipe.data.splits.leak_messages import enumerated
from medpipe.steps import LabelImage
from medpipe.tasks.step import vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Sample, Task

NAMED = 3
"""How many contradictions a sentence names."""


def contradictions(samples: Sequence[Sample], scan: Scan, task: Task) -> str | None:
    """A sentence about images that appear under different labels; None where there are none.

    A missing label contradicts nothing.
    """
    found = contradicting(samples, scan)
    if not found:
        return None
    named = [_under_labels(same, task) for same in found[:NAMED]]
    verb = "image appears" if len(found) == 1 else "images appear"
    return f"{len(found)} {verb} under different labels: {enumerated(named, len(found))}."


def contradicting(samples: Sequence[Sample], scan: Scan) -> list[list[Sample]]:
    """The samples of each image that appears under different labels, sorted by id."""
    copies = ([samples[at] for at in places] for places in scan.of(samples).pixels.copies())
    found = [
        sorted(same, key=lambda sample: portable_id(sample.id))
        for same in copies
        if not any(isinstance(sample.label, LabelImage) for sample in same)
        and _differ([vector(sample.label) for sample in same])
    ]
    found.sort(key=lambda same: portable_id(same[0].id))
    return found


def _differ(labels: Sequence[tuple[float, ...]]) -> bool:
    columns = zip(*labels, strict=True)
    return any(len({value for value in c if not math.isnan(value)}) > 1 for c in columns)


def _under_labels(same: Sequence[Sample], task: Task) -> str:
    """The first image under each label: ``'a' (ill) = 'b' (well)``."""
    first: dict[str, str] = {}
    for sample in same:
        first.setdefault(label_text(sample, task), sample.id)
    return " = ".join(f"{id_!r} ({label})" for label, id_ in first.items())


def label_text(sample: Sample, task: Task) -> str:
    """A sample's label in the names of the task."""
    return task.step.label_text(sample.label, task.names)
