"""How many samples of each class, and how many groups, lie in each split."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medpipe.steps import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.steps import Sample, Split, Task

GROUPS = "(groups)"
"""The name of the row of groups."""


def class_counts(by_split: Mapping[Split, Sequence[Sample]], task: Task) -> dict[str, list[int]]:
    """The samples of each class in training, validation and test, where the task has classes."""
    found = [task.step.classes([sample.label for sample in by_split[split]]) for split in SPLITS]
    totals = [Counter(classes) for classes in found if classes is not None]
    if len(totals) < len(SPLITS):
        return {}
    return {name: [counts[number] for counts in totals] for number, name in enumerate(task.names)}


def group_counts(by_split: Mapping[Split, Sequence[Sample]]) -> list[int]:
    """The groups in training, validation and test; empty where no sample has one."""
    groups = [{sample.group for sample in by_split[split]} - {None} for split in SPLITS]
    return [len(some) for some in groups] if any(groups) else []
