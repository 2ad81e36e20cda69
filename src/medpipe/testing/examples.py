"""The examples that a class of steps gives to be tried, and why it gives none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import attrs

from medpipe.registry.wording import show
from medpipe.steps import Step
from medpipe.system.raised import described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GIVE = "Define the classmethod examples(cls, folder), or give every parameter a default."
"""What to do where a class gives no examples, for want of anything better."""


def examples_of(cls: type[Step], folder: Path) -> list[Step]:
    """The steps that a class gives to be tried.

    Args:
        cls: The class.
        folder: An empty folder for their files.

    Raises:
        TypeError: It has parameters without defaults, and no `Step.examples`; or these are no
            steps of the class.
    """
    given = list(cls.examples(folder))
    if not given or any(type(one) is not cls for one in given):
        raise TypeError(f"examples gave {given!r}, not steps of its class")
    return given


def why_none(cls: type[Step], error: BaseException) -> tuple[str, str]:
    """Why a class gives no examples, as the end of a sentence, and what to do.

    Args:
        cls: The class.
        error: What `examples_of` raised.
    """
    own = getattr(cls.examples, "__func__", None) is not cast("Any", Step.examples).__func__
    if own or "__attrs_attrs__" not in cls.__dict__:
        remedy = "Let its examples(cls, folder) return steps of the class with valid parameters."
        return f"its examples can't be made: {described(error)}", remedy if own else GIVE
    fields = {field.name: field for field in attrs.fields(cast("type[Any]", cls)) if field.init}
    lacking = [name for name, field in fields.items() if field.default is attrs.NOTHING]
    if lacking:
        several = len(lacking) > 1
        names = f"its parameter{'s' * several} {', '.join(lacking)}"
        return f"{names} {'have' if several else 'has'} no default", GIVE
    name = _named_in(str(error), fields)
    if name is None:
        return (
            f"its defaults are refused: {described(error)}",
            "Give defaults that its own validators allow, or define the classmethod "
            "examples(cls, folder) with values that they do.",
        )
    default = fields[name].default
    shown = "" if isinstance(default, attrs.Factory) else f", {show(default)},"  # type: ignore[arg-type]  # attrs has no type for it
    return (
        f"the default of its parameter {name}{shown} is refused: {described(error)}",
        f"Give {name} a default that its own validator allows, or define the classmethod "
        "examples(cls, folder) with values that it does.",
    )


def _named_in(text: str, fields: Mapping[str, Any]) -> str | None:
    """The parameter that a message names, if it is one: in quotes, as attrs does, or plainly."""
    for form in (r"'{}'", r"\b{}\b"):
        found = [name for name in fields if re.search(form.format(re.escape(name)), text)]
        if len(found) == 1:
            return found[0]
    return None
