"""Predefined splits: which folder or cell value stands for training, validation or test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.builtin.datasets.listing.values import Merged, merges_well, one_or_several

if TYPE_CHECKING:
    from collections.abc import Mapping

    import attrs

    from medpipe.plugin import Split

SPLIT_WORDS: Mapping[str, Split] = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""The names of the splits in configurations and tables."""


def names_splits(instance: object, attribute: attrs.Attribute[Any], value: Merged) -> None:
    """Check that the names are splits, each once, and that each value stands for one.

    Raises:
        ValueError: They are not.
    """
    unknown = [name for name in value if name not in SPLIT_WORDS]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} is not a split. The splits are training, validation and test."
        )
    splits = [SPLIT_WORDS[name] for name in value]
    twice = [split for split in dict.fromkeys(splits) if splits.count(split) > 1]
    if twice:
        raise ValueError(f"the split {twice[0]} is named twice. Give it a list of values.")
    merges_well(instance, attribute, value)


def split_of_value(splits: Merged) -> dict[str, Split]:
    """The split that each value stands for."""
    return {
        value: SPLIT_WORDS[name]
        for name, values in splits.items()
        for value in one_or_several(values)
    }
