"""Divide the samples into training, validation and test, without a leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from medpipe.data.ids import portable_id
from medpipe.data.splits.folds import make_folds
from medpipe.data.splits.leak_messages import leak_lines
from medpipe.data.splits.leaks import find_leaks, predefined_splits
from medpipe.data.splits.units import count_of, share_out, units_of
from medpipe.errors import DataError
from medpipe.settings import FRACTION
from medpipe.steps import SPLITS, Split
from medpipe.system.files import sha256_of
from medpipe.system.text import counted

if TYPE_CHECKING:
    from medpipe.data.scanning.scan import Scan
    from medpipe.settings import SplitSettings
    from medpipe.steps import Sample, Task


def _frozen(splits: Mapping[str, Split]) -> Mapping[str, Split]:
    return dict(splits)


def _frozen_folds(folds: Mapping[str, int]) -> Mapping[str, int]:
    return dict(folds)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Splits(Mapping[str, Split]):
    """Which sample is in which split, by sample id.

    Attributes:
        by_id: The split of each id.
        folds: The fold of each id that the data don't place, from 0; empty without folds. It
            does not count for equality and digest.
    """

    by_id: Mapping[str, Split] = attrs.field(converter=_frozen)
    folds: Mapping[str, int] = attrs.field(factory=dict, converter=_frozen_folds)

    def __getitem__(self, sample_id: str) -> Split:
        return self.by_id[sample_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_id)

    def __len__(self) -> int:
        return len(self.by_id)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={count}" for split, count in self.counts.items())
        return f"Splits({counts})"

    @property
    def counts(self) -> dict[Split, int]:
        """How many samples each split has."""
        counted = Counter(self.by_id.values())
        return {split: counted[split] for split in SPLITS}

    def ids(self, split: Split) -> tuple[str, ...]:
        """The ids of a split, sorted."""
        return tuple(sorted(i for i, given in self.by_id.items() if given == split))

    @property
    def digest(self) -> str:
        """A SHA-256 of the whole: the same on every machine for the same split."""
        lines = sorted(f"{portable_id(i)}\0{split}\n" for i, split in self.by_id.items())
        return sha256_of("".join(lines).encode("utf-8"))


def make_splits(
    samples: Sequence[Sample], scan: Scan, settings: SplitSettings, task: Task
) -> Splits:
    """Divide the samples.

    Each split gets its share of every class (for ``multilabel`` of every finding, for
    ``regression`` of every tenth of each target's values). Samples of one group, and samples
    whose images decode to the same pixels, stay together; copies without a group are trained on
    while there is room, since in an evaluation they would count several times. Splits that the
    samples bring are kept; missing ones are divided from the rest, of which the settings are
    fractions. With folds the rest is first divided into them and one is held out; the others are
    the rest then. Nothing depends on the order of the samples, on the path separator, or on the
    process. `settings.file` is not read: see `medpipe.data.splits.split_file.read_splits`.

    Raises:
        DataError: The data bring a split and the settings ask for a fraction of it, or the splits
            that they bring divide a group or duplicates; there are too few groups for a split or
            a fold; or a class is left without training samples.
    """
    brought = _brought(samples)
    held = _held_split(brought, settings)
    carved = _carved_splits(brought, settings, held)
    splits = predefined_splits(samples)
    lines = leak_lines(find_leaks(samples, scan, splits), splits)
    if lines:
        raise DataError(
            "The data set's own splits divide groups or duplicate images:\n"
            + "".join(f"  {line}\n" for line in lines)
            + 'Correct these splits, set dataset.on_leak = "drop_train" to leave the training '
            "side out, or leave the splits out and let medpipe divide the samples."
        )
    free = [sample for sample in samples if splits[sample.id] == "training"]
    units = units_of(free, scan, settings.seed, task)
    folds: dict[str, int] = {}
    if held is not None and settings.folds is not None:
        folds = make_folds(units, settings.folds, free, task)
        fold = settings.fold or 0
        splits.update((id_, held) for id_, number in folds.items() if number == fold)
        units = [unit for unit in units if folds[unit.ids[0]] != fold]
    shares: dict[Split, float] = {"training": 1 - sum(carved.values()), **carved}
    placed = share_out(units, shares, task=task, home="training")
    for split, fraction in carved.items():
        if split not in placed:
            raise DataError(
                f"The split {split} is empty: there {count_of(units)} (patients, or images "
                "on their own; duplicates count as one), too few for "
                f"split.{split} = {fraction:g}. Raise it, set it to 0, or add data."
            )
    splits.update((i, p) for unit, p in zip(units, placed, strict=True) for i in unit.ids)
    require_training(samples, splits, task)
    return Splits(by_id=splits, folds=folds)


def _brought(samples: Sequence[Sample]) -> Counter[str]:
    """How many samples the data place in each split."""
    unknown = sorted((s for s in samples if s.split not in (None, *SPLITS)), key=lambda s: s.id)
    if unknown:
        raise DataError(
            f"The sample {unknown[0].id!r} has the split {unknown[0].split!r}. "
            f"The splits are {', '.join(SPLITS)}."
        )
    return Counter(sample.split for sample in samples if sample.split is not None)


def _held_split(brought: Mapping[str, int], settings: SplitSettings) -> Split | None:
    """The split that a fold is held out as; None without folds."""
    if settings.folds is None:
        return None
    if not brought["test"]:
        return "test"
    if brought["validation"]:
        raise DataError(
            "The data set has its own splits validation "
            f"({counted(brought['validation'], 'sample')}) and test "
            f"({counted(brought['test'], 'sample')}), so no fold can be held out. Leave "
            "split.folds out."
        )
    if settings.validation is not None:
        raise DataError(
            f"The data set has its own split test ({counted(brought['test'], 'sample')}), so each "
            "fold is held out for validation. Leave split.validation out."
        )
    return "validation"


def _carved_splits(
    brought: Mapping[str, int], settings: SplitSettings, held: Split | None
) -> dict[Split, float]:
    """The splits to be made, with their fractions of what is left then."""
    wanted: dict[Split, float | None] = {"validation": settings.validation, "test": settings.test}
    fractions: dict[Split, float] = {
        split: (0.0 if brought[split] or split == held else FRACTION)
        if fraction is None
        else fraction
        for split, fraction in wanted.items()
    }
    twice = [split for split, fraction in fractions.items() if fraction > 0 and brought[split]]
    if twice:
        have = " and ".join(f"{split} ({counted(brought[split], 'sample')})" for split in twice)
        remedy = " and ".join(f"split.{split}" for split in twice)
        noun = "split" if len(twice) == 1 else "splits"
        raise DataError(f"The data set has its own {noun} {have}. Leave {remedy} out.")
    return {split: fraction for split, fraction in fractions.items() if fraction > 0}


def require_training(samples: Sequence[Sample], splits: Mapping[str, Split], task: Task) -> None:
    """Require training samples of every class.

    Raises:
        DataError: One has none.
    """
    found_classes = task.step.classes([sample.label for sample in samples])
    if found_classes is None:
        return
    placed = [splits[sample.id] for sample in samples]
    classes = list(zip(found_classes, placed, strict=True))
    trained = {index for index, split in classes if split == "training"}
    for index, name in enumerate(task.names):
        if index not in trained:
            total = sum(1 for found, _ in classes if found == index)
            where = f"all its {total} samples are in other splits" if total else "it has no samples"
            if total == 1:
                where = "its only sample is in another split"
            raise DataError(
                f"The class {name!r} has no training samples: {where}. Remove the class, or give "
                "it more samples or groups."
            )
