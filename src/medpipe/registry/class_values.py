"""Compare what a step class says of itself with what its kind says that it may be."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medpipe.steps import Step

_KINDS = ("medpipe.steps.", "medpipe.tasks.step")
"""Where the kinds are, whose annotations say what an attribute may be."""
_OTHERS = frozenset({"kind", "required", "name"})
"""Attributes that are looked at elsewhere."""
_TYPES: Mapping[Any, tuple[Any, str]] = {
    bool: (bool, "True or False"),
    str: (str, "text"),
    float: ((int, float), "a number"),
    Mapping: (Mapping, "a dictionary"),
}
_SHOWN = 60


def class_value_problems(cls: type[Step], step: Step | None = None) -> list[str]:
    """What is wrong with the values of a step class, each as the end of a sentence.

    A value that the library does not know would otherwise be taken for another one: a metric with
    the direction ``"up"`` for one of which less is better.

    Args:
        cls: A class of a kind of step.
        step: A step of it, for values that properties give; None: these are not looked at.
    """
    return [
        f"has {name} = {_shown(value)}, which must be {wanted}"
        for name, value, wanted in _wrong(cls, step)
    ]


def _wrong(cls: type[Step], step: Step | None) -> Iterator[tuple[str, object, str]]:
    declared: dict[str, Any] = {}
    for base in cls.__mro__:  # the kind itself comes last, and has the last word
        if base.__module__.startswith(_KINDS):
            declared.update(_declared(base))
    for name, expected in declared.items():
        value = inspect.getattr_static(cls, name, None)
        if inspect.isdatadescriptor(value):
            if step is None:
                continue
            value = getattr(step, name)
        if value is None and name in cls.required:
            continue  # it is reported as missing
        wanted = _mismatch(value, expected)
        if wanted:
            yield name, value, wanted


@cache
def _declared(base: type) -> Mapping[str, Any]:
    """The class variables that a class annotates, with their types."""
    names = vars(sys.modules[base.__module__])
    found = {}
    for name, annotation in vars(base).get("__annotations__", {}).items():
        if str(annotation).startswith("ClassVar[") and name not in _OTHERS:
            found[name] = get_args(eval(str(annotation), names))[0]  # medpipe's own source
    return found


def _mismatch(value: object, expected: Any) -> str:
    """What a value must be; empty where it is."""
    origin = get_origin(expected) or expected
    if origin is Literal:
        allowed = get_args(expected)
        known = isinstance(value, str) and value in allowed
        return "" if known else " or ".join(map(repr, allowed))
    if origin in _TYPES:
        fits, wanted = _TYPES[origin]
        number_of_bool = isinstance(value, bool) and origin is not bool
        return "" if isinstance(value, fits) and not number_of_bool else wanted
    several = isinstance(value, (tuple, list, set, frozenset))
    if several and all(isinstance(one, str) for one in value):  # type: ignore[attr-defined]
        return ""
    return "a set of texts" if origin is frozenset else "a tuple of texts"


def _shown(value: object) -> str:
    if isinstance(value, (str, int, float, tuple, list, set, frozenset, type(None))):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"an object of the type {type(value).__name__}"
