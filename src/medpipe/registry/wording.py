"""Values and suggestions in messages."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from medpipe.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def suggestion(word: str, possible: Sequence[str]) -> str:
    """``Did you mean 'x'?`` for the most similar name, or nothing if none is similar."""
    near = difflib.get_close_matches(word, possible, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def distribution_meant(name: str, installed: Iterable[str]) -> str:
    """The installed distribution that a name is most like, with its prefix or without; or nothing.

    Args:
        name: As somebody wrote it: ``medpipe-coordat``, ``coordatt``.
        installed: The names of those that are there.
    """
    by_rest = {_rest(one): one for one in installed}
    near = difflib.get_close_matches(_rest(name), list(by_rest), n=1, cutoff=0.7)
    return by_rest[near[0]] if near else ""


def _rest(name: str) -> str:
    """A distribution's name without the prefix that most plugins have."""
    return normal_name(name).removeprefix("medpipe-")


def normal_name(distribution: str) -> str:
    """A distribution's normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


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
