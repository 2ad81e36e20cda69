"""The trackers of a run: those that its configuration names, and any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe import config
from medpipe.errors import RunError
from medpipe.runs.record import CONFIGURATION
from medpipe.steps import HandlerStep
from medpipe.system.file_errors import mode_of
from medpipe.tracking.sender import send_run
from medpipe.tracking.step import TrackerStep

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medpipe.registry.registry import Registry


def send(path: Path, name: str, registry: Registry, parameters: Mapping[str, object]) -> int:
    """Send a run to a tracker; see `medpipe.tracking.sender.send_run`.

    Args:
        path: The run directory.
        name: The tracker's name.
        registry: Where it is looked up.
        parameters: Its parameters, in place of those of the configuration, if it names it.

    Raises:
        UnknownStepError: There is no such handler.
        ConfigError: A parameter is wrong.
        RunError: It is not a tracker, is not installed, does not answer, or refuses.
    """
    asked = registry.get(HandlerStep, name)
    found: Mapping[str, object] = {}
    for saved, configured in _handlers(path):
        if registry.get(HandlerStep, saved) is asked:
            found = configured
    step = registry.create(HandlerStep, name, {**found, **parameters})
    if not isinstance(step, TrackerStep):
        raise RunError(f"The handler {name!r} is not a tracker. Choose tensorboard or mlflow.")
    return send_run(path, step.destination)


def tracker_names(path: Path, registry: Registry) -> list[str]:
    """The names of the trackers that a run's configuration has."""
    names = [name for name, _ in _handlers(path)]
    return [name for name in names if issubclass(registry.get(HandlerStep, name), TrackerStep)]


def _handlers(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The configuration's handlers with their parameters; none with ready objects."""
    file = path / CONFIGURATION
    if not mode_of(file):
        return []
    tables = config.parse(config.read_text(file), source=str(file)).get("handler", [])
    return [(table["step"], {k: v for k, v in table.items() if k != "step"}) for table in tables]
