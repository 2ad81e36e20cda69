"""From a `Configuration` to plain data and to TOML."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from medpipe.config.loading import load
from medpipe.config.sections import FORMAT
from medpipe.errors import ConfigError, NotRepeatableError, UnknownStepError
from medpipe.registry.parameters import unstructure
from medpipe.registry.validation import join
from medpipe.registry.wording import show
from medpipe.registry.wrapped import Wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.config.configuration import Configuration
    from medpipe.registry.registry import Registry


def dump(configuration: Configuration, *, registry: Registry) -> dict[str, Any]:
    """Turn a configuration into plain data, with every parameter.

    Raises:
        NotRepeatableError: It holds ready objects or steps that are not registered.
    """
    unnamed = unrepeatable(configuration, registry=registry)
    if unnamed:
        raise NotRepeatableError(
            "A configuration can only name registered steps. These can't be written:\n"
            + "\n".join(f"  {line}" for line in unnamed)
        )

    def plain(value: object) -> Any:
        return unstructure(value, name_of=registry.saved_name)

    return {
        "format": FORMAT,
        "dataset": plain(configuration.dataset),
        "reader": [plain(step) for step in configuration.readers],
        "transform": [plain(step) for step in configuration.transforms],
        "network": plain(configuration.network),
        "weights": plain(configuration.weights),
        "trainer": plain(configuration.trainer),
        **({} if configuration.inferer is None else {"inferer": plain(configuration.inferer)}),
        "metric": [plain(step) for step in configuration.metrics],
        "handler": [plain(step) for step in configuration.handlers],
        "loader": plain(configuration.loader),
        "split": plain(configuration.split),
        "evaluation": plain(configuration.evaluation),
        "run": plain(configuration.run),
    }


def write(configuration: Configuration, *, registry: Registry) -> str:
    """Write a configuration as TOML, with every parameter.

    Raises:
        NotRepeatableError: See `dump`.
    """
    return text_of(dump(configuration, registry=registry))


def text_of(document: Mapping[str, Any]) -> str:
    """Write plain data of a configuration as TOML."""
    import tomli_w

    # What is no table must stand before the first one.
    first = {key: value for key, value in document.items() if not _in_tables(value)}
    rest = {key: value for key, value in document.items() if key not in first}
    return "\n".join([tomli_w.dumps(first), *(_section_text(*item) for item in rest.items())])


def completed(text: str, *, registry: Registry) -> str:
    """A written configuration with the parameters that have been added since, at their defaults.

    What can't be read by this release is given as it is.

    Raises:
        ValueError: It is no TOML.
    """
    document = tomllib.loads(text)
    try:
        return write(load(document, registry=registry), registry=registry)
    except (ConfigError, NotRepeatableError):
        return text


def _in_tables(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value))


def _section_text(name: str, value: Any) -> str:
    import tomli_w

    tables = [] if isinstance(value, dict) else value
    if not tables or any(isinstance(inner, dict) for table in tables for inner in table.values()):
        return tomli_w.dumps({name: value})
    # The writer would put short tables into one line, where [[transform]] reads better.
    return "\n".join(f"[[{name}]]\n{tomli_w.dumps(table)}" for table in value)


def differing(*documents: str) -> dict[str, tuple[str, ...]]:
    """What differs between written configurations: each value in words, by its path."""
    flat = [_flat(tomllib.loads(text)) for text in documents]
    paths = dict.fromkeys(path for values in flat for path in values)
    found = {path: [values.get(path) for values in flat] for path in paths}
    return {
        path: tuple(show(value) for value in values)
        for path, values in found.items()
        if any(value != values[0] for value in values)
    }


def changed_lines(before: str, now: str) -> list[str]:
    """What differs between two written configurations, as ``trainer.max_epochs: 3, now 5``."""
    return [f"{path}: {old}, now {new}" for path, (old, new) in differing(before, now).items()]


def toml_text(value: object) -> str:
    """One parameter as TOML writes it on one line."""
    return _inline(unstructure(value, name_of=lambda cls: cls.name))


def _inline(plain: object) -> str:
    import tomli_w

    if isinstance(plain, dict):
        return f"{{ {', '.join(f'{key} = {_inline(item)}' for key, item in plain.items())} }}"
    if isinstance(plain, list):
        return f"[{', '.join(map(_inline, plain))}]"
    return tomli_w.dumps({"value": plain}).removeprefix("value = ").rstrip("\n")


def _flat(value: object, path: str = "") -> dict[str, object]:
    """Every single value by its path."""
    if isinstance(value, dict):
        pairs = [(join(path, key), item) for key, item in value.items()]
    elif isinstance(value, list):
        pairs = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {path: value}
    return {inner: leaf for where, item in pairs for inner, leaf in _flat(item, where).items()}


def unrepeatable(configuration: Configuration, *, registry: Registry) -> list[str]:
    """Why a configuration can't be written: a line for each step that has no name to write."""
    lines = []
    for path, step in configuration.steps():
        if isinstance(step, Wrapped):
            lines.append(f"{path}: the ready object {step.title}")
        else:
            try:
                registry.saved_name(type(step))
            except UnknownStepError as error:
                lines.append(f"{path}: {error}")
    return lines
