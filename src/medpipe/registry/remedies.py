"""What to do about a plugin that could not be loaded, or that needs what is not installed."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

from medpipe.system.distribution import own_distribution

if TYPE_CHECKING:
    from medpipe.registry.loading import Plugin


def unmet(distribution: str) -> list[str]:
    """What a distribution requires and is not installed in that version, as pip names it."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        required = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    lacking = []
    for text in required:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            there = None
        if there is None or not wanted.specifier.contains(there, prereleases=True):
            lacking.append(f"{wanted.name}{wanted.specifier}")
    return lacking


def lacks(plugin: Plugin) -> str:
    """What it requires and does not have, as a sentence; empty: nothing."""
    lacking = [] if plugin.builtin or not plugin.version else unmet(plugin.distribution)
    return f"it requires {', '.join(lacking)}, which is not installed." if lacking else ""


def what_to_do(plugin: Plugin) -> str:
    """What to do about a plugin with an error, problems or remarks; empty where nothing is."""
    name = plugin.distribution
    said = plugin.error or ""
    if said.startswith("MEDPIPE_PLUGINS"):
        return (
            "Correct MEDPIPE_PLUGINS, which names distributions, separated by commas; 'medpipe "
            f"plugins' lists them. Or install it: pip install {name}"
        )
    lacking = [] if plugin.builtin or not plugin.version else unmet(name)
    if lacking:
        own = own_distribution()
        wanted = " ".join(f'"{one}"' for one in lacking)
        older = any(one.partition(">")[0] == own for one in lacking)
        return f"Install what it requires: pip install {wanted}" + (
            f". Or take a version of {name} that is for this medpipe" if older else ""
        )
    if not plugin.version:
        return f"Install it once more: its METADATA is missing or damaged. {_other_ways(name)}"
    if missing := re.search(r"No module named '([\w.]+)'", said):
        return (
            f"Install what brings the module {missing[1]!r}; where it is the plugin's own, install "
            f"the plugin once more: pip install --force-reinstall {name}. If it is yours, name the "
            "distribution that brings it under dependencies in pyproject.toml"
        )
    if re.search(r"cannot import name '\w+' from 'medpipe\b", said):
        return (
            f"It is for another medpipe. Upgrade it (pip install --upgrade {name}), or the library "
            f"itself (pip install --upgrade {own_distribution()})"
        )
    if "entry_points.txt" in said or "entry point" in said:
        return (
            "If it is yours, write under [project.entry-points.medpipe] in pyproject.toml a line "
            f'such as {name.replace("-", "_")} = "{name.replace("-", "_")}", and install it once '
            f"more. {_other_ways(name)}"
        )
    if said or plugin.problems:
        return (
            f"If it is yours, mend this and try: medpipe check-plugin {name}. {_other_ways(name)}"
        )
    if plugin.remarks:
        return f"If it is yours, do nothing of this when it is imported. {_other_ways(name)}"
    return ""


def _other_ways(name: str) -> str:
    return (
        f"Else upgrade it (pip install --upgrade {name}) or remove it (pip uninstall {name}); "
        "MEDPIPE_PLUGINS names the plugins that are loaded"
    )
