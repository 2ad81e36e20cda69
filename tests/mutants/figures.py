"""The share of changes that a test noticed, with what a sample leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from mutants.rooms import room_of

HEADER = """\
| room | places | tried | killed | too long | share | 95 % interval |
|---|---|---|---|---|---|---|"""

Ending = Literal["failed", "too long", "survived"]


@attrs.frozen
class Tried:
    """What came of a change.

    Attributes:
        file: From the root of the repository.
        line: Where it begins.
        kind: The name of the operator.
        occurrence: At which of the operator's places in the file.
        ending: Whether a test failed or took too long.
        change: The lines that it took away and put in.
    """

    file: str
    line: int
    kind: str
    occurrence: int
    ending: Ending
    change: list[str]


def interval(killed: int, tried: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(killed, tried).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def line(title: str, places: int, tried: Sequence[Tried]) -> str:
    """A line of the table; what took too long is among what was killed."""
    killed = sum(one.ending != "survived" for one in tried)
    too_long = sum(one.ending == "too long" for one in tried)
    if not tried:
        return f"| {title} | {places:,} | 0 | — | — | — | — |"
    low, high = interval(killed, len(tried))
    share = f"{killed / len(tried):.1%} | {low:.1%} to {high:.1%}".replace("%", " %")
    return f"| {title} | {places:,} | {len(tried)} | {killed} | {too_long} | {share} |"


def table(places: Mapping[str, int], tried: Sequence[Tried]) -> str:
    """The whole table."""
    lines = [HEADER]
    for room, count in places.items():
        lines.append(line(room, count, [one for one in tried if room_of(one.file) == room]))
    return "\n".join([*lines, line("all", sum(places.values()), tried)])


def survivors(tried: Iterable[Tried]) -> str:
    """What no test noticed, by file and line."""
    left = sorted((o for o in tried if o.ending == "survived"), key=lambda o: (o.file, o.line))
    return "\n".join(
        "\n    ".join([f"{one.file}:{one.line} {one.kind}", *one.change]) for one in left
    )
