"""Parameters as configurations and docstrings have them: their names, and what they mean."""

from __future__ import annotations

import inspect
import keyword
import re
from typing import Any

import attrs

_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {5,}.+)*)", re.MULTILINE)


def parameter_name(attribute: str) -> str:
    """How configurations call an attribute: ``class_`` is ``class``, a keyword of Python's."""
    name = attribute.removesuffix("_")
    return name if keyword.iskeyword(name) else attribute


def parameter_fields(cls: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """The fields that a class takes, by the names that configurations have for them."""
    return {parameter_name(field.name): field for field in attrs.fields(cls) if field.init}


def meanings(cls: type) -> dict[str, str]:
    """The entries of a class's section ``Attributes:`` and of its bases', each in one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = ((base.__doc__ and inspect.getdoc(base)) or "").partition("\nAttributes:\n")
        for names, text in _ENTRY.findall(section):
            said = " ".join(text.split())
            found.update((parameter_name(name), said) for name in names.split(", "))
    return found


def without_meanings(text: str) -> str:
    """A docstring without its section ``Attributes:``."""
    before, _, after = text.partition("\nAttributes:\n")
    return before + "\n".join(["", *after.split("\n\n", 1)[1:]]) if after else text
