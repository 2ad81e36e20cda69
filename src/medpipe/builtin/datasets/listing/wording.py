"""Lists and counts in messages of the dataset steps."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMED = 3
"""How many rows or files a sentence names."""


def listed(names: Iterable[str]) -> str:
    """``'a', 'b'``."""
    return ", ".join(repr(name) for name in names)


def counted(number: int, noun: str) -> str:
    """``1 row``, ``3 rows``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def looked_in(path: str | os.PathLike[str]) -> str:
    """Where a missing relative path was looked for: `` in the working directory /home/me``."""
    try:
        return "" if os.path.isabs(path) else f" in the working directory {os.getcwd()}"  # noqa: PTH109, PTH117
    except OSError:  # the working directory was removed
        return ""


def rows_named(numbers: Sequence[int]) -> str:
    """``row 3``, ``rows 3 and 9``, ``rows 3, 9, 14 and 9 more``."""
    shown = [str(number) for number in numbers[:NAMED]]
    if len(numbers) > NAMED:
        shown.append(f"{len(numbers) - NAMED:,} more")
    named = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"row{'s' * (len(numbers) > 1)} {named}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the most similar name, in any case, or nothing."""
    lowered = {other.lower(): other for other in known if other}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f" Did you mean {lowered[near[0]]!r}?" if near else ""
