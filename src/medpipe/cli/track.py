"""``medpipe track``: send a run to a tracker, after it or in the middle of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medpipe.errors import RunError
from medpipe.registry.registry import Registry
from medpipe.runs.run import Run
from medpipe.runs.tracked import tracker_names
from medpipe.system.text import counted


def track(
    run: Path, /, *, to: str | None = None, url: str | None = None, folder: str | None = None
) -> None:
    """Send a run, or what is missing of it, to TensorBoard, MLflow or another tracker.

    Nothing is sent twice: the tracker is asked first what it has of the run.

    Args:
        run: The run directory.
        to: tensorboard, mlflow or a plugin's tracker; by default those of the run's configuration.
        url: The address of the server, for mlflow; by default that of the configuration, or of
            MLFLOW_TRACKING_URI.
        folder: Where the run gets a folder of event files, for tensorboard; by default that of
            the configuration, or tensorboard in the run directory.
    """
    loaded = Run.load(run)
    names = tracker_names(run, Registry.discover()) if to is None else [to]
    if not names:
        raise RunError(f"The configuration of {run} names no tracker. Choose one with --to.")
    given: dict[str, Any] = {"url": url, "folder": folder}
    given = {key: item for key, item in given.items() if item is not None}
    for name in names:
        count = loaded.track(name, **given)
        print(f"{counted(count, 'point')} sent to {name}")
