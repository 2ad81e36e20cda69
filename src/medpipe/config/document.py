"""A configuration as plain data: read from TOML, and changed by paths."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from medpipe.config.sections import (
    DEFAULT_CHAIN,
    DEFAULT_LISTS,
    DEFAULT_TABLES,
    DEFAULT_TRANSFORMS,
    LIST_SECTIONS,
    SECTIONS,
)
from medpipe.errors import ConfigError, Problem
from medpipe.registry.parameters import BACKSLASHES
from medpipe.registry.wording import suggestion
from medpipe.system import file_errors

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1_000_000
"""Bytes of a configuration file: one of that size is another file, and would take seconds."""
_OF_ESCAPES = ("Unescaped '\\'", "Invalid hex value", "Escaped character is not")


def parse(text: str, *, source: str = "the configuration") -> dict[str, Any]:
    """Read TOML into plain data.

    Raises:
        ConfigError: It is no TOML; the message has the line and the column.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        cause: Exception = error
        message, remedy = "Tables or lists are nested too deeply.", ""
    except ValueError as error:  # among them numbers of more digits than Python reads
        cause, message = error, f"{error}."
        remedy = BACKSLASHES if message.startswith(_OF_ESCAPES) else ""
    problem = Problem(path="", message=message, remedy=remedy)
    raise ConfigError(f"{source} is not valid TOML", [problem]) from cause


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: The file is not there, can't be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) <= LARGEST:
            return content.decode("utf-8-sig")  # some editors put a mark in front
        reason = f"larger than {LARGEST:,} bytes"
    except OSError as error:
        reason = file_errors.reason(error)
        if isinstance(error, FileNotFoundError):
            reason += file_errors.looked_in(path)
    except ValueError as error:
        start = getattr(error, "start", None)
        reason = str(error) if start is None else f"not UTF-8 (byte {start})"
    raise ConfigError(
        "The configuration can't be read", [Problem(path=str(path), message=f"{reason}.")]
    )


def set_value(document: dict[str, Any], path: str, value: object) -> list[str]:
    """Set one value of a document by its path, as ``--set`` does.

    Another step drops the parameters of the one before, which it would not know.

    Args:
        document: Plain data; changed in place.
        path: As error messages write it: ``trainer.loss.gamma``, ``transform[1].prob``.
        value: Plain data.

    Returns:
        The names of the parameters that were dropped.

    Raises:
        ConfigError: The path leads through something that is no table or no such list entry.
    """
    dropped: list[str] = []
    keys = _keys(path)
    place: Any = document
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if not _leads(place, key):
            raise _no_place("A value can't be set", path, keys, key, place)
        if following is None:
            if key == "step" and place.get(key, value) != value:
                dropped = [name for name in place if name != key]
                place.clear()
            place[key] = value
        else:
            if isinstance(place, dict):
                # A step that is named has its own defaults, not those of the section.
                default = DEFAULT_TABLES.get(str(key), {}) if place is document else {}
                place.setdefault(key, {} if following == "step" else dict(default))
            inner = place[key]
            if isinstance(inner, str) and isinstance(following, str) and inner != DEFAULT_CHAIN:
                # A step may be written as its name alone, or be chosen by the library.
                inner = place[key] = {} if inner == "auto" else {"step": inner}
            place = inner
    return dropped


def unset_value(document: dict[str, Any], path: str) -> None:
    """Remove one value of a document by its path, as ``--unset`` does: its default takes its place.

    Args:
        document: Plain data; changed in place.
        path: See `set_value`.

    Raises:
        ConfigError: There is no such value.
    """
    keys = _keys(path)
    place: Any = document
    for key in keys[:-1]:
        if not _leads(place, key) or (isinstance(place, dict) and key not in place):
            raise _no_place("A value can't be unset", path, keys, key, place)
        place = place[key]
    last = keys[-1]
    if not _leads(place, last) or (isinstance(place, dict) and last not in place):
        raise _no_place("A value can't be unset", path, keys, last, place)
    del place[last]


def _leads(place: object, key: str | int) -> bool:
    """Whether a key may be looked for in a table or a list."""
    if isinstance(place, list):
        return isinstance(key, int) and key < len(place)
    return isinstance(place, dict) and isinstance(key, str)


def _no_place(
    summary: str, path: str, keys: list[str | int], key: str | int, place: object
) -> ConfigError:
    """The error for a path that leads nowhere."""
    if keys[0] not in SECTIONS:
        problem = no_section(str(keys[0]))
    elif isinstance(place, list) and isinstance(key, int):
        problem = Problem(path=path, message=f"there is no entry {key}; {_entries(place)}.")
    elif place == DEFAULT_CHAIN:
        problem = Problem(
            path=path,
            message=f"{DEFAULT_CHAIN!r} stands for several steps, and takes no parameters.",
            remedy=f"To change one, write them all: {', '.join(DEFAULT_TRANSFORMS)}.",
        )
    elif isinstance(key, int) and keys[0] in LIST_SECTIONS:
        problem = Problem(
            path=path,
            message=f"the configuration has no [[{keys[0]}]].",
            remedy=whole_list(str(keys[0])),
        )
    elif isinstance(place, dict):
        remedy = f"Set there: {', '.join(map(str, place))}." if place else ""
        problem = Problem(path=path, message=f"{key!r} is not set.", remedy=remedy)
    else:
        problem = Problem(path=path, message=f"{key!r} is not a part of the configuration there.")
    return ConfigError(summary, [problem])


def whole_list(section: str) -> str:
    """How ``--set`` gives a list of steps that the configuration does not have."""
    names = '"default", "NAME"' if section in DEFAULT_LISTS else '"NAME"'
    return f"Set the whole list: --set '{section}=[{names}]'."


def _entries(given: list[Any]) -> str:
    if not given:
        return "the list is empty"
    whole = f", where {DEFAULT_CHAIN!r} is one" if DEFAULT_CHAIN in given else ""
    return f"entries are numbered 0 to {len(given) - 1}{whole}"


_INDEX = re.compile(r"[0-9]{1,9}")


def _keys(path: str) -> list[str | int]:
    keys: list[str | int] = []
    for part in path.split("."):
        key, *indices = part.replace("]", "").split("[")
        if not key or not all(map(_INDEX.fullmatch, indices)):
            message = "is not a path; write it like trainer.learning_rate or transform[1].prob."
            raise ConfigError("A value can't be set", [Problem(path=path[:60], message=message)])
        keys += [key, *map(int, indices)]
    return keys


def no_section(key: str) -> Problem:
    """The problem of a section that there is none of."""
    remedy = suggestion(key, SECTIONS) or f"The sections are {', '.join(SECTIONS)}."
    return Problem(path=key, message="unknown section.", remedy=remedy)
