"""The parameters of steps and settings: structure, validate and unstructure plain data.

A class's annotations are the types of its parameters. Values are checked strictly (neither
``true`` nor ``"7"`` is a number), and all problems are collected with their paths; an object is
made only if there are none. Names are looked up among the given steps only.
"""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from medpipe.errors import Problem
from medpipe.registry.class_values import class_value_problems
from medpipe.registry.meanings import parameter_fields, parameter_name
from medpipe.registry.validation import join, refusals, refused
from medpipe.registry.wording import a_step, show, suggestion
from medpipe.registry.wrapped import Wrapped, wrap
from medpipe.steps import STEP_KINDS, Step
from medpipe.system.plain_numbers import plain
from medpipe.system.text import unseen

ResolveStep: TypeAlias = Callable[[type[Step], str], type[Step]]
"""Finds the class of a step by kind and name; raises LookupError with a message for users."""

MISSING = object()


@attrs.frozen
class StepReference:
    """A step by its name, with parameters, as `medpipe.step` returns it."""

    name: str
    parameters: Mapping[str, object] = attrs.field(factory=dict)


def step(name: str, /, **parameters: object) -> StepReference:
    """Name a step that is a parameter of another, such as a trainer's loss.

    Args:
        name: The registered name.
        parameters: The step's parameters.

    Example:
        ``.trainer("supervised", loss=medpipe.step("focal", gamma=2.0))``
    """
    return StepReference(name, parameters)


def parameter_types(cls: type[Any]) -> Mapping[str, Any]:
    """The parameters of an attrs class and their types, in order.

    They are cached at registration, when the class's module is sure to be loaded.

    Raises:
        NameError: A type can't be resolved, for example because it is imported for type
            checkers only.
    """
    if cls not in _RESOLVED:
        fields = parameter_fields(cls)
        written = any(isinstance(field.type, str) for field in fields.values())
        hints = typing.get_type_hints(cls) if written else {f.name: f.type for f in fields.values()}
        _RESOLVED[cls] = {name: hints[field.name] for name, field in fields.items()}
    return _RESOLVED[cls]


def values_of(given: Any) -> dict[str, Any]:
    """The values of an object's parameters by name."""
    fields = parameter_fields(type(given))
    return {name: getattr(given, field.name) for name, field in fields.items()}


BACKSLASHES = (
    "In double quotes a backslash begins an escape, as in TOML. Write a Windows path in "
    r"single quotes ('C:\data\images'), or with forward slashes."
)
_RESOLVED: dict[type[Any], Mapping[str, Any]] = {}


def structure(
    cls: type[Any], table: Mapping[str, object], *, path: str, resolve: ResolveStep
) -> tuple[Any, list[Problem]]:
    """Make an object of an attrs class from plain data.

    Args:
        cls: The class: a step or settings.
        table: The parameters by name.
        path: The table's path, with which the problems' paths begin.
        resolve: Finds nested steps.

    Returns:
        The object (None if there are problems), and every problem.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    known = parameter_types(cls)
    for key in table:
        if key not in known:
            names = ", ".join(known) or "no parameters"
            hint = suggestion(key, list(known)) or f"{_called(cls)} takes {names}."
            problems.append(
                Problem(path=join(path, key), message="unknown parameter.", remedy=hint)
            )
    for field in attrs.fields(cls):
        name = parameter_name(field.name)
        if name not in known:
            continue
        where = join(path, name)
        if name in table:
            value, found = convert(known[name], table[name], path=where, resolve=resolve)
            problems += found
            if not found:
                values[field.name] = value
        elif field.default is attrs.NOTHING:
            message = f"required: {describe_type(known[name])}."
            problems.append(Problem(path=where, message=message))
    problems += refusals(cls, values, path)
    if problems:
        return None, problems
    try:
        return cls(**values), []
    except (ValueError, TypeError) as error:
        return None, [refused(cls, str(error), table, path)]


def unstructure(value: object, *, name_of: Callable[[type[Step]], str]) -> Any:
    """Turn a value back into plain data that TOML can hold.

    A parameter that is None is left out: TOML has no null, and None is then its default.

    Args:
        value: A step, settings or a parameter.
        name_of: The name under which a configuration finds a step's class.
    """
    if attrs.has(type(value)):
        table = {"step": name_of(type(value))} if isinstance(value, Step) else {}
        for key, item in values_of(value).items():
            if item is not None:
                table[key] = unstructure(item, name_of=name_of)
        return table
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, tuple):
        return [unstructure(item, name_of=name_of) for item in value]
    if isinstance(value, Mapping):
        return {key: unstructure(item, name_of=name_of) for key, item in value.items()}
    return value


def convert(
    expected: Any, value: object, *, path: str, resolve: ResolveStep
) -> tuple[Any, list[Problem]]:
    """Check a value against a type; return the converted value, or the problems."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        value = plain(value)  # NumPy and pandas numbers, for example from a search
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(expected, value, path=path, resolve=resolve)
    if isinstance(expected, type) and issubclass(expected, Step):
        return _convert_step(expected, value, path=path, resolve=resolve)
    if attrs.has(expected):
        table = values_of(value) if isinstance(value, expected) else value
        if isinstance(table, Mapping):
            return structure(expected, table, path=path, resolve=resolve)
    elif origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return _convert_items(expected, value, path=path, resolve=resolve)
    elif origin in (Mapping, dict) and isinstance(value, Mapping):
        member = typing.get_args(expected)[1]
        each = ((key, join(path, key), item) for key, item in value.items())
        items = {key: convert(member, item, path=at, resolve=resolve) for key, at, item in each}
        found = [problem for _, problems in items.values() for problem in problems]
        return {key: item for key, (item, _) in items.items()}, found
    else:
        if expected is Path and isinstance(value, str) and _has_escapes(value):
            said = f"holds {', '.join(unseen(value))}: {value!r}."
            return None, [Problem(path=path, message=said, remedy=BACKSLASHES)]
        converted = _convert_scalar(expected, value)
        if converted is not MISSING:
            return converted, []
    return None, [_mismatch(expected, value, path)]


def describe_type(expected: Any) -> str:
    """Describe a parameter's type in words."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        some = [describe_type(item) for item in arguments if item is not types.NoneType]
        return " or ".join(dict.fromkeys(some))
    if origin is Literal:
        return _one_of([repr(item) for item in arguments])
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each {describe_type(arguments[0])}"
        return f"a list of {len(arguments)}: " + ", ".join(map(describe_type, arguments))
    if origin in (Mapping, dict):
        return "a table"
    if isinstance(expected, type) and issubclass(expected, Step):
        return a_step(expected.kind)
    if attrs.has(expected):
        return "a table"
    return _SCALARS[expected]


def unsupported(expected: Any) -> str | None:
    """Why a configuration can't hold a parameter of this type; None if it can."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType, tuple):
        inner = [item for item in arguments if item not in (types.NoneType, Ellipsis)]
        return next((reason for reason in map(unsupported, inner) if reason), None)
    if origin in (Mapping, dict):
        if arguments[0] is not str:
            return f"{expected} has keys that are not str"
        return unsupported(arguments[1])
    if origin is Literal or expected in _SCALARS:
        return None
    if isinstance(expected, type) and expected in STEP_KINDS:
        return None
    if isinstance(expected, type) and attrs.has(expected) and not issubclass(expected, Step):
        reasons = (unsupported(item) for item in parameter_types(expected).values())
        return next((reason for reason in reasons if reason), None)
    shown = getattr(expected, "__name__", expected)
    return (
        f"a configuration can't hold {shown}; use bool, int, float, str, Path, Literal, tuple, "
        "Mapping[str, ...], an attrs class or a step kind"
    )


_SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}


def _convert_scalar(expected: Any, value: object) -> Any:
    """Convert a value to a bool, int, float, str, Path or Literal; MISSING if it is none."""
    if typing.get_origin(expected) is Literal:
        same = (item for item in typing.get_args(expected) if item == value)
        return next((item for item in same if type(item) is type(value)), MISSING)
    if expected is bool or isinstance(value, bool):
        return value if expected is bool and isinstance(value, bool) else MISSING
    if expected is float and isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:
            return MISSING
        return number if math.isfinite(number) else MISSING
    if expected is Path and isinstance(value, (str, Path)):
        return Path(value) if str(value) and "\0" not in str(value) else MISSING
    if expected is int and isinstance(value, int) and not -(2**63) <= value < 2**63:
        return MISSING  # TOML's whole numbers have 64 bits
    if expected in (int, str) and isinstance(value, expected):
        return expected(value)
    return MISSING


def _has_escapes(path: str) -> bool:
    r"""Whether a path that does not exist holds control characters, as from ``"\t"`` in TOML."""
    return any(sign in path for sign in "\b\t\n\f\r") and not os.path.lexists(path)


def _convert_union(
    expected: Any, value: object, *, path: str, resolve: ResolveStep
) -> tuple[Any, list[Problem]]:
    members = typing.get_args(expected)
    if value is None and types.NoneType in members:
        return None, []
    members = tuple(member for member in members if member is not types.NoneType)
    for member in members:
        if typing.get_origin(member) is Literal:
            converted = _convert_scalar(member, value)
            if converted is not MISSING:
                return converted, []
    others = [member for member in members if typing.get_origin(member) is not Literal]
    if len(members) == 1:
        return convert(members[0], value, path=path, resolve=resolve)
    named = isinstance(value, (str, Mapping, StepReference, Step))
    if len(others) == 1 and _is_kind(others[0]) and named:
        # A step's own problems say more than what else it might have been.
        return convert(others[0], value, path=path, resolve=resolve)
    # An exact type first, so that 1 stays a whole number where `float | int` is allowed.
    for member in sorted(members, key=lambda member: member is not type(value)):
        converted, found = convert(member, value, path=path, resolve=resolve)
        if not found:
            return converted, []
    return None, [_mismatch(expected, value, path)]


def _is_kind(expected: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, Step)


def _convert_step(
    kind: type[Step], value: object, *, path: str, resolve: ResolveStep
) -> tuple[Any, list[Problem]]:
    if isinstance(value, Step):
        if not isinstance(value, kind):
            return None, [_mismatch(kind, value, path)]
        if isinstance(value, Wrapped):
            return value, []
        if odd := class_value_problems(type(value)):
            said = [f"{type(value).__name__} {problem}." for problem in odd]
            return None, [Problem(path=path, message=one) for one in said]
        return structure(type(value), values_of(value), path=path, resolve=resolve)
    if isinstance(value, str):
        value = {"step": value}
    if isinstance(value, StepReference):
        value = {"step": value.name, **value.parameters}
    if not isinstance(value, Mapping):
        ready = wrap(kind, value)
        return (ready, []) if ready else (None, [_mismatch(kind, value, path)])
    parameters = dict(value)
    # A table may also call it `name`, which is no parameter of any step.
    name = parameters.pop("step", parameters.pop("name", None))
    if not isinstance(name, str):
        message = f"required: the name of {a_step(kind.kind)}."
        if name is not None:
            message = f"must be the name of {a_step(kind.kind)}, got {show(name)}."
        return None, [Problem(path=join(path, "step"), message=message)]
    try:
        cls = resolve(kind, name)
    except LookupError as error:
        return None, [Problem(path=join(path, "step"), message=str(error))]
    return structure(cls, parameters, path=path, resolve=resolve)


def _convert_items(
    expected: Any, value: Sequence[object], *, path: str, resolve: ResolveStep
) -> tuple[Any, list[Problem]]:
    members = typing.get_args(expected)
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(members) != len(value):
        return None, [_mismatch(expected, value, path)]
    pairs = [
        convert(member, item, path=f"{path}[{index}]", resolve=resolve)
        for index, (member, item) in enumerate(zip(members, value, strict=True))
    ]
    return tuple(item for item, _ in pairs), [found for _, some in pairs for found in some]


def _mismatch(expected: Any, value: object, path: str) -> Problem:
    message = f"must be {describe_type(expected)}, got {show(value)}."
    choices = [item for item in typing.get_args(expected) if isinstance(item, str)]
    remedy = suggestion(value, choices) if isinstance(value, str) else ""
    return Problem(path=path, message=message, remedy=remedy)


def _one_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _called(cls: type[Any]) -> str:
    return cls.name if issubclass(cls, Step) else "It"
