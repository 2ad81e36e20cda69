"""The installed distribution: its name, install commands and name collisions."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

DISTRIBUTION = "medpipe-imaging"
"""Its name on package indexes, where ``medpipe`` belongs to another project."""
GROUP = "medpipe"
"""The group of entry points by which plugins are found."""
BUILTIN = "medpipe.builtin"


def plugin_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of all installed plugins, including the built-in steps."""
    return _points()[0]


def unreadable_points() -> tuple[tuple[str, str, str], ...]:
    """Distributions whose entry points can't be read: name, version and the error."""
    return _points()[1]


@functools.cache
def _points() -> tuple[tuple[importlib.metadata.EntryPoint, ...], tuple[tuple[str, str, str], ...]]:
    try:
        return tuple(importlib.metadata.entry_points(group=GROUP)), ()
    except Exception:  # one damaged file of anybody's would hide all plugins
        points: list[importlib.metadata.EntryPoint] = []
        failed: list[tuple[str, str, str]] = []
        for one in importlib.metadata.distributions():
            try:
                points += one.entry_points.select(group=GROUP)
            except Exception as error:
                text = " ".join(str(error).split())
                failed.append((*name_and_version(one), f"{type(error).__name__}: {text}"))
        return tuple(dict.fromkeys(points)), tuple(failed)


def name_and_version(one: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """The name and the version of a distribution; empty where its metadata do not say them."""
    if one is None:
        return "", ""
    metadata: Any = one.metadata
    return metadata["Name"] or "", metadata["Version"] or ""


@functools.cache
def own_distribution() -> str:
    """The name of the installed distribution with the built-in steps."""
    points = plugin_points()
    names = sorted(point.dist.name for point in points if point.value == BUILTIN and point.dist)
    return DISTRIBUTION if DISTRIBUTION in names or not names else names[0]


def install_command(extra: str) -> str:
    """The command that installs what an extra of medpipe needs."""
    return f'pip install "{own_distribution()}[{extra}]"'


def collisions() -> list[str]:
    """Sentences on other distributions that bring a package ``medpipe`` too, with the remedy."""
    own = own_distribution()
    bringing = importlib.metadata.packages_distributions().get("medpipe", [])
    by_name = {point.name for point in importlib.metadata.distributions(name="medpipe")}
    others = sorted({*bringing, *by_name} - {own})
    return [
        f"The distribution {name} {importlib.metadata.version(name)} has a package medpipe too, "
        f"and files of one may stand in place of the other's. Uninstall both ('pip uninstall "
        f"{name} {own}'), then install {own} alone."
        for name in others
    ]
