"""What must stay in one part and is in several: found, named, and left out where that is asked."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import attrs

from medpipe.data.scan import portable_id
from medpipe.data.splitting.units import seen_as, together, vector
from medpipe.steps import PARTS, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from medpipe.data.scan import Scan
    from medpipe.steps import Dataset, Sample, Task

NAMED = 3
"""How many groups or duplicates an error or a note names."""


def divided(samples: Sequence[Sample], scan: Scan, parts: Mapping[str, Part]) -> list[str]:
    """What must stay in one part and is in several: a line for groups, one for duplicates."""
    lines: list[str] = []
    if len(set(parts.values())) < 2:  # as wherever the data bring none
        return lines
    groups = _crossing(((seen_as(s.group), s.id) for s in samples if s.group is not None), parts)
    if groups:
        named = [f"{key!r} ({_parts_of(ids, parts)})" for key, ids in groups[:NAMED]]
        lines.append(f"{_count(len(groups), 'group')}: {_list(named, len(groups))}.")
    looks = scan.of(samples).pixels
    pixels = _crossing(zip(looks, [s.id for s in samples], strict=True), parts)
    copies = sorted((ids for _, ids in pixels), key=lambda ids: portable_id(ids[0]))
    if copies:
        named = [_copies(ids, parts) for ids in copies[:NAMED]]
        noun = _count(len(copies), "set")
        lines.append(f"{noun} of duplicate images: {_list(named, len(copies))}.")
    return lines


def brought_parts(samples: Iterable[Sample]) -> dict[str, Part]:
    """The parts that the data bring; what is for the library to divide counts as training."""
    return {sample.id: sample.split or "training" for sample in samples}


def without_leaks(
    dataset: Dataset, scan: Scan, parts: Mapping[str, Part], *, source: str = "data bring"
) -> Dataset:
    """Leave out the training side of what crosses parts, with a note about it.

    Groups and copies combine: where an image of one patient is an image of another's too, both
    count as one. Of what belongs together and is in several parts only the test samples stay;
    where none of it is in the test, only the validation samples.

    Args:
        dataset: The samples.
        scan: Their fingerprints.
        parts: Of each sample.
        source: What brings the parts, for the note.
    """
    lines = divided(dataset.samples, scan, parts)
    if not lines:
        return dataset
    dropped: dict[str, Part] = {}
    for indices in together(dataset.samples, scan):
        ids = [dataset.samples[index].id for index in indices]
        stays = max((parts[id_] for id_ in ids), key=PARTS.index)
        dropped.update((id_, parts[id_]) for id_ in ids if parts[id_] != stays)
    counts = Counter(dropped.values())
    sides = " and ".join(f"{counts[part]} of {part}" for part in PARTS if counts[part])
    verb = "sample was" if len(dropped) == 1 else "samples were"
    note = (
        f"{len(dropped)} {verb} left out ({sides}), since the parts that the {source} divide "
        f"what must stay in one part: {' '.join(lines)}"
    )
    return attrs.evolve(
        dataset,
        samples=[sample for sample in dataset.samples if sample.id not in dropped],
        notes=(*dataset.notes, note),
    )


def contradictions(samples: Sequence[Sample], scan: Scan, task: Task) -> str | None:
    """A sentence about images that appear under different labels; None where there are none.

    A missing label contradicts nothing.
    """
    found = contradicting(samples, scan)
    if not found:
        return None
    named = [_under_labels(same, task) for same in found[:NAMED]]
    verb = "image appears" if len(found) == 1 else "images appear"
    return f"{len(found)} {verb} under different labels: {_list(named, len(found))}."


def contradicting(samples: Sequence[Sample], scan: Scan) -> list[list[Sample]]:
    """The samples of each image that appears under different labels, sorted by id."""
    copies = ([samples[at] for at in places] for places in scan.of(samples).pixels.copies())
    found = [
        sorted(same, key=lambda sample: portable_id(sample.id))
        for same in copies
        if _differ([vector(sample.label) for sample in same])
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
    values = vector(sample.label)
    if task.kind == "multiclass":
        return task.names[int(values[0])]
    if task.kind == "regression":
        return ", ".join("missing" if math.isnan(value) else f"{value:g}" for value in values)
    names = [name for name, value in zip(task.names, values, strict=True) if value == 1]
    return ", ".join(names) or "nothing found"


def _crossing(
    marked: Iterable[tuple[str, str]], parts: Mapping[str, Part]
) -> list[tuple[str, list[str]]]:
    """The marks whose ids are in several parts, sorted, each with its sorted ids."""
    members: dict[str, list[str]] = defaultdict(list)
    for mark, sample_id in marked:
        members[mark].append(sample_id)
    return [
        (mark, sorted(ids, key=portable_id))
        for mark, ids in sorted(members.items())
        if len(ids) > 1 and len({parts[sample_id] for sample_id in ids}) > 1
    ]


def _parts_of(ids: Iterable[str], parts: Mapping[str, Part]) -> str:
    found = {parts[sample_id] for sample_id in ids}
    return ", ".join(part for part in PARTS if part in found)


def _copies(ids: Sequence[str], parts: Mapping[str, Part]) -> str:
    """The first copy in each part: ``'a' (training) = 'b' (test)``."""
    first: dict[Part, str] = {}
    for sample_id in ids:
        first.setdefault(parts[sample_id], sample_id)
    return " = ".join(f"{sample_id!r} ({part})" for part, sample_id in first.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _list(named: Sequence[str], total: int) -> str:
    more = f" and {total - len(named)} more" if total > len(named) else ""
    return ", ".join(named) + more
