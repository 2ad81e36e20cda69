"""What parameters mean, as the docstrings of their classes say it."""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {5,}.+)*)", re.MULTILINE)


def meanings(cls: type) -> dict[str, str]:
    """The entries of a class's section ``Attributes:`` and of its bases', each in one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = ((base.__doc__ and inspect.getdoc(base)) or "").partition("\nAttributes:\n")
        for names, text in _ENTRY.findall(section):
            said = " ".join(text.split())
            found.update((name, said) for name in names.split(", "))
    return found


def without_meanings(text: str) -> str:
    """A docstring without its section ``Attributes:``."""
    before, _, after = text.partition("\nAttributes:\n")
    return before + "\n".join(["", *after.split("\n\n", 1)[1:]]) if after else text
