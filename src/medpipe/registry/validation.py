"""Values that a class refuses: its validators are run, and their messages get the path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ItemError, Problem
from medpipe.registry.meanings import parameter_name
from medpipe.steps import Step

if TYPE_CHECKING:
    from collections.abc import Mapping


def join(path: str, key: str) -> str:
    """The path of the field `key` of the object at `path`."""
    return f"{path}.{key}" if path else key


def refusals(cls: type[Any], values: Mapping[str, Any], path: str) -> list[Problem]:
    """Run every validator, not only up to the first that fails."""
    trial: Any = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(trial, name, value)
    problems: list[Problem] = []
    for field in attrs.fields(cls):
        if field.validator is None or field.name not in values:
            continue
        try:
            field.validator(trial, field, values[field.name])
        except (ValueError, TypeError) as error:
            message = _plain(str(error.args[0] if error.args else error), field.name)
            item = f"[{error.index}]" if isinstance(error, ItemError) else ""
            name = parameter_name(field.name) + item
            problems.append(Problem(path=join(path, name), message=message))
        except AttributeError:
            # The validator reads a field that has a problem itself, or a default.
            continue
    return problems


def refused(cls: type[Any], message: str, given: Mapping[str, object], path: str) -> Problem:
    """What is wrong with values that are right one by one, or with one that is a default."""
    for field in attrs.fields(cls):
        name = parameter_name(field.name)
        if re.match(rf"'?{re.escape(field.name)}'? must ", message):
            remedy = ""
            if not given and issubclass(cls, Step):
                remedy = f"It is the default, which the author of {cls.name} has to mend."
            text = _plain(message, field.name)
            return Problem(path=join(path, name), message=text, remedy=remedy)
    return Problem(path=path, message=f"{message}.".replace("..", "."))


def _plain(message: str, name: str) -> str:
    """Reword a validator's message without the name, which the path has: ``must be >= 1, got 0``.

    The words of attrs' own validators are ``'width' must be >= 1: 0``.
    """
    found = re.fullmatch(rf"'{name}' (must be .*?): (.*)", message, flags=re.DOTALL)
    if found:
        message = f"{found[1]}, got {found[2]}"
    message = re.sub(rf"^'?{name}'? (?=must )", "", message)
    return message if message.endswith(".") else f"{message}."
