"""Predefined splits: which folder or cell value stands for training, validation or test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.builtin.datasets.listing.values import Merged, merges_well, one_or_several

if TYPE_CHECKING:
    from collections.abc import Mapping

    import attrs

    from medpipe.plugin import Part

PART_WORDS: Mapping[str, Part] = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""How configurations and tables call the parts."""


def names_parts(instance: object, attribute: attrs.Attribute[Any], value: Merged) -> None:
    """Check that the names are parts, each once, and that each value stands for one.

    Raises:
        ValueError: It is not so.
    """
    unknown = [name for name in value if name not in PART_WORDS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no part. The parts are training, validation and test.")
    parts = [PART_WORDS[name] for name in value]
    twice = [part for part in dict.fromkeys(parts) if parts.count(part) > 1]
    if twice:
        raise ValueError(f"the part {twice[0]} is named twice. Give it a list of values.")
    merges_well(instance, attribute, value)


def part_of_value(parts: Merged) -> dict[str, Part]:
    """The part that each value stands for."""
    return {
        value: PART_WORDS[name]
        for name, values in parts.items()
        for value in one_or_several(values)
    }
