"""The configuration of a command: a file or a recipe, with values set."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Any

from medpipe import PipelineBuilder, Registry, config, recipes
from medpipe.errors import ConfigError, Problem
from medpipe.runs.record import CONFIGURATION
from medpipe.system.file_errors import mode_of

logger = logging.getLogger("medpipe")

QUARANTINED = "run.bad_data=quarantine"
"""What ``--quarantine`` is short for."""


def builder_of(source: str, settings: list[str], unset: list[str] | None = None) -> PipelineBuilder:
    """Read a configuration.

    Args:
        source: A file that ends in ``.toml``, or the name of a recipe.
        settings: ``PATH=VALUE`` each.
        unset: Paths whose values are removed first.

    Raises:
        ConfigError: It can't be read or has problems.
    """
    is_file = source.endswith(".toml")
    if not is_file and mode_of(Path(source) / CONFIGURATION):
        remedy = f"The configuration of the run in it is {Path(source) / CONFIGURATION}."
        problem = Problem(path=source, message="is a folder.", remedy=remedy)
        raise ConfigError("The configuration can't be read", [problem])
    text = config.read_text(Path(source)) if is_file else recipes.text(source)
    document = config.parse(text, source=source)
    registry = Registry.discover()
    if any(setting.startswith("transform[") for setting in [*settings, *(unset or [])]):
        document.setdefault("transform", config.default_chain(document, registry=registry))
    problems: list[Problem] = []
    for path in unset or []:
        try:
            config.unset_value(document, path.strip())
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError("A value can't be unset", problems)
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            message = "write PATH=VALUE, such as trainer.max_epochs=5."
            problems.append(Problem(path=setting, message=message))
            continue
        try:
            dropped = config.set_value(document, path.strip(), _value(value.strip()))
        except ConfigError as error:
            problems += error.problems
        else:
            if dropped:
                logger.info(
                    "%s is now another step; parameters of the previous one were dropped: %s",
                    path.strip().removesuffix(".step"),
                    ", ".join(dropped),
                )
    if problems:
        raise ConfigError("A value can't be set", problems)
    return PipelineBuilder.from_document(document, registry=registry)


def _value(text: str) -> Any:
    """Parse a TOML value; anything else is text, so that quotes can be left out."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return found["value"] if len(found) == 1 else text  # a second line sets nothing
