"""Configurations that ship with medpipe, and the files of an empty project.

See `medpipe.PipelineBuilder.from_recipe`.
"""

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


def summary(name: str) -> str:
    """The first sentence of a recipe's comment."""
    lines = text(name).partition("\nformat")[0].splitlines()
    return " ".join(line.removeprefix("# ") for line in lines).partition(". ")[0] + "."


def project() -> dict[str, str]:
    """The files of an empty project, by name."""
    folder = resources.files(__name__) / "project"
    stored = {"pipeline.toml": "pipeline.toml", "README.md": "README.md", ".gitignore": "gitignore"}
    return {name: (folder / file).read_text(encoding="utf-8") for name, file in stored.items()}
