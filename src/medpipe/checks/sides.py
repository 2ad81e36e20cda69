"""Left and right in the names of classes and structures."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDES = ({"left", "right"}, {"l", "r"}, {"od", "os"})
"""Words in names that tell left from right; the last are those of eyes."""


def tells_sides(names: Sequence[str]) -> bool:
    """Whether one name says left and another right."""
    words = [set(_words(name)) for name in names]
    return any(_told_apart(pair, words) for pair in SIDES)


def other_sides(names: Sequence[str]) -> set[frozenset[int]]:
    """Pairs of names, by their numbers from 1, that differ in left and right alone."""
    found = set()
    for (one, some), (other, others) in combinations(enumerate(map(_words, names), 1), 2):
        if len(some) == len(others):
            differing = [{a, b} for a, b in zip(some, others, strict=True) if a != b]
            if differing and all(pair in SIDES for pair in differing):
                found.add(frozenset((one, other)))
    return found


def all_mirrored(names: Sequence[str]) -> list[list[int]] | None:
    """The pairs of `other_sides`, if each name is in exactly one; None otherwise."""
    pairs = sorted(sorted(pair) for pair in other_sides(names))
    numbers = sorted(number for pair in pairs for number in pair)
    return pairs if pairs and numbers == list(range(1, len(names) + 1)) else None


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.split(r"[\W_]+", name.casefold()))


def _told_apart(pair: set[str], words: Sequence[set[str]]) -> bool:
    found = [some & pair for some in words]
    return {word for some in found if len(some) == 1 for word in some} == pair
