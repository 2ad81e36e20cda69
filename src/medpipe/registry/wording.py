"""Values and suggestions in messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from medpipe.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence


def suggestion(word: str, possible: Sequence[str]) -> str:
    """``Did you mean 'x'?`` for the most similar name, or nothing if none is similar."""
    near = difflib.get_close_matches(word, possible, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def show(value: object) -> str:
    """A value as TOML writes it, short enough for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Step):
        return f"the {value.kind} step {value.name!r}"
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def a_step(kind: str) -> str:
    """``a loss step``, ``an optimizer step``."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} step"
