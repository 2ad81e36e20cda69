"""`Run`: a run on disk, to read and to take its networks from."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe import config
from medpipe.config import Configuration
from medpipe.errors import RunError
from medpipe.recording import BEST, CONFIGURATION, HISTORY, LAST, PREDICTIONS, RECORD
from medpipe.registry import Registry
from medpipe.steps import DataInfo, Task

if TYPE_CHECKING:
    import os

    from torch import nn

    from medpipe.evaluation.predictions import Predictions

__all__ = ["Run"]


@attrs.frozen(kw_only=True, eq=False)
class Run:
    """A run directory: what a pipeline was made of and what came of it.

    Attributes:
        path: The directory.
        record: The content of ``run.json``.
    """

    path: Path
    record: Mapping[str, Any] = attrs.field(repr=False)
    _configuration: Configuration | None = attrs.field(default=None, repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run directory.

        Raises:
            RunError: It is not there, holds no run, or one of a newer medpipe.
        """
        folder = Path(path)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{folder} holds no run: there is no {RECORD} in it.") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{folder / RECORD} can't be read: {error}.") from error
        if not isinstance(record, dict) or record.get("format") != 1:
            raise RunError(f"{folder / RECORD} is of another format; a newer medpipe may know it.")
        return cls(path=folder, record=record)

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """The metrics by part: ``run.metrics["test"]["accuracy"]``.

        Those of ``validation`` are the best epoch's; those of ``test`` the best network's, with
        95 % intervals under ``intervals``.
        """
        metrics: Mapping[str, Mapping[str, Any]] = self.record["metrics"]
        return metrics

    @property
    def status(self) -> str:
        """How it stands.

        ``running``, ``finished``, ``stopped`` (by a time limit or a signal; it can go on),
        ``interrupted`` (by Ctrl-C) or ``failed``.
        """
        return str(self.record["status"])

    @property
    def data(self) -> DataInfo:
        """What was measured on the data."""
        info = dict(self.record["data"]["info"])
        task = info.pop("task")
        info["spatial_shape"] = tuple(info["spatial_shape"])
        counts = info["class_counts"]
        info["class_counts"] = None if counts is None else tuple(counts)
        return DataInfo(task=Task(**task), **info)

    @property
    def history(self) -> list[dict[str, float | None]]:
        """The epochs in order: losses, validation metrics, seconds."""
        try:
            text = (self.path / HISTORY).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        rows = csv.DictReader(text.splitlines())
        return [{k: float(v) if v else None for k, v in row.items()} for row in rows]

    def predictions(self, part: Literal["validation", "test"] = "test") -> Predictions:
        """The best network's predictions on a part, by sample id.

        Raises:
            RunError: The run has none, for example because it did not finish.
        """
        from medpipe.evaluation.predictions import read_predictions

        path = self.path / PREDICTIONS.format(part)
        if not path.is_file():
            raise RunError(f"The run {self.path} has no predictions on the part {part!r}.")
        return read_predictions(path, self.data.task)

    def network(
        self, which: Literal["best", "last"] = "best", *, registry: Registry | None = None
    ) -> nn.Module:
        """A network of the run, on the processor and in evaluation mode.

        Args:
            which: ``best`` by the monitored metric, or ``last``.
            registry: Where the network's step is looked up; by default every installed plugin.

        Raises:
            RunError: There is no such checkpoint, or the network was a ready object and the run
                is not the one in memory.
            ConfigError: The run's configuration names a step that is not there.
        """
        from medpipe.training.checkpoint import load_checkpoint

        states, _ = load_checkpoint(self.path / (BEST if which == "best" else LAST))
        step = self._read_configuration(registry).network
        network = step.build(self.data)
        try:
            network.load_state_dict(states["network"])
        except RuntimeError as error:
            raise RunError(
                f"The checkpoint of {self.path} does not fit its network step {step.name!r}: "
                f"{' '.join(str(error).split())}"
            ) from error
        return network.eval()

    def summary(self) -> str:
        """The metrics of every part with their intervals, for people."""
        lines = []
        for part, metrics in self.metrics.items():
            lines.append(f"{part} on {metrics['images']} images:")
            intervals = metrics.get("intervals", {})
            for name, value in metrics.items():
                if isinstance(value, float):
                    low, high = intervals.get(name) or (None, None)
                    spread = "" if low is None else f" (95 % interval {low:.4f} to {high:.4f})"
                    lines.append(f"  {name:20} {value:.4f}{spread}")
        return "\n".join(lines)

    def _read_configuration(self, registry: Registry | None) -> Configuration:
        if self._configuration is not None:
            return self._configuration
        path = self.path / CONFIGURATION
        if not path.is_file():
            why = "; ".join(self.record["not_repeatable_because"])
            raise RunError(
                f"The run {self.path} can't be built again, since it used ready objects ({why}). "
                "Register them as steps to get repeatable runs."
            )
        document = config.parse(config.read_text(path), source=str(path))
        return config.load(document, registry=registry or Registry.discover())
