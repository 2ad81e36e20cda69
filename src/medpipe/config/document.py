"""A configuration as plain data: read from TOML, and changed by paths."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from medpipe.config.sections import SECTIONS
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


def set_value(document: dict[str, Any], path: str, value: object) -> None:
    """Set one value of a document by its path, as ``--set`` does.

    Args:
        document: Plain data; changed in place.
        path: As error messages write it: ``trainer.loss.gamma``, ``transform[1].prob``.
        value: Plain data.

    Raises:
        ConfigError: The path leads through something that is no table or no such list entry.
    """
    keys = _keys(path)
    place: Any = document
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        inside = isinstance(place, list) and isinstance(key, int) and key < len(place)
        if not (inside or (isinstance(place, dict) and isinstance(key, str))):
            known = keys[0] in SECTIONS
            problem = _no_place(path, key, place) if known else no_section(str(keys[0]))
            raise ConfigError("A value can't be set", [problem])
        if following is None:
            place[key] = value
        elif isinstance(place, dict):
            inner = place.setdefault(key, {})
            if isinstance(inner, str) and isinstance(following, str):
                # A step may be written as its name alone, or be chosen by the library.
                inner = place[key] = {} if inner == "auto" else {"step": inner}
            place = inner
        else:
            place = place[key]


def _no_place(path: str, key: str | int, place: object) -> Problem:
    if isinstance(place, list) and isinstance(key, int):
        return Problem(path=path, message=f"there is no entry {key}; {_entries(len(place))}.")
    return Problem(path=path, message=f"{key!r} is not a part of the configuration there.")


def _entries(count: int) -> str:
    return "the list is empty" if not count else f"entries are numbered 0 to {count - 1}"


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
