"""Iterative stratification: give each split its share of every finding."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from medpipe.data.splits.shares import EPSILON, Missing, Name
from medpipe.tasks.strata import ALL, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medpipe.data.splits.shares import Unit

WEIGHT_OF_UNKNOWN = 0.3
"""How much a deviation counts for missing labels, measured against one for findings."""


def divide_iteratively(
    units: Sequence[Unit], shares: Mapping[Name, float], *, home: Name | None = None
) -> list[Name]:
    """Choose a split for each unit, where units hold several strata, as with findings.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of
    multi-label data", ECML PKDD 2011), on units of several samples: the rarest finding is shared
    out first, the largest unit first, each to the split that lacks most of that finding, in
    samples; then the next rarest among what is left. Then single units are moved while that
    lowers the sum of squared deviations from the shares, each over its share (Pearson's
    chi-square), so that rare findings count as much as frequent ones.

    Copies of one image go to the split `home` while there is room, and stay there.

    Args:
        units: In the order in which equals choose.
        shares: The fraction of each split, above 0; together 1.
        home: The split for copies. None: no split is different from the others.
    """
    missing = Missing(units, shares)
    chosen = missing.put_copies(units, home)
    kept = frozenset(chosen)
    for index, stratum in _rarest_first(units, kept):
        chosen[index] = _neediest(missing, stratum)
        missing.put(units[index], chosen[index])
    placed = [chosen[index] for index in range(len(units))]
    _refine(units, placed, missing, kept)
    return placed


def _rarest_first(units: Sequence[Unit], kept: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Each unit that is not assigned yet, with the stratum for which it is next."""
    holders: dict[int, list[tuple[int, int]]] = defaultdict(list)
    left: dict[int, int] = defaultdict(int)
    for index, unit in enumerate(units):
        if index not in kept:
            for stratum, count in unit.counts:
                holders[stratum].append((-count, index))
                left[stratum] += count
    done = set(kept)
    while left:
        # Findings before what is known of all samples, and the rarest of them first.
        stratum = min(left, key=lambda s: (s == ALL, s < 0, left[s], s))
        for _, index in sorted(holders[stratum]):
            if index not in done:
                done.add(index)
                yield index, stratum
                for other, count in units[index].counts:
                    left[other] -= count
        left = {s: count for s, count in left.items() if count > 0}


def _neediest(missing: Missing[Name], stratum: int) -> Name:
    def need(split: Name) -> tuple[float, float]:
        # Rounded, so that equals are equal on every machine.
        lack, lack_of_all = -missing.off(split, stratum), -missing.off(split, ALL)
        return round(lack, 9), round(lack_of_all, 9)

    return max(missing.counts, key=need)


def _refine(
    units: Sequence[Unit], placed: list[Name], missing: Missing[Name], kept: frozenset[int]
) -> None:
    """Move single units while that brings the splits nearer to their shares."""
    moved = True
    while moved:
        moved = False
        for index, unit in enumerate(units):
            if index in kept:
                continue
            source = placed[index]
            leaving = _change(missing, unit, source, -1)
            best, target = -EPSILON, source
            for split in missing.counts:
                if split != source:
                    change = leaving + _change(missing, unit, split, 1)
                    if change < best:
                        best, target = change, split
            if target != source:
                missing.put(unit, source, -1)
                missing.put(unit, target)
                placed[index] = target
                moved = True  # each move lowers the sum, so this ends


def _change(missing: Missing[Name], unit: Unit, split: Name, sign: int) -> float:
    """By how much the split's sum changes when the unit comes (1) or goes (-1)."""
    counts, target = missing.counts[split], missing.target[split]
    change = 0.0
    for stratum, n in unit.counts:
        share = target[stratum]
        squares = n * (n + 2 * sign * (counts[stratum] - share))
        change += squares / share * (WEIGHT_OF_UNKNOWN if stratum <= UNKNOWN else 1)
    return change
