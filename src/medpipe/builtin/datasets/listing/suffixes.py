"""Validate file suffixes that a dataset step is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import attrs


def are_suffixes(
    instance: object, attribute: attrs.Attribute[Any], value: tuple[str, ...] | None
) -> None:
    """Check that each suffix begins with a dot.

    Raises:
        ValueError: One does not, or there is none.
    """
    if value is None:
        return
    if not value:
        raise ValueError('the list is empty. Name a suffix (".png"), or leave it out.')
    wrong = [suffix for suffix in value if not suffix.startswith(".") or len(suffix) < 2]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a suffix. Begin it with a dot: '.png'.")
