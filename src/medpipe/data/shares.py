"""Give each part its share of every class, by units that can't be divided."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

from medpipe.steps import PARTS, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def divide(units: Sequence[Unit], shares: Mapping[Part, float]) -> list[Part]:
    """Choose a part for each unit.

    Copies of one image go to training while there is room. Each other unit goes to the part that
    has got least of its share so far, in fractions of the share, so that large units don't always
    land in the largest part. Then units are moved while a stratum's count in a part is off by
    more than its largest unit. Where every unit holds one stratum, such a move always exists;
    otherwise the result is as good as single moves make it.

    Args:
        units: In the order in which they choose.
        shares: The fraction of each part, above 0; together 1.
    """
    parts = [part for part in PARTS if part in shares]
    missing = _Missing(units, shares)
    chosen: dict[int, Part] = {}
    # Copies of one image would count several times in an evaluation: they are trained on.
    for index, unit in enumerate(units):
        if unit.copies and missing.has_room("training", unit):
            missing.put(unit, "training")
            chosen[index] = "training"
    for index, unit in enumerate(units):
        if index not in chosen:
            chosen[index] = _neediest(parts, missing, unit)
            missing.put(unit, chosen[index])
    placed = [chosen[index] for index in range(len(units))]
    _repair(units, placed, missing, parts)
    return placed


def _neediest(parts: Sequence[Part], missing: _Missing, unit: Unit) -> Part:
    return max(parts, key=lambda part: missing.need(part, unit))


class _Missing:
    """What each part still lacks of its share of each stratum, in samples."""

    def __init__(self, units: Sequence[Unit], shares: Mapping[Part, float]) -> None:
        totals: dict[int, int] = defaultdict(int)
        for unit in units:
            for stratum, count in unit.counts:
                totals[stratum] += count
        everything = sum(totals.values())
        self.target = {part: {s: f * n for s, n in totals.items()} for part, f in shares.items()}
        self.counts = {part: dict.fromkeys(totals, 0) for part in shares}
        self.whole = {part: share * everything for part, share in shares.items()}
        self.held = dict.fromkeys(shares, 0)

    def off(self, part: Part, stratum: int) -> float:
        """How many samples the part has above its share (below: negative)."""
        return self.counts[part][stratum] - self.target[part][stratum]

    def need(self, part: Part, unit: Unit) -> tuple[float, bool, float]:
        """What of its share of the unit's strata the part lacks; the largest wins.

        Between equals training wins, so that a stratum's first unit is trained on, and then the
        part that lacks most on the whole.
        """
        target, counts = self.target[part], self.counts[part]
        lack = sum(n * (1 - counts[stratum] / target[stratum]) for stratum, n in unit.counts)
        return lack, part == "training", 1 - self.held[part] / self.whole[part]

    def has_room(self, part: Part, unit: Unit) -> bool:
        """Whether the part stays within its share of every stratum with the unit in it."""
        return all(self.off(part, stratum) + n <= EPSILON for stratum, n in unit.counts)

    def put(self, unit: Unit, part: Part, sign: int = 1) -> None:
        counts = self.counts[part]
        for stratum, count in unit.counts:
            counts[stratum] += sign * count
            self.held[part] += sign * count

    def gain(self, unit: Unit, source: Part, target: Part) -> float:
        """By how much a move changes the sum of squared deviations; below 0 is better."""
        return sum(
            2 * n * (n - self.off(source, stratum) + self.off(target, stratum))
            for stratum, n in unit.counts
        )


def _repair(
    units: Sequence[Unit], placed: list[Part], missing: _Missing, parts: Sequence[Part]
) -> None:
    """Move units until no deviation is above the stratum's largest unit, or nothing helps."""
    largest: dict[int, int] = {}
    holders: dict[int, list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        for stratum, count in unit.counts:
            largest[stratum] = max(largest.get(stratum, 0), count)
            holders[stratum].append(index)
    stuck: set[tuple[int, Part]] = set()
    while True:
        open_ = [
            (abs(missing.off(part, stratum)) - largest[stratum], stratum, part)
            for stratum in sorted(largest)
            for part in parts
            if (stratum, part) not in stuck
        ]
        if not open_:
            return
        excess, stratum, part = max(open_, key=lambda entry: entry[0])
        if excess <= EPSILON:
            return
        move = _best_move(units, placed, missing, holders[stratum], stratum, part)
        if move is None:
            stuck.add((stratum, part))
            continue
        index, target = move
        missing.put(units[index], placed[index], -1)
        missing.put(units[index], target)
        placed[index] = target
        # Each move lowers the sum of squares, so this ends, also with all open once more.
        stuck.clear()


def _best_move(
    units: Sequence[Unit],
    placed: Sequence[Part],
    missing: _Missing,
    holders: Sequence[int],
    stratum: int,
    part: Part,
) -> tuple[int, Part] | None:
    """The unit and its new part that lower the sum of squared deviations most."""
    too_many = missing.off(part, stratum) > 0
    best, found = -EPSILON, None
    for index in holders:
        source = placed[index]
        if too_many != (source == part):
            continue
        for target in missing.counts if too_many else (part,):
            if target == source:
                continue
            gain = missing.gain(units[index], source, target)
            if gain < best:
                best, found = gain, (index, target)
    return found
