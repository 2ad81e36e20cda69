"""Groups from file names by regular expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from medpipe.builtin.datasets.listing.values import one_or_several
from medpipe.plugin import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    import attrs

Patterns: TypeAlias = str | tuple[str, ...]
Ungrouped: TypeAlias = Literal["error", "own", "drop"]


def captures(instance: object, attribute: attrs.Attribute[Any], value: Patterns | None) -> None:
    """Check that each is a regular expression with a capturing group.

    Raises:
        ValueError: One is not.
    """
    if value is None:
        return
    if not one_or_several(value):
        raise ValueError("the list is empty. Give a pattern, or leave it out.")
    for text in one_or_several(value):
        try:
            pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}.") from error
        if not pattern.groups:
            raise ValueError(
                f"{text!r} captures nothing. Put the part of the path that names the group (the "
                r"patient) in parentheses: (person\d+)."
            )


def compiled(patterns: Patterns) -> tuple[re.Pattern[str], ...]:
    """The patterns, ready for `group_of`."""
    return tuple(re.compile(pattern) for pattern in one_or_several(patterns))


def group_of(patterns: Sequence[re.Pattern[str]], id_: str) -> str | None:
    """The captures of the first pattern that matches the id, joined by ``/``.

    None where no pattern matches, or the first that does captures nothing.
    """
    for pattern in patterns:
        match = pattern.search(id_)
        if match:
            captured = [visible(text or "") for text in match.groups()]
            return "/".join(captured) if any(captured) else None
    return None
