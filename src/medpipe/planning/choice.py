"""`Choice` and `Layout`: what is written into the dataset section, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.planning.names import patient_patterns

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen(kw_only=True)
class Choice:
    """A value of the configuration.

    Attributes:
        name: The key, such as ``root``.
        value: Plain data.
        reason: Why, as the end of a sentence; empty where it needs none.
    """

    name: str
    value: Any
    reason: str = ""


@attrs.frozen(kw_only=True)
class Layout:
    """The dataset section of a plan.

    Attributes:
        choices: Its keys in order, ``step`` first.
        sides: A name that says left and one that says right; None where there are none.
        questions: What a person should look at, as sentences.
    """

    choices: tuple[Choice, ...]
    sides: tuple[str, str] | None = None
    questions: tuple[str, ...] = ()

    @property
    def table(self) -> dict[str, Any]:
        """The section as plain data."""
        return {choice.name: choice.value for choice in self.choices}


def identity(ids: Sequence[str]) -> tuple[list[Choice], list[str]]:
    """What names of files tell of patients: settings, and what to ask."""
    pattern = patient_patterns(ids)
    if pattern is None:
        return [], ["The file names don't name patients: is each image of another patient?"]
    return [by_pattern(pattern)], [asked(pattern)]


def by_pattern(found: tuple[list[str], int]) -> Choice:
    """The setting that groups by patterns, of which so many patients were found."""
    patterns, count = found
    reason = f"names of files show {count} patients; each patient stays in one split"
    value = patterns[0] if len(patterns) == 1 else patterns
    return Choice(name="group_pattern", value=value, reason=reason)


def asked(found: tuple[list[str], int]) -> str:
    """What to ask of these patterns."""
    patterns, count = found
    told = " or ".join(map(repr, patterns))
    return f"Does {told} capture the patient in the names of files ({count} patients)?"
