"""Configurations: from a TOML document to a validated `Configuration`, and back.

A configuration names registered steps and gives values, nothing else: no import paths, no
expressions, no interpolation. Every problem is found at once, each with its path.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ConfigError, NotRepeatableError, Problem, UnknownStepError
from medpipe.registry.parameters import BACKSLASHES, convert, join, unstructure
from medpipe.registry.wording import show, suggestion
from medpipe.registry.wrapped import Wrapped
from medpipe.settings import LoaderSettings, RunSettings, SplitSettings, WeightsSettings
from medpipe.steps import DatasetStep, NetworkStep, Step, TrainerStep, TransformStep
from medpipe.system import file_errors

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe.registry.registry import Registry

FORMAT = 1
LARGEST = 1_000_000
"""The largest configuration file in bytes; a larger one is another kind of file."""
_OF_ESCAPES = ("Unescaped '\\'", "Invalid hex value", "Escaped character is not")
DEEPEST = 16
"""The deepest nesting of tables and lists in a configuration."""

DEFAULT_STEPS: Mapping[str, str] = {
    "dataset": "mednist",
    "network": "densenet121",
    "trainer": "supervised",
}
DEFAULT_TRANSFORMS = ("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
"""The set-up of MONAI's first-model tutorial."""

STEP_SECTIONS: Mapping[str, type[Step]] = {
    "dataset": DatasetStep,
    "network": NetworkStep,
    "trainer": TrainerStep,
}
SETTINGS_SECTIONS: Mapping[str, type[Any]] = {
    "weights": WeightsSettings,
    "loader": LoaderSettings,
    "split": SplitSettings,
    "run": RunSettings,
}
SECTIONS = (
    "format",
    "dataset",
    "transform",
    "network",
    "weights",
    "trainer",
    "loader",
    "split",
    "run",
)


@attrs.frozen(kw_only=True)
class Configuration:
    """A whole pipeline as a value: its steps and its settings.

    Attributes:
        dataset: Lists the samples.
        transforms: The chain, in order.
        network: Makes the network.
        trainer: Makes the trainer.
        weights: Which trained weights the network starts from.
        loader: How batches are made.
        split: How the samples are divided.
        run: The seed and the device.
    """

    dataset: DatasetStep
    transforms: tuple[TransformStep, ...]
    network: NetworkStep
    trainer: TrainerStep
    weights: WeightsSettings = WeightsSettings()
    loader: LoaderSettings = LoaderSettings()
    split: SplitSettings = SplitSettings()
    run: RunSettings = RunSettings()

    def steps(self) -> list[tuple[str, Step]]:
        """Every step with its path, nested ones after the step that holds them."""
        chain = [(f"transform[{i}]", step) for i, step in enumerate(self.transforms)]
        some: list[tuple[str, Step]] = [("dataset", self.dataset), *chain]
        some += [("network", self.network), ("trainer", self.trainer)]
        if self.trainer.loss is not None:
            some.append(("trainer.loss", self.trainer.loss))
        return some


def parse(text: str, *, source: str = "the configuration") -> dict[str, Any]:
    """Read TOML into plain data.

    Raises:
        ConfigError: It is not valid TOML; the message has the line and the column.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        cause: Exception = error
        message, remedy = "It nests too deeply.", ""
    except ValueError as error:  # also for numbers of more digits than Python reads
        cause, message = error, f"{error}."
        remedy = BACKSLASHES if message.startswith(_OF_ESCAPES) else ""
    problem = Problem(path="", message=message, remedy=remedy)
    raise ConfigError(f"{source} is no valid TOML", [problem]) from cause


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: The file is not there, can't be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) <= LARGEST:
            return content.decode("utf-8-sig")  # some editors write a byte-order mark
        reason = f"larger than {LARGEST:,} bytes"
    except OSError as error:
        reason = file_errors.reason(error)
    except ValueError as error:
        start = getattr(error, "start", None)
        reason = str(error) if start is None else f"not UTF-8 (byte {start})"
    raise ConfigError(
        "The configuration can't be read", [Problem(path=str(path), message=f"{reason}.")]
    )


def set_value(document: dict[str, Any], path: str, value: object) -> None:
    """Set one value of a document by its path, as ``--set`` does.

    Args:
        document: Plain data; changed in place.
        path: As error messages write it: ``trainer.loss.gamma``, ``transform[1].prob``.
        value: Plain data.

    Raises:
        ConfigError: A part of the path is neither a table nor an existing list entry.
    """
    keys = _keys(path)
    place: Any = document
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        inside = isinstance(place, list) and isinstance(key, int) and key < len(place)
        if not (inside or (isinstance(place, dict) and isinstance(key, str))):
            known = keys[0] in SECTIONS
            problem = _no_place(path, key, place) if known else _no_section(str(keys[0]))
            raise ConfigError("A value can't be set", [problem])
        if following is None:
            place[key] = value
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
        else:
            place = place[key]


def _no_place(path: str, key: str | int, place: object) -> Problem:
    if isinstance(place, list) and isinstance(key, int):
        return Problem(path=path, message=f"there is no entry {key}; the list has {len(place)}.")
    return Problem(path=path, message=f"{key!r} does not lead anywhere.")


_INDEX = re.compile(r"[0-9]{1,9}")


def _keys(path: str) -> list[str | int]:
    keys: list[str | int] = []
    for part in path.split("."):
        key, *indices = part.replace("]", "").split("[")
        if not key or not all(map(_INDEX.fullmatch, indices)):
            message = "is no path; write it like trainer.learning_rate or transform[1].prob."
            raise ConfigError("A value can't be set", [Problem(path=path[:60], message=message)])
        keys += [key, *map(int, indices)]
    return keys


def build_step(
    kind: type[Step], table: object, *, path: str, registry: Registry
) -> tuple[Any, list[Problem]]:
    """Make a step from a table with ``step``, a `StepReference`, a step or a ready object."""
    return convert(kind, table, path=path, resolve=registry.get)


def load(document: Mapping[str, object], *, registry: Registry) -> Configuration:
    """Make a configuration from plain data, with defaults for what is not given.

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
    """Make a configuration from plain data, or return all its problems."""
    if _nests(document):
        message = f"It nests more than {DEEPEST} levels deep."
        return None, [Problem(path="", message=message)]
    problems = _format_problems(document)
    for key in document:
        if key not in SECTIONS:
            problems.append(_no_section(key))
    values: dict[str, Any] = {}
    for section, kind in STEP_SECTIONS.items():
        table = document.get(section, {"step": DEFAULT_STEPS[section]})
        values[section], found = build_step(kind, table, path=section, registry=registry)
        problems += found
    values["transforms"], found = _chain(document, registry)
    problems += found
    for section, cls in SETTINGS_SECTIONS.items():
        table = document.get(section, {})
        values[section], found = convert(cls, table, path=section, resolve=registry.get)
        problems += found
    return (None, problems) if problems else (Configuration(**values), [])


def _no_section(key: str) -> Problem:
    remedy = suggestion(key, SECTIONS) or f"There are {', '.join(SECTIONS)}."
    return Problem(path=key, message="unknown section.", remedy=remedy)


def _nests(document: Mapping[str, object]) -> bool:
    """Whether it nests deeper than `DEEPEST`; without recursion, which has a limit."""
    level: list[object] = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, (Mapping, list))
            for inner in (item.values() if isinstance(item, Mapping) else item)
        ]
    return any(isinstance(item, (Mapping, list)) for item in level)


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
        "transform": [plain(step) for step in configuration.transforms],
        "network": plain(configuration.network),
        "weights": plain(configuration.weights),
        "trainer": plain(configuration.trainer),
        "loader": plain(configuration.loader),
        "split": plain(configuration.split),
        "run": plain(configuration.run),
    }


def write(configuration: Configuration, *, registry: Registry) -> str:
    """Write a configuration as TOML, with every parameter.

    Raises:
        NotRepeatableError: See `dump`.
    """
    import tomli_w

    document = dump(configuration, registry=registry)
    chain = document.pop("transform")
    if not chain or any(isinstance(value, dict) for table in chain for value in table.values()):
        return tomli_w.dumps({"format": document.pop("format"), "transform": chain, **document})
    # The writer would put short tables into one line, where [[transform]] reads better.
    first = {key: document.pop(key) for key in ("format", "dataset")}
    tables = [f"[[transform]]\n{tomli_w.dumps(table)}" for table in chain]
    return "\n".join([tomli_w.dumps(first), *tables, tomli_w.dumps(document)])


def changed_lines(before: str, now: str) -> list[str]:
    """What differs between two written configurations, as ``trainer.max_epochs: 3, now 5``."""
    old, new = _flat(tomllib.loads(before)), _flat(tomllib.loads(now))
    return [
        f"{path}: {show(old.get(path))}, now {show(new.get(path))}"
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]


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
    """Every scalar value by its path."""
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


def _format_problems(document: Mapping[str, object]) -> list[Problem]:
    given = document.get("format")
    if given == FORMAT and not isinstance(given, bool):
        return []
    if given is None:
        return [Problem(path="format", message="required.", remedy=f"Write format = {FORMAT}.")]
    message = f"must be {FORMAT}, got {show(given)}."
    remedy = "A newer medpipe may know it." if isinstance(given, int) and given > FORMAT else ""
    return [Problem(path="format", message=message, remedy=remedy)]


def _chain(
    document: Mapping[str, object], registry: Registry
) -> tuple[tuple[TransformStep, ...], list[Problem]]:
    tables = document.get("transform", [{"step": name} for name in DEFAULT_TRANSFORMS])
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        message = "must be a list of tables: write [[transform]] above each step."
        return (), [Problem(path="transform", message=message)]
    pairs = [
        build_step(TransformStep, table, path=f"transform[{index}]", registry=registry)
        for index, table in enumerate(tables)
    ]
    return tuple(step for step, _ in pairs), [found for _, some in pairs for found in some]


__all__ = [
    "Configuration",
    "build_step",
    "changed_lines",
    "check",
    "dump",
    "load",
    "parse",
    "read_text",
    "set_value",
    "toml_text",
    "unrepeatable",
    "write",
]
