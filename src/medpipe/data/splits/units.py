"""Units: samples that stay together (a patient, copies of an image), and their strata."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from medpipe.data.ids import portable_id
from medpipe.data.splits.iterative import divide_iteratively
from medpipe.data.splits.shares import Name, Unit, divide
from medpipe.system.text import counted, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Sample, Task


def units_of(samples: Sequence[Sample], scan: Scan, seed: int, task: Task) -> list[Unit]:
    """What can't be divided, in an order that looks random and depends on ids and seed alone."""
    names = [portable_id(sample.id) for sample in samples]
    order = sorted(range(len(samples)), key=names.__getitem__)
    ordered = [samples[index] for index in order]
    members = together(ordered, scan)
    strata = task.step.strata([sample.label for sample in ordered], task.names, len(members))
    alone = {numbers: tuple((stratum, 1) for stratum in sorted(numbers)) for numbers in set(strata)}
    firsts = (names[order[indices[0]]] for indices in members)
    keys = [hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in firsts]
    return [
        # Most are alone.
        Unit(ids=(ordered[indices[0]].id,), counts=alone[strata[indices[0]]])
        if len(indices) == 1
        else _unit(indices, ordered, strata)
        for _, indices in sorted(zip(keys, members, strict=True), key=_by_key)
    ]


def _by_key(pair: tuple[bytes, Sequence[int]]) -> tuple[bytes, int]:
    key, indices = pair
    return key, indices[0]


def _unit(
    indices: Sequence[int], ordered: Sequence[Sample], strata: Sequence[tuple[int, ...]]
) -> Unit:
    counts = Counter(stratum for index in indices for stratum in strata[index])
    return Unit(
        ids=tuple(ordered[index].id for index in indices),
        counts=tuple(sorted(counts.items())),
        copies=all(ordered[index].group is None for index in indices),
    )


def together(samples: Sequence[Sample], scan: Scan) -> list[Sequence[int]]:
    """The places of the samples that belong together by groups and copies, taken together."""
    root = list(range(len(samples)))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    def join(one: int, other: int) -> None:
        a, b = find(one), find(other)
        root[max(a, b)] = min(a, b)

    for first, *others in scan.of(samples).pixels.copies():
        for index in others:
            join(first, index)
    groups: dict[str, int] = {}
    for index, sample in enumerate(samples):
        if sample.group is not None:
            join(groups.setdefault(seen_as(sample.group), index), index)
    members: dict[int, list[int]] = {}
    for index in range(len(samples)):
        first = find(index)
        if first != index:
            members.setdefault(first, [first]).append(index)
    # A list for each of those that are alone would take more memory than all the rest.
    return [members.get(index, (index,)) for index in range(len(samples)) if root[index] == index]


def seen_as(group: str) -> str:
    """A group without invisible characters, or unchanged if it has no visible ones."""
    return visible(group) or group


def count_of(units: Sequence[Unit]) -> str:
    """``is 1 group``, ``are 3 groups``."""
    return f"{'is' if len(units) == 1 else 'are'} {counted(len(units), 'group')}"


def share_out(
    units: Sequence[Unit], shares: Mapping[Name, float], *, task: Task, home: Name | None = None
) -> list[Name]:
    """Choose a split for each unit; see `divide` and `divide_iteratively`."""
    dividing = divide if task.step.one_stratum else divide_iteratively
    return dividing(units, shares, home=home)
