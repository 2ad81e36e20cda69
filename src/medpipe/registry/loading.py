"""Load a plugin; its errors are recorded and do not affect other plugins."""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from typing import Any, cast

import attrs
import pluggy

from medpipe import hookspecs
from medpipe.hookspecs import PROJECT, hook_of
from medpipe.registry.parameters import parameter_types, unsupported
from medpipe.steps import STEP_KINDS, Step, TransformStep
from medpipe.system.distribution import own_distribution

RESERVED_PARAMETERS = frozenset({"step", "name", "kind", "random", "build", "before", "ready"})


@attrs.frozen(kw_only=True)
class Plugin:
    """A plugin that was found, whether or not it could be loaded.

    Attributes:
        name: The name of its entry point.
        distribution: The installed distribution that contains it.
        version: The distribution's version; empty for a plugin added in a script.
        steps: The step classes that it offers; none if it could not be loaded.
        error: Why it could not be loaded; None if it was.
        seconds: How long it took to import.
    """

    name: str
    distribution: str
    version: str
    steps: tuple[type[Step], ...] = ()
    error: str | None = None
    seconds: float = attrs.field(default=0.0, eq=False)

    @property
    def builtin(self) -> bool:
        """Whether it is medpipe's own, whose step names can't be overridden."""
        return self.distribution == own_distribution()

    @property
    def title(self) -> str:
        """Its distribution and version, for errors and lists."""
        return f"{self.distribution} {self.version}".strip()


class _BrokenError(Exception):
    """An error in a plugin, worded for its author."""


def load_plugin(
    load: Callable[[], object], *, name: str, distribution: str, version: str
) -> Plugin:
    """Import a plugin and collect its steps: all of them, or none and the cause."""
    start = time.perf_counter()
    steps: tuple[type[Step], ...] = ()
    error: str | None = None
    try:
        with redirect_stdout(sys.stderr):  # stdout is for the command's own output
            steps = _collect(load(), name)
    except KeyboardInterrupt:
        raise
    except _BrokenError as problem:
        error = str(problem)
    except BaseException as problem:  # SystemExit or the plugin's own classes
        error = f"importing it raised {_shown(problem)}."
    return Plugin(
        name=name,
        distribution=distribution,
        version=version,
        steps=steps,
        error=error,
        seconds=time.perf_counter() - start,
    )


def not_installed(distribution: str) -> Plugin:
    """The record of a plugin that ``MEDPIPE_PLUGINS`` names but that is not installed."""
    error = "MEDPIPE_PLUGINS names it, but no installed distribution of that name has a plugin."
    return Plugin(name="", distribution=distribution, version="", error=error)


def step_class_problems(cls: type[Step], kind: type[Step]) -> list[str]:
    """The problems of a step class, worded for its author.

    Args:
        cls: The class.
        kind: The kind that it is offered as.
    """
    if not isinstance(cast("object", cls), type):
        return [f"{cls!r} is no class"]
    if not issubclass(cls, kind):
        return [f"{cls.__name__} is no {kind.__name__}"]
    if "__attrs_attrs__" not in cls.__dict__:
        return [f"{cls.__name__} lacks the decorator @attrs.frozen(kw_only=True)"]
    problems = []
    traits = attrs.inspect(cls)
    if not traits.is_frozen or traits.kw_only is attrs.ClassProps.KeywordOnly.NO:
        problems.append("must be decorated with @attrs.frozen(kw_only=True)")
    called = getattr(cls, "name", None)
    if not isinstance(called, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", called):
        problems.append(
            'needs a name: name: ClassVar[str] = "..." of lower case letters, digits and "_"'
        )
    if cls.build is kind.build and not _has_draw_and_apply(cls):  # type: ignore[attr-defined]
        problems.append("has no build method")
    problems += _parameter_problems(cls)
    return [f"{cls.__name__} {problem}" for problem in problems]


def _has_draw_and_apply(cls: type[Step]) -> bool:
    if not issubclass(cls, TransformStep):
        return False
    return cls.draw is not TransformStep.draw and cls.apply is not TransformStep.apply


def _parameter_problems(cls: type[Step]) -> list[str]:
    fields = {field.name: field for field in attrs.fields(cast("type[Any]", cls))}
    problems = [
        f"has a parameter {name!r}, a name that medpipe keeps for itself"
        for name in fields
        if name in RESERVED_PARAMETERS
    ]
    problems += [
        f"has a parameter {name!r} that starts with an underscore; configurations can't name it"
        for name in fields
        if name.startswith("_")
    ]
    try:
        types = parameter_types(cls)
    except Exception as error:  # annotations are the plugin's code
        reason = f"has a parameter whose type can't be resolved ({error}): import it at run time"
        return [*problems, reason]
    for name, expected in types.items():
        if expected is None:
            problems.append(f"has a parameter {name!r} without a type")
        elif unfit := unsupported(expected):
            problems.append(f"has a parameter {name!r} of a wrong type: {unfit}")
        elif _optional(expected) and fields[name].default is not None:
            problems.append(
                f"has a parameter {name!r} that may be None but has another default; "
                "TOML has no null, so None must be the default"
            )
    return problems


def _optional(expected: Any) -> bool:
    return type(None) in getattr(expected, "__args__", ())


def _collect(plugin: object, name: str) -> tuple[type[Step], ...]:
    # A manager for each plugin: pluggy stops at the first implementation that raises.
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _BrokenError(_misspelt(str(error))) from error
    steps: list[type[Step]] = []
    implemented = False
    for kind in STEP_KINDS:
        hook = hook_of(kind)
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            implemented = True
            if implementation.hookwrapper or implementation.wrapper:
                raise _BrokenError(f"{hook} is a wrapper; a plugin only offers its own steps.")
            steps += _offered(implementation.function, hook, kind)
    if not implemented:
        raise _BrokenError(_no_hook(plugin))
    _refuse_twins(steps)
    return tuple(steps)


def _offered(function: Callable[[], object], hook: str, kind: type[Step]) -> list[type[Step]]:
    try:
        given = function()
        if isinstance(given, (str, type)) or not isinstance(given, Iterable):
            raise _BrokenError(f"{hook} gave {given!r}; return a list of step classes.")
        offered = list(given)
    except (KeyboardInterrupt, _BrokenError):
        raise
    except BaseException as error:  # SystemExit or the plugin's own classes
        raise _BrokenError(f"{hook} raised {_shown(error)}.") from error
    problems = [problem for cls in offered for problem in step_class_problems(cls, kind)]
    if problems:
        raise _BrokenError(f"{hook}: {'; '.join(problems)}.")
    return offered


def _refuse_twins(steps: list[type[Step]]) -> None:
    seen: dict[tuple[str, str], type[Step]] = {}
    for cls in steps:
        twin = seen.setdefault((cls.kind, cls.name), cls)
        if twin is not cls:
            raise _BrokenError(
                f"{twin.__name__} and {cls.__name__} are both {cls.kind} steps named {cls.name!r}."
            )


def _no_hook(plugin: object) -> str:
    names = [hook_of(kind) for kind in STEP_KINDS]
    unmarked = [name for name in names if callable(getattr(plugin, name, None))]
    if unmarked:
        return f"{unmarked[0]} is not marked: put @hookimpl of medpipe.plugin above it."
    near = [item for item in dir(plugin) if item.startswith(f"{PROJECT}_") and item not in names]
    if near:
        return f"{near[0]} is no hook of medpipe; there are {', '.join(names)}."
    return f"it implements no hook of medpipe; there are {', '.join(names)}."


def _misspelt(message: str) -> str:
    found = re.search(r"unknown hook '(\w+)'", message)
    if found:
        names = ", ".join(hook_of(kind) for kind in STEP_KINDS)
        return f"{found[1]} is no hook of medpipe; there are {names}."
    wanted = re.search(r"definition: (\w+)\(.*Argument\(s\) \{(.*?)\}", message, re.DOTALL)
    if wanted:
        return f"{wanted[1]} is called with nothing, and wants {wanted[2]}."
    return " ".join(message.split())


def _shown(error: BaseException) -> str:
    """An exception and where the plugin raised it, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}, line {last[0].lineno})" if last else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
