"""An error in one line: its type, what it says, and where a plugin's or a user's code raised it."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medpipe.errors import MedpipeError
from medpipe.system.distribution import name_and_version, own_distribution, plugin_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

LIBRARIES = frozenset(
    {"medpipe", "torch", "monai", "ignite", "numpy", "attr", "attrs", "pluggy"}
) | frozenset(sys.stdlib_module_names)
"""Packages whose code is nobody's who reads the message, wherever they are installed."""
INSTALLED = {"site-packages", "dist-packages"}
"""The folders of packages, of which only those of plugins are looked at."""


def described(error: BaseException, *, most: int | None = None) -> str:
    """An error in one line, with its type, and where it was raised; without a full stop.

    Args:
        error: The error.
        most: How many characters of what it says are shown; None: all.
    """
    text = " ".join(str(error).split())[:most] or "no message"
    place = raised_at(error)
    return f"{type(error).__name__}: " + (f"{text.rstrip('. ')} ({place})" if place else text)


def raised_at(error: BaseException) -> str:
    """Where in a plugin's or a user's own code an error was raised: ``file, line 41``.

    That is the last line of it on the way to the error; of an error that a library made of
    another, the line on the way to that one. Empty where there is none, and for medpipe's own
    errors, which name what is wrong.
    """
    if isinstance(error, MedpipeError):
        return ""
    found = ""
    for cause in causes(error):
        frames = list(traceback.walk_tb(cause.__traceback__))
        own = [place for place, (frame, _) in enumerate(frames) if _is_own(frame)]
        if own:
            frame, line = frames[own[-1]]
            found = f"{_file_of(frame)}, line {line}"
            if own[-1] == len(frames) - 1:
                break
    return found


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was made of."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _is_own(frame: FrameType) -> bool:
    """Whether a line is in a plugin, or in a script, a notebook or a package of the user's."""
    file, top = frame.f_code.co_filename, _module(frame).partition(".")[0]
    if file.startswith("<") or top in LIBRARIES:
        return False
    path = Path(file)
    if path.suffix != ".py" or not path.is_absolute():  # compiled code names where it was compiled
        path = Path(_home(top))
    if INSTALLED & set(path.parts):
        return top in _plugin_packages()
    return True


def _home(package: str) -> str:
    """The file of a package or a script."""
    with suppress(Exception):  # a package may answer for its attributes by code of its own
        return str(sys.modules[package].__file__ or "")
    return ""


def _module(frame: FrameType) -> str:
    """The name of a line's module, also where it was started by ``python -m``."""
    spec = frame.f_globals.get("__spec__")
    return str(getattr(spec, "name", None) or frame.f_globals.get("__name__", ""))


def _file_of(frame: FrameType) -> str:
    """The file of a line, from its package on."""
    path, module = Path(frame.f_code.co_filename), _module(frame)
    if re.search(r"ipykernel_\d+", str(path)):
        return "a cell of the notebook"
    parts = module.count(".") + 1 + (path.stem == "__init__")
    return "/".join(path.parts[-parts:])


@functools.cache
def _plugin_packages() -> frozenset[str]:
    """The packages and modules, at the top, of all installed plugins."""
    found: set[str] = set()
    for point in plugin_points():
        if name_and_version(point.dist)[0] == own_distribution():
            continue
        found.add(re.split(r"[.:]", point.value.strip())[0])
        with suppress(Exception):  # its list of files may be absent or damaged
            files = importlib.metadata.files(name_and_version(point.dist)[0]) or ()
            found |= {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"}
    return frozenset(found)
