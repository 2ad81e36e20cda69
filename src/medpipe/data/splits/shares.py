"""Stratification: give each split its share of every class, by whole units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Name = TypeVar("Name", bound=Hashable)
"""What a split is called: ``training``, or the number of a fold."""

EPSILON = 1e-9
"""Below this a difference of counts or their squares is rounding."""


@attrs.frozen(kw_only=True)
class Unit:
    """Samples that stay together.

    Attributes:
        ids: The samples.
        counts: How many of them belong to each stratum (a class, a finding, a bin), by its
            number.
        copies: Whether they are nothing but copies of one image.
    """

    ids: tuple[str, ...]
    counts: tuple[tuple[int, int], ...]
    copies: bool = False


def divide(
    units: Sequence[Unit], shares: Mapping[Name, float], *, home: Name | None = None
) -> list[Name]:
    """Choose a split for each unit, where most units hold one stratum, as with classes.

    Copies of one image go to the split `home` while there is room. Each other unit goes to the
    split that has got least of its share so far, in fractions of the share, so that large units
    don't always land in the largest split. Then units are moved while a stratum's count in a split
    is off by more than its largest unit. Where every unit holds one stratum, such a move always
    exists; otherwise the result is as good as single moves make it. For units of many strata see
    `medpipe.data.splits.iterative.divide_iteratively`.

    Args:
        units: In the order in which they choose.
        shares: The fraction of each split, above 0; together 1.
        home: Also what wins between equals, so that a stratum's first unit is there. None: no
            split is different from the others.
    """
    missing = Missing(units, shares)
    chosen = missing.put_copies(units, home)
    for index, unit in enumerate(units):
        if index not in chosen:
            chosen[index] = _neediest(missing, unit, home)
            missing.put(unit, chosen[index])
    placed = [chosen[index] for index in range(len(units))]
    _repair(units, placed, missing)
    return placed


def _neediest(missing: Missing[Name], unit: Unit, home: Name | None) -> Name:
    lacks = missing.lacks(unit)
    most = max(lacks)
    if lacks.count(most) == 1:
        return missing.splits[lacks.index(most)]
    equal = [split for split, lack in zip(missing.splits, lacks, strict=True) if lack == most]
    return max(equal, key=lambda split: (split == home, missing.lack_of_all(split)))


class Missing(Generic[Name]):
    """What each split still lacks of its share of each stratum, in samples."""

    def __init__(self, units: Sequence[Unit], shares: Mapping[Name, float]) -> None:
        totals: dict[int, int] = defaultdict(int)
        for unit in units:
            for stratum, count in unit.counts:
                totals[stratum] += count
        everything = sum(totals.values())
        self.target = {split: {s: f * n for s, n in totals.items()} for split, f in shares.items()}
        self.counts = {split: dict.fromkeys(totals, 0) for split in shares}
        self.splits = list(shares)
        self._each = [(self.counts[split], self.target[split]) for split in shares]
        self.whole = {split: share * everything for split, share in shares.items()}
        self.held: dict[Name, int] = dict.fromkeys(shares, 0)

    def off(self, split: Name, stratum: int) -> float:
        """How many samples the split has above its share (below: negative)."""
        return self.counts[split][stratum] - self.target[split][stratum]

    def lacks(self, unit: Unit) -> list[float]:
        """What of its share of the unit's strata each split lacks, in fractions of the share."""
        if len(unit.counts) == 1:  # as almost always
            ((stratum, n),) = unit.counts
            return [n * (1 - counts[stratum] / target[stratum]) for counts, target in self._each]
        return [
            sum(n * (1 - counts[stratum] / target[stratum]) for stratum, n in unit.counts)
            for counts, target in self._each
        ]

    def lack_of_all(self, split: Name) -> float:
        """What of its share of everything the split lacks, as a fraction of the share."""
        return 1 - self.held[split] / self.whole[split]

    def put_copies(self, units: Sequence[Unit], home: Name | None) -> dict[int, Name]:
        """Put copies of one image into `home` while there is room; their places.

        In an evaluation they would count several times: they are trained on.
        """
        chosen: dict[int, Name] = {}
        if home is not None:
            for index, unit in enumerate(units):
                if unit.copies and self.has_room(home, unit):
                    self.put(unit, home)
                    chosen[index] = home
        return chosen

    def has_room(self, split: Name, unit: Unit) -> bool:
        """Whether the split stays within its share of every stratum with the unit in it."""
        return all(self.off(split, stratum) + n <= EPSILON for stratum, n in unit.counts)

    def put(self, unit: Unit, split: Name, sign: int = 1) -> None:
        """Put the unit into the split, or with -1 take it out."""
        counts = self.counts[split]
        for stratum, count in unit.counts:
            counts[stratum] += sign * count
            self.held[split] += sign * count

    def gain(self, unit: Unit, source: Name, target: Name) -> float:
        """By how much a move changes the sum of squared deviations; below 0 is better."""
        return sum(
            2 * n * (n - self.off(source, stratum) + self.off(target, stratum))
            for stratum, n in unit.counts
        )


def _repair(units: Sequence[Unit], placed: list[Name], missing: Missing[Name]) -> None:
    """Move units until no deviation is above the stratum's largest unit, or nothing helps."""
    largest: dict[int, int] = {}
    holders: dict[int, list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        for stratum, count in unit.counts:
            largest[stratum] = max(largest.get(stratum, 0), count)
            holders[stratum].append(index)
    stuck: set[tuple[int, Name]] = set()
    while True:
        open_ = [
            (abs(missing.off(split, stratum)) - largest[stratum], stratum, split)
            for stratum in sorted(largest)
            for split in missing.counts
            if (stratum, split) not in stuck
        ]
        if not open_:
            return
        excess, stratum, split = max(open_, key=lambda entry: entry[0])
        if excess <= EPSILON:
            return
        move = _best_move(units, placed, missing, holders[stratum], stratum, split)
        if move is None:
            stuck.add((stratum, split))
            continue
        index, target = move
        missing.put(units[index], placed[index], -1)
        missing.put(units[index], target)
        placed[index] = target
        # Each move lowers the sum of squares, so this ends, also with all open once more.
        stuck.clear()


def _best_move(
    units: Sequence[Unit],
    placed: Sequence[Name],
    missing: Missing[Name],
    holders: Sequence[int],
    stratum: int,
    split: Name,
) -> tuple[int, Name] | None:
    """The unit and its new split that lower the sum of squared deviations most."""
    too_many = missing.off(split, stratum) > 0
    best, found = -EPSILON, None
    for index in holders:
        source = placed[index]
        if too_many != (source == split):
            continue
        for target in missing.counts if too_many else (split,):
            if target == source:
                continue
            gain = missing.gain(units[index], source, target)
            if gain < best:
                best, found = gain, (index, target)
    return found
