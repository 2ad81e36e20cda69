"""Divide the samples into training, validation and test, without a leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from medpipe.data.ids import portable_id
from medpipe.data.splits.folds import make_folds
from medpipe.data.splits.leak_messages import leak_lines
from medpipe.data.splits.leaks import find_leaks, predefined_parts
from medpipe.data.splits.units import count_of, share_out, units_of, whole
from medpipe.errors import DataError
from medpipe.settings import FRACTION
from medpipe.steps import PARTS, Part
from medpipe.system.files import sha256_of

if TYPE_CHECKING:
    from medpipe.data.scanning.scan import Scan
    from medpipe.settings import SplitSettings
    from medpipe.steps import Sample, Task


def _frozen(parts: Mapping[str, Part]) -> Mapping[str, Part]:
    return dict(parts)


def _frozen_folds(folds: Mapping[str, int]) -> Mapping[str, int]:
    return dict(folds)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Split(Mapping[str, Part]):
    """Which sample is in which part, by sample id.

    Attributes:
        parts: The part of each id.
        folds: The fold of each id that the data don't place, from 0; empty without folds. It
            does not count for equality and digest.
    """

    parts: Mapping[str, Part] = attrs.field(converter=_frozen)
    folds: Mapping[str, int] = attrs.field(factory=dict, converter=_frozen_folds)

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
    ``regression`` of every tenth of each target's values). Samples of one group, and samples
    whose images decode to the same pixels, stay together; copies without a group are trained on
    while there is room, since in an evaluation they would count several times. Parts that the
    samples bring stand; what is missing is carved from the rest, of which the settings are
    fractions. With folds the rest is first divided into them and one is held out; the others are
    the rest then. Nothing depends on the order of the samples, on the path separator, or on the
    process. `settings.file` is not looked at: see `medpipe.data.splits.split_file.read_split`.

    Raises:
        DataError: The data bring a part and the settings ask for a fraction of it, or the parts
            that they bring divide a group or duplicates; there are too few groups for a part or
            a fold; or a class is left without training samples.
    """
    brought = _brought(samples)
    held = _held_part(brought, settings)
    carved = _carved_parts(brought, settings, held)
    parts = predefined_parts(samples)
    lines = leak_lines(find_leaks(samples, scan, parts), parts)
    if lines:
        raise DataError(
            "The parts that the data bring divide what must stay in one part:\n"
            + "".join(f"  {line}\n" for line in lines)
            + 'Correct the parts, set dataset.on_leak = "drop_train" to leave the training side '
            "out, or leave the parts out and let medpipe divide the samples."
        )
    free = [sample for sample in samples if parts[sample.id] == "training"]
    units = units_of(free, scan, settings.seed, task)
    folds: dict[str, int] = {}
    if held is not None and settings.folds is not None:
        folds = make_folds(units, settings.folds, free, task)
        fold = settings.fold or 0
        parts.update((id_, held) for id_, number in folds.items() if number == fold)
        units = [unit for unit in units if folds[unit.ids[0]] != fold]
    shares: dict[Part, float] = {"training": 1 - sum(carved.values()), **carved}
    placed = share_out(units, shares, task=task, home="training")
    for part, fraction in carved.items():
        if part not in placed:
            raise DataError(
                f"The part {part} is empty: there {count_of(units)} (patients, or images "
                "on their own; duplicates count as one), too few for "
                f"split.{part} = {fraction:g}. Raise it, set it to 0, or add data."
            )
    parts.update((i, p) for unit, p in zip(units, placed, strict=True) for i in unit.ids)
    require_training(samples, parts, task)
    return Split(parts=parts, folds=folds)


def _brought(samples: Sequence[Sample]) -> Counter[str]:
    """How many samples the data place in each part."""
    unknown = sorted((s for s in samples if s.split not in (None, *PARTS)), key=lambda s: s.id)
    if unknown:
        raise DataError(
            f"The sample {unknown[0].id!r} has the part {unknown[0].split!r}. "
            f"The parts are {', '.join(PARTS)}."
        )
    return Counter(sample.split for sample in samples if sample.split is not None)


def _held_part(brought: Mapping[str, int], settings: SplitSettings) -> Part | None:
    """The part that a fold is held out as; None without folds."""
    if settings.folds is None:
        return None
    if not brought["test"]:
        return "test"
    if brought["validation"]:
        raise DataError(
            f"The data bring the parts validation ({brought['validation']} samples) and test "
            f"({brought['test']} samples), so nothing is left to hold out: leave split.folds out."
        )
    if settings.validation is not None:
        raise DataError(
            f"The data bring the part test ({brought['test']} samples), so each fold is held out "
            "as the validation: leave split.validation out."
        )
    return "validation"


def _carved_parts(
    brought: Mapping[str, int], settings: SplitSettings, held: Part | None
) -> dict[Part, float]:
    """The parts to be carved, with their fractions of what is left then."""
    wanted: dict[Part, float | None] = {"validation": settings.validation, "test": settings.test}
    fractions: dict[Part, float] = {
        part: (0.0 if brought[part] or part == held else FRACTION) if fraction is None else fraction
        for part, fraction in wanted.items()
    }
    twice = [part for part, fraction in fractions.items() if fraction > 0 and brought[part]]
    if twice:
        have = " and ".join(f"{part} ({brought[part]} samples)" for part in twice)
        remedy = " and ".join(f"split.{part}" for part in twice)
        noun = "part" if len(twice) == 1 else "parts"
        raise DataError(f"The data bring the {noun} {have}, so leave {remedy} out.")
    return {part: fraction for part, fraction in fractions.items() if fraction > 0}


def require_training(samples: Sequence[Sample], parts: Mapping[str, Part], task: Task) -> None:
    """See that every class has training samples.

    Raises:
        DataError: One has none.
    """
    if task.kind != "multiclass":
        return
    classes = [(whole(sample.label), parts[sample.id]) for sample in samples]
    trained = {index for index, part in classes if part == "training"}
    for index, name in enumerate(task.names):
        if index not in trained:
            total = sum(1 for found, _ in classes if found == index)
            where = f"all its {total} samples are in other parts" if total else "it has no samples"
            raise DataError(
                f"The class {name!r} has no training samples: {where}. Remove the class, or give "
                "it more samples or groups."
            )
