"""Load a plugin; its errors are recorded and do not affect other plugins."""

from __future__ import annotations

import itertools
import re
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import attrs
import pluggy

from medpipe import hookspecs
from medpipe.hookspecs import PROJECT, hook_of
from medpipe.registry.class_values import class_value_problems
from medpipe.registry.import_effects import effects_of_import
from medpipe.registry.meanings import parameter_name
from medpipe.registry.parameters import parameter_types, unsupported
from medpipe.steps import STEP_KINDS, DrawnStep, Step, TransformStep
from medpipe.system.distribution import own_distribution

if TYPE_CHECKING:
    import importlib.metadata

MOST = 10_000
"""Step classes that one hook may offer."""

RESERVED_PARAMETERS = frozenset(
    {"step", "name", "kind", "random", "build", "examples", "before", "ready"}
)


@attrs.frozen(kw_only=True)
class Plugin:
    """A plugin that was found, whether or not it could be loaded.

    Attributes:
        name: The name of its entry point.
        distribution: The installed distribution that contains it.
        version: The distribution's version; empty for a plugin added in a script.
        steps: The step classes that it offers; none if it could not be loaded.
        error: Why it could not be loaded; None if it was.
        problems: What of it could not be loaded where the rest was, a sentence for each.
        remarks: What importing it does beside that, and what is odd about its metadata.
        seconds: How long it took to import.
    """

    name: str
    distribution: str
    version: str
    steps: tuple[type[Step], ...] = ()
    error: str | None = None
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
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
    """Import a plugin and collect its steps: those that are well made, and what is wrong."""
    start = time.perf_counter()
    steps: tuple[type[Step], ...] = ()
    problems: list[str] = []
    remarks: list[str] = []
    error: str | None = None
    try:
        with effects_of_import(remarks):
            steps = _collect(load(), name, problems)
    except KeyboardInterrupt:
        raise
    except _BrokenError as problem:
        error = str(problem)
    except BaseException as problem:  # SystemExit or the plugin's own classes
        error = f"importing it raised {_shown(problem)}."
    if problems and not steps and error is None:
        error, problems = " ".join(problems), []
    return Plugin(
        name=name,
        distribution=distribution,
        version=version,
        steps=steps,
        error=error,
        problems=tuple(problems),
        remarks=tuple(remarks),
        seconds=time.perf_counter() - start,
    )


def not_installed(distribution: str, meant: str = "") -> Plugin:
    """The record of a plugin that ``MEDPIPE_PLUGINS`` names but that is not installed.

    Args:
        distribution: The name.
        meant: The installed one that it is most like; empty: none.
    """
    error = "MEDPIPE_PLUGINS names it, but no installed distribution of that name has a plugin."
    error += f" Did you mean {meant!r}?" if meant else ""
    return Plugin(name="", distribution=distribution, version="", error=error)


def module_of(point: importlib.metadata.EntryPoint) -> object:
    """Import what an entry point names.

    Raises:
        _BrokenError: It names no module.
    """
    if not re.fullmatch(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[[^]]*\]\s*)?", point.value):
        raise _BrokenError(
            f"its entry point {point.name} = {point.value!r} names no module; give one, such as "
            "medpipe_tiny."
        )
    return point.load()


def unreadable(distribution: str, version: str, error: str) -> Plugin:
    """The record of a distribution whose entry points can't be read."""
    said = f"its entry_points.txt can't be read, so that torch can't be imported: {error}."
    return Plugin(name="", distribution=distribution, version=version, error=said)


def step_class_problems(cls: type[Step], kind: type[Step]) -> list[str]:
    """The problems of a step class, worded for its author.

    Args:
        cls: The class.
        kind: The kind that it is offered as.
    """
    if not isinstance(cast("object", cls), type):
        return [f"{cls!r} is not a class"]
    if not issubclass(cls, kind):
        return [f"{cls.__name__} is not a {kind.__name__}"]
    if "__attrs_attrs__" not in cls.__dict__:
        return [f"{cls.__name__} lacks the decorator @attrs.frozen(kw_only=True)"]
    problems = []
    if cls.kind != kind.kind:
        problems.append(f"has kind = {cls.kind!r}, which must be {kind.kind!r}: leave it out")
    traits = attrs.inspect(cls)
    if not traits.is_frozen or traits.kw_only is attrs.ClassProps.KeywordOnly.NO:
        problems.append("must be decorated with @attrs.frozen(kw_only=True)")
    called = getattr(cls, "name", None)
    if not isinstance(called, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", called):
        problems.append(
            'needs a name: name: ClassVar[str] = "..." of lower case letters, digits and "_"'
        )
    missing = [name for name in kind.required if _is_missing(cls, kind, name)]
    if missing and not _has_draw_and_apply(cls):
        methods = [name for name in missing if callable(getattr(kind, name, None))]
        values = [name for name in missing if name not in methods]
        problems += [f"has no {' and no '.join(methods)} method"] if methods else []
        problems += [f"needs {', '.join(values)} as ClassVar"] if values else []
    if issubclass(cls, DrawnStep) and not hasattr(attrs.fields(cast("type[Any]", cls)), "prob"):
        problems.append("needs the parameter prob, such as prob: float = 0.5")
    problems += class_value_problems(cls)
    problems += _parameter_problems(cls)
    return [f"{cls.__name__} {problem}" for problem in problems]


def _is_missing(cls: type[Step], kind: type[Step], name: str) -> bool:
    return getattr(cls, name, None) is getattr(kind, name, None)


def _has_draw_and_apply(cls: type[Step]) -> bool:
    if not issubclass(cls, TransformStep):
        return False
    return cls.draw is not TransformStep.draw and cls.apply is not TransformStep.apply


def _parameter_problems(cls: type[Step]) -> list[str]:
    fields = {parameter_name(field.name): field for field in attrs.fields(cast("type[Any]", cls))}
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
        elif isinstance(fields[name].default, (list, dict, set)):
            problems.append(
                f"has a parameter {name!r} whose default can be changed by anybody: give "
                f"attrs.field(factory={type(fields[name].default).__name__}) in its place"
            )
        elif _optional(expected) and fields[name].default is not None:
            problems.append(
                f"has a parameter {name!r} that may be None but has another default; "
                "TOML has no null, so None must be the default"
            )
    return problems


def _optional(expected: Any) -> bool:
    return type(None) in getattr(expected, "__args__", ())


def _collect(plugin: object, name: str, problems: list[str]) -> tuple[type[Step], ...]:
    # A manager for each plugin: pluggy stops at the first implementation that raises.
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _BrokenError(_misspelt(str(error))) from error
    steps: list[type[Step]] = []
    implemented = set()
    for kind in STEP_KINDS:
        hook = hook_of(kind)
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            implemented.add(hook)
            try:
                if implementation.hookwrapper or implementation.wrapper:
                    raise _BrokenError(
                        f"{hook} is a hook wrapper; a plugin may only offer its own steps."
                    )
                steps += _offered(implementation.function, hook, kind, problems)
            except _BrokenError as problem:
                problems.append(str(problem))
    if not implemented:
        raise _BrokenError(_no_hook(plugin))
    problems += [_NOT_MARKED.format(hook) for hook in _unmarked(plugin) if hook not in implemented]
    return _without_twins(steps, problems)


def _offered(
    function: Callable[[], object], hook: str, kind: type[Step], problems: list[str]
) -> list[type[Step]]:
    try:
        given = function()
        if isinstance(given, (str, type)) or not isinstance(given, Iterable):
            raise _BrokenError(f"{hook} gave {given!r}; return a list of step classes.")
        offered = list(itertools.islice(given, MOST + 1))
        if len(offered) > MOST:
            raise _BrokenError(f"{hook} gave more than {MOST} classes; does it end?")
    except (KeyboardInterrupt, _BrokenError):
        raise
    except BaseException as error:  # SystemExit or the plugin's own classes
        raise _BrokenError(f"{hook} raised {_shown(error)}.") from error
    good = []
    for cls in offered:
        found = step_class_problems(cls, kind)
        if found:
            problems.append(f"{hook}: {'; '.join(found)}.")
        else:
            good.append(cls)
    return good


def _without_twins(steps: list[type[Step]], problems: list[str]) -> tuple[type[Step], ...]:
    """The steps whose name is theirs alone: of two, neither is what a name means."""
    by_name: dict[tuple[str, str], list[type[Step]]] = {}
    for cls in dict.fromkeys(steps):
        by_name.setdefault((cls.kind, cls.name), []).append(cls)
    for (kind, name), same in by_name.items():
        if len(same) > 1:
            named = " and ".join(cls.__name__ for cls in same)
            problems.append(f"{named} are both {kind} steps named {name!r}.")
    return tuple(same[0] for same in by_name.values() if len(same) == 1)


_NOT_MARKED = "{} is not marked: put @hookimpl of medpipe.plugin above it."


def _unmarked(plugin: object) -> list[str]:
    """The functions of a plugin that are called as a hook, in the order of the hooks."""
    names = [hook_of(kind) for kind in STEP_KINDS]
    return [name for name in names if callable(getattr(plugin, name, None))]


def _no_hook(plugin: object) -> str:
    names = [hook_of(kind) for kind in STEP_KINDS]
    unmarked = _unmarked(plugin)
    if unmarked:
        return _NOT_MARKED.format(unmarked[0])
    near = [item for item in dir(plugin) if item.startswith(f"{PROJECT}_") and item not in names]
    if near:
        return f"{near[0]} is not a hook of medpipe; the hooks are {', '.join(names)}."
    return f"it implements no hook of medpipe; the hooks are {', '.join(names)}."


def _misspelt(message: str) -> str:
    found = re.search(r"unknown hook '(\w+)'", message)
    if found:
        names = ", ".join(hook_of(kind) for kind in STEP_KINDS)
        return f"{found[1]} is not a hook of medpipe; the hooks are {names}."
    wanted = re.search(r"definition: (\w+)\(.*Argument\(s\) \{(.*?)\}", message, re.DOTALL)
    if wanted:
        return f"{wanted[1]} is called without arguments, but takes {wanted[2]}."
    return " ".join(message.split())


def _shown(error: BaseException) -> str:
    """An exception and where the plugin raised it, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}, line {last[0].lineno})" if last else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
