"""Configurations that ship with medpipe: see `medpipe.PipelineBuilder.from_recipe`."""

from __future__ import annotations

from importlib import resources

from medpipe.errors import ConfigError, Problem
from medpipe.registry.wording import suggestion


def names() -> tuple[str, ...]:
    """The names of the configurations that ship with the package."""
    folder = resources.files(__name__)
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def text(name: str) -> str:
    """The text of a recipe.

    Raises:
        ConfigError: There is no recipe of that name.
    """
    if name not in names():
        message = f"there is no recipe {name!r}."
        remedy = suggestion(name, names()) or f"There are {', '.join(names())}."
        remedy += " The name of a configuration file ends in .toml."
        raise ConfigError("Unknown recipe", [Problem(path="", message=message, remedy=remedy)])
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
