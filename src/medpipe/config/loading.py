"""From plain data to a validated `Configuration`; every problem at once, each with its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.config.configuration import Configuration
from medpipe.config.document import no_section, whole_list
from medpipe.config.sections import (
    DEFAULT_CHAIN,
    DEFAULT_LISTS,
    DEFAULT_TABLES,
    DEFAULT_TRANSFORMS,
    FORMAT,
    LIST_SECTIONS,
    SECTIONS,
    SETTINGS_SECTIONS,
    STEP_SECTIONS,
)
from medpipe.errors import ConfigError, Problem, UnknownStepError
from medpipe.registry.parameters import convert
from medpipe.registry.wording import show, suggestion
from medpipe.steps import DatasetStep, InfererStep, MetricStep, Step, TransformStep
from medpipe.system.distribution import own_distribution

if TYPE_CHECKING:
    from medpipe.registry.registry import Registry

DEEPEST = 16
"""Levels of tables and lists in a configuration."""


def build_step(
    kind: type[Step], table: object, *, path: str, registry: Registry
) -> tuple[Any, list[Problem]]:
    """Make a step from a table with ``step``, a `StepReference`, a step or a ready object."""
    return convert(kind, table, path=path, resolve=registry.get)


def load(document: Mapping[str, object], *, registry: Registry) -> Configuration:
    """Make a configuration from plain data; what is not given has its default.

    Raises:
        ConfigError: Every problem, each with its path.
    """
    configuration, problems = check(document, registry=registry)
    if problems:
        raise ConfigError("The configuration has problems", problems)
    assert configuration is not None
    return configuration


def check(
    document: Mapping[str, object], *, registry: Registry
) -> tuple[Configuration | None, list[Problem]]:
    """Make a configuration from plain data, or say everything that is wrong with it."""
    if _nests(document):
        message = f"Tables or lists are nested more than {DEEPEST} levels deep."
        return None, [Problem(path="", message=message)]
    problems = format_problems(document)
    for key in document:
        if key not in SECTIONS:
            problems.append(no_section(key))
    values: dict[str, Any] = {}
    for section, kind in STEP_SECTIONS.items():
        table = document.get(section, DEFAULT_TABLES[section])
        values[section], found = build_step(kind, table, path=section, registry=registry)
        problems += found
    for section, kind in LIST_SECTIONS.items():
        default = [{"step": DEFAULT_CHAIN}] if section in DEFAULT_LISTS else []
        tables = document.get(section, default)
        values[f"{section}s"], found = _list(kind, tables, path=section, registry=registry)
        problems += found
        is_default = isinstance(tables, Sequence) and any(_is_default(table) for table in tables)
        if section == "transform" and not found and is_default:
            chain, dataset = values["transforms"], values["dataset"]
            added, found = augmentation(chain, dataset, registry=registry)
            values["transforms"] += added
            problems += found
    problems += twice(values["metrics"])
    values["inferer"] = None
    if "inferer" in document:
        values["inferer"], found = build_step(
            InfererStep, document["inferer"], path="inferer", registry=registry
        )
        problems += found
    for section, cls in SETTINGS_SECTIONS.items():
        table = document.get(section, {})
        values[section], found = convert(cls, table, path=section, resolve=registry.get)
        problems += found
    return (None, problems) if problems else (Configuration(**values), [])


def default_chain(document: Mapping[str, Any], *, registry: Registry) -> list[dict[str, str]]:
    """The tables of the default chain's steps, for the data set that a document names."""
    given = document.get("dataset", {})
    name = given.get("step") if isinstance(given, Mapping) else given
    with suppress(UnknownStepError):
        dataset = registry.get(DatasetStep, str(name or DEFAULT_TABLES["dataset"]["step"]))
        return [{"step": name} for name in (*DEFAULT_TRANSFORMS, *dataset.augmentation)]
    return [{"step": name} for name in DEFAULT_TRANSFORMS]


def augmentation(
    chain: Sequence[object], dataset: object, *, registry: Registry
) -> tuple[tuple[TransformStep, ...], list[Problem]]:
    """The steps that end a default chain: the data set's, unless one is random already."""
    if not isinstance(dataset, DatasetStep) or any(getattr(s, "random", False) for s in chain):
        return (), []
    path = "dataset.augmentation"
    pairs = [
        build_step(TransformStep, {"step": name}, path=path, registry=registry)
        for name in dataset.augmentation
    ]
    return tuple(step for step, _ in pairs), [found for _, some in pairs for found in some]


def _nests(document: Mapping[str, object]) -> bool:
    """Whether it is deeper than any parameter; asked without recursion, of which too much fails."""
    level: list[object] = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, (Mapping, list))
            for inner in (item.values() if isinstance(item, Mapping) else item)
        ]
    return any(isinstance(item, (Mapping, list)) for item in level)


def format_problems(document: Mapping[str, object], *, required: bool = True) -> list[Problem]:
    """What is wrong with the ``format`` of plain data.

    Args:
        document: The plain data.
        required: Whether it must be there.
    """
    given = document.get("format")
    if given == FORMAT and not isinstance(given, bool):
        return []
    if given is None:
        if not required:
            return []
        return [Problem(path="format", message="required.", remedy=f"Write format = {FORMAT}.")]
    message = f"must be {FORMAT}, got {show(given)}."
    later = isinstance(given, int) and given > FORMAT
    remedy = (
        f"A newer medpipe may know it (pip install --upgrade {own_distribution()})."
        if later
        else ""
    )
    return [Problem(path="format", message=message, remedy=remedy)]


def _list(
    kind: type[Step], tables: object, *, path: str, registry: Registry
) -> tuple[tuple[Any, ...], list[Problem]]:
    """The steps of a list of tables."""
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        message = f"must be a list of tables: write [[{path}]] above each step."
        numbered = isinstance(tables, Mapping) and "step" not in tables  # as in metric.0.step
        remedy = whole_list(path) if numbered else ""
        return (), [Problem(path=path, message=message, remedy=remedy)]
    problems = [
        Problem(path=f"{path}[{index}]", message=f"{DEFAULT_CHAIN!r} takes no parameters.")
        for index, table in enumerate(tables)
        if path in DEFAULT_LISTS and _is_default(table) and table not in _DEFAULT
    ]
    pairs = [
        build_step(kind, each, path=f"{path}[{index}]", registry=registry)
        for index, table in enumerate(tables)
        for each in _expanded(path, table)
    ]
    problems += [_meant(found, path, tables) for _, some in pairs for found in some]
    return tuple(step for step, _ in pairs), problems


def _meant(problem: Problem, path: str, tables: Sequence[object]) -> Problem:
    """A problem, which asks whether the default chain is meant where its name is misspelt."""
    names = {f"{path}[{index}].step": _name(table) for index, table in enumerate(tables)}
    if path not in DEFAULT_LISTS or "Did you mean" in str(problem):
        return problem
    asked = suggestion(str(names.get(problem.path, "")), [DEFAULT_CHAIN])
    return attrs.evolve(problem, remedy=asked) if asked else problem


def _expanded(path: str, table: object) -> Sequence[object]:
    """A list's entry, or the default steps that it stands for."""
    default = DEFAULT_LISTS.get(path)
    return [{"step": name} for name in default] if default and _is_default(table) else [table]


_DEFAULT = (DEFAULT_CHAIN, {"step": DEFAULT_CHAIN})


def _is_default(table: object) -> bool:
    """Whether an entry stands for the default chain: by its name alone, or in a table."""
    return _name(table) == DEFAULT_CHAIN


def _name(table: object) -> object:
    return table.get("step") if isinstance(table, Mapping) else table


def twice(metrics: Sequence[MetricStep | None]) -> list[Problem]:
    """Metrics of one name, of which a report could show but one."""
    names = [getattr(step, "name", None) for step in metrics]  # None: it could not be made
    return [
        Problem(
            path=f"metric[{place}]",
            message=f"there is a metric {name!r} already.",
            remedy="Name each metric once.",
        )
        for place, name in enumerate(names)
        if name is not None and name in names[:place]
    ]
