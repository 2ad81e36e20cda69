"""The command line's arguments: kinds of steps, and what is prepared for parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

ANYTHING: Literal["all"] = "all"
StepKind = Literal[
    "dataset",
    "transform",
    "network",
    "trainer",
    "loss",
    "optimizer",
    "schedule",
    "metric",
    "inferer",
    "handler",
    "reader",
    "task",
    "export",
]
"""A kind of step, as an argument."""


def with_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments to parse: --allow-changed without a value stands for all.

    The next argument is taken as its value only if it is one of the allowed values.
    """
    given = list(arguments)
    if "--allow-changed" not in given:
        return given
    from medpipe.runs.resume import CHANGEABLE

    for place, argument in enumerate(given):
        later = given[place + 1] if place + 1 < len(given) else None
        if argument == "--allow-changed" and later not in (*CHANGEABLE, ANYTHING):
            given[place] = f"{argument}={ANYTHING}"
    return given
