"""Compare cell values, and merge values into classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from medpipe.plugin import visible

if TYPE_CHECKING:
    import attrs

Merged: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""The value or values of each name."""
Key: TypeAlias = str | Decimal

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def composed(text: str) -> str:
    """A text in Unicode NFC without invisible characters, to compare ids and classes."""
    return visible(text)


def composed_lines(text: str) -> str:
    """The same, but with line breaks kept."""
    return "\n".join(map(visible, text.splitlines())) if not text.isprintable() else visible(text)


def is_number(text: str) -> bool:
    """Whether a cell is a number: ``1``, ``-0.5``, ``2e3``."""
    return _NUMBER.fullmatch(text) is not None


def key(value: str | float) -> Key:
    """The key that equal values share: text without spaces around it, numbers as numbers.

    Numbers are exact decimals: as floats, identifiers of twenty digits could become equal.
    """
    text = composed(str(value))
    return Decimal(text) if is_number(text) else text


def one_or_several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """A value that is written alone or as a list, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def by_value(merged: Merged) -> dict[Key, str]:
    """The name of each value's class, by the value's key."""
    return {
        key(value): composed(name)
        for name, values in merged.items()
        for value in one_or_several(values)
    }


def merges_well(instance: object, attribute: attrs.Attribute[Any], value: Merged) -> None:
    """Check that every name has values, and every value one name.

    Raises:
        ValueError: It is not so.
    """
    if not value:
        raise ValueError("it is empty. Give each name its values, or leave it out.")
    named: dict[Key, str] = {}
    for name, values in value.items():
        if not one_or_several(values):
            raise ValueError(f"{name!r} has no value. Give it a value or a list of values.")
        for one in one_or_several(values):
            before = named.setdefault(key(one), name)
            if before != name:
                raise ValueError(f"{one!r} is a value of both {before!r} and {name!r}.")


def names_classes(instance: object, attribute: attrs.Attribute[Any], value: Merged) -> None:
    """Check what `merges_well` does, and that the names differ in Unicode form NFC.

    Raises:
        ValueError: It is not so.
    """
    merges_well(instance, attribute, value)
    if len({composed(name) for name in value}) < len(value):
        raise ValueError("two classes have the same name in Unicode form NFC.")


def several_classes(instance: object, attribute: attrs.Attribute[Any], value: Merged) -> None:
    """Check what `names_classes` does, and that there are two classes or more.

    Raises:
        ValueError: It is not so.
    """
    names_classes(instance, attribute, value)
    if len(value) == 1:
        raise ValueError(f"a classifier needs two or more classes, got {next(iter(value))!r}.")
