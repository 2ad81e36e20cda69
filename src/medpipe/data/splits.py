"""Divide the samples into training, validation and test, without a leak and alike everywhere."""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from medpipe.data.scan import portable_id
from medpipe.data.shares import Unit, divide
from medpipe.errors import DataError
from medpipe.files import sha256_of
from medpipe.settings import FRACTION
from medpipe.steps import PARTS, Part

if TYPE_CHECKING:
    from medpipe.data.scan import Scan
    from medpipe.settings import SplitSettings
    from medpipe.steps import Sample, Task

BINS = 10
"""The quantile bins of a regression's target that are divided like classes."""
NAMED = 3
"""How many groups, duplicates or samples an error names."""


def _frozen(parts: Mapping[str, Part]) -> Mapping[str, Part]:
    return dict(parts)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Split(Mapping[str, Part]):
    """Which sample is in which part, by sample id.

    Attributes:
        parts: The part of each id.
    """

    parts: Mapping[str, Part] = attrs.field(converter=_frozen)

    def __getitem__(self, sample_id: str) -> Part:
        return self.parts[sample_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        counts = ", ".join(f"{part}={count}" for part, count in self.counts.items())
        return f"Split({counts})"

    @property
    def counts(self) -> dict[Part, int]:
        """How many samples each part has."""
        counted = Counter(self.parts.values())
        return {part: counted[part] for part in PARTS}

    def ids(self, part: Part) -> tuple[str, ...]:
        """The ids of a part, sorted."""
        return tuple(sorted(i for i, given in self.parts.items() if given == part))

    @property
    def digest(self) -> str:
        """A SHA-256 of the whole: the same on every machine for the same split."""
        lines = sorted(f"{portable_id(i)}\0{part}\n" for i, part in self.parts.items())
        return sha256_of("".join(lines).encode("utf-8"))


def make_split(samples: Sequence[Sample], scan: Scan, settings: SplitSettings, task: Task) -> Split:
    """Divide the samples.

    Each part gets its share of every class (for ``multilabel`` of every finding, for
    ``regression`` of every tenth of the values). Samples of one group, and samples whose images
    decode to the same pixels, stay together; copies without a group are trained on while there
    is room, since in an evaluation they would count several times. Parts that the samples bring
    stand; what is missing is carved from the rest, of which the settings are fractions. Nothing
    depends on the order of the samples, on the path separator, or on the process.
    `settings.file` is not looked at: see `medpipe.data.split_file.read_split`.

    Raises:
        DataError: The data bring a part and the settings ask for a fraction of it, or the parts
            that they bring divide a group or duplicates; there are too few groups for a part; or
            a class is left without training samples.
    """
    carved = _carved_parts(samples, settings)
    fixed: dict[str, Part] = {s.id: s.split for s in samples if s.split not in (None, "training")}
    given: dict[str, Part] = {s.id: fixed.get(s.id, "training") for s in samples}
    lines = divided(samples, scan, given)
    if lines:
        raise DataError(
            "The parts that the data bring divide what must stay in one part:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "Correct the parts, or leave them out and let medpipe divide the samples."
        )
    units = _units([s for s in samples if s.id not in fixed], scan, settings.seed, task)
    training = 1 - sum(carved.values())
    shares: dict[Part, float] = {"training": training, **carved}
    placed = divide(units, shares)
    for part, fraction in carved.items():
        if part not in placed:
            raise DataError(
                f"The part {part} is empty: there are {len(units)} groups (patients, or images "
                "on their own; duplicates count as one), too few for "
                f"split.{part} = {fraction:g}. Raise it, set it to 0, or add data."
            )
    parts = given | {i: p for unit, p in zip(units, placed, strict=True) for i in unit.ids}
    _require_training(samples, parts, task)
    return Split(parts={sample.id: parts[sample.id] for sample in samples})


def divided(samples: Sequence[Sample], scan: Scan, parts: Mapping[str, Part]) -> list[str]:
    """What must stay in one part and is in several: a line for groups, one for duplicates."""
    lines: list[str] = []
    groups = _crossing(((s.group, s.id) for s in samples if s.group is not None), parts)
    if groups:
        named = [f"{key!r} ({_parts_of(ids, parts)})" for key, ids in groups[:NAMED]]
        lines.append(f"{_count(len(groups), 'group')}: {_list(named, len(groups))}.")
    pixels = _crossing(((scan.fingerprints[s.id].pixels, s.id) for s in samples), parts)
    copies = sorted((ids for _, ids in pixels), key=lambda ids: portable_id(ids[0]))
    if copies:
        named = [_copies(ids, parts) for ids in copies[:NAMED]]
        noun = _count(len(copies), "set")
        lines.append(f"{noun} of duplicate images: {_list(named, len(copies))}.")
    return lines


def _carved_parts(samples: Sequence[Sample], settings: SplitSettings) -> dict[Part, float]:
    """The parts to be carved, with their fractions of what is not given."""
    brought = Counter(sample.split for sample in samples)
    unknown = sorted((s for s in samples if s.split not in (None, *PARTS)), key=lambda s: s.id)
    if unknown:
        raise DataError(
            f"The sample {unknown[0].id!r} has the part {unknown[0].split!r}. "
            f"The parts are {', '.join(PARTS)}."
        )
    wanted: dict[Part, float | None] = {"validation": settings.validation, "test": settings.test}
    fractions: dict[Part, float] = {
        part: (0.0 if brought[part] else FRACTION) if fraction is None else fraction
        for part, fraction in wanted.items()
    }
    twice = [part for part, fraction in fractions.items() if fraction > 0 and brought[part]]
    if twice:
        have = " and ".join(f"{part} ({brought[part]} samples)" for part in twice)
        remedy = " and ".join(f"split.{part} = 0" for part in twice)
        noun = "part" if len(twice) == 1 else "parts"
        raise DataError(f"The data bring the {noun} {have}, so set {remedy}.")
    return {part: fraction for part, fraction in fractions.items() if fraction > 0}


def _units(samples: Sequence[Sample], scan: Scan, seed: int, task: Task) -> list[Unit]:
    """What can't be divided, in an order that looks random and depends on ids and seed alone."""
    ordered = sorted(samples, key=lambda sample: portable_id(sample.id))
    root = list(range(len(ordered)))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, sample in enumerate(ordered):
        marks = [("pixels", scan.fingerprints[sample.id].pixels)]
        if sample.group is not None:
            marks.append(("group", sample.group))
        for mark in marks:
            a, b = find(first.setdefault(mark, index)), find(index)
            root[max(a, b)] = min(a, b)
    strata = _strata(ordered, task)
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(ordered)):
        members[find(index)].append(index)
    keyed: list[tuple[str, int, Unit]] = []
    for smallest, indices in members.items():
        counts: dict[int, int] = {}  # not a Counter: it costs more than all the rest
        for index in indices:
            for stratum in strata[index]:
                counts[stratum] = counts.get(stratum, 0) + 1
        unit = Unit(
            ids=tuple(ordered[index].id for index in indices),
            counts=tuple(sorted(counts.items())),
            copies=len(indices) > 1 and all(ordered[i].group is None for i in indices),
        )
        name = f"{seed}\0{portable_id(ordered[smallest].id)}"
        keyed.append((sha256_of(name.encode("utf-8")), smallest, unit))
    return [unit for _, _, unit in sorted(keyed, key=lambda key: key[:2])]


def _strata(samples: Sequence[Sample], task: Task) -> list[tuple[int, ...]]:
    """For each sample the numbers of the strata that it counts for."""
    if task.kind == "multiclass":
        return [(_whole(sample.label),) for sample in samples]
    if task.kind == "multilabel":
        # By finding, not by vector: most vectors of many findings are rare. -1 stands for all
        # samples, -2 for those without a finding.
        vectors = (_vector(sample.label) for sample in samples)
        found = (tuple(n for n, value in enumerate(vector) if value == 1) for vector in vectors)
        return [(-1, *(findings or (-2,))) for findings in found]
    values = [_vector(sample.label)[0] for sample in samples]
    known = sorted(value for value in values if not math.isnan(value))
    return [
        (-1,) if math.isnan(value) else (bisect.bisect_left(known, value) * BINS // len(known),)
        for value in values
    ]


def _require_training(samples: Sequence[Sample], parts: Mapping[str, Part], task: Task) -> None:
    if task.kind != "multiclass":
        return
    classes = [(_whole(sample.label), parts[sample.id]) for sample in samples]
    trained = {index for index, part in classes if part == "training"}
    for index, name in enumerate(task.names):
        if index not in trained:
            total = sum(1 for found, _ in classes if found == index)
            where = f"all its {total} samples are in other parts" if total else "it has no samples"
            raise DataError(
                f"The class {name!r} has no training samples: {where}. Remove the class, or give "
                "it more samples or groups."
            )


def _whole(label: float | tuple[float, ...]) -> int:
    value = _vector(label)[0]
    return -1 if math.isnan(value) else int(value)


def _vector(label: float | tuple[float, ...]) -> tuple[float, ...]:
    return label if isinstance(label, tuple) else (label,)


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
