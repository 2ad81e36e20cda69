"""Write a run directory while a pipeline runs: what it was made of, and what came of it."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import io
import os
import platform
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs

from medpipe import files
from medpipe.config import Configuration, unrepeatable, write
from medpipe.data.split_file import write_split
from medpipe.steps import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medpipe.data.preparation import PreparedData
    from medpipe.registry import Registry
    from medpipe.steps import DataInfo
    from medpipe.training.loop import Epoch

FORMAT = 1
RECORD = "run.json"
CONFIGURATION = "pipeline.toml"
SPLITS = "splits.csv"
HISTORY = "history.csv"
BEST = "checkpoints/best.safetensors"
LAST = "checkpoints/last.safetensors"

VERSIONED = (
    "medpipe",
    "torch",
    "monai",
    "pytorch-ignite",
    "numpy",
    "pillow",
    "scikit-learn",
    "scipy",
    "safetensors",
)


class Recorder:
    """Writes one run directory; every file is whole at every moment.

    Args:
        path: The directory; it must be claimed already.
        record: What `run.json` begins with.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        self._rows: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def begin(
        self, configuration: Configuration, registry: Registry, prepared: PreparedData
    ) -> None:
        """Write what the run is made of, before anything long begins."""
        if self.record["repeatable"]:
            text = write(configuration, registry=registry)
            files.write_text(self.path / CONFIGURATION, text)
        write_split(self.path / SPLITS, prepared.split, prepared.dataset.samples, prepared.scan)
        self._write()

    def epoch(self, epoch: Epoch, state: Mapping[str, Any]) -> None:
        """Write an epoch's row and checkpoints."""
        from medpipe.training.checkpoint import save_checkpoint

        row = {
            "epoch": epoch.number,
            "iterations": epoch.iterations,
            "training_loss": epoch.loss,
            **{f"validation_{k}": v for k, v in epoch.validation.items() if _is_number(v)},
            "seconds": round(epoch.seconds, 3),
        }
        self._rows.append(row)
        files.write_text(self.path / HISTORY, _csv(self._rows))
        about = {"epoch": epoch.number, "validation": dict(epoch.validation)}
        if epoch.best:
            network = {"network": state["network"]}
            save_checkpoint(self.path / BEST, network, about=about)
            self.record["best_epoch"] = epoch.number
            self.record["metrics"]["validation"] = dict(epoch.validation)
        save_checkpoint(self.path / LAST, state, about=about)
        self._write()

    def finish(self, **results: Any) -> None:
        """Write what came of it."""
        self.record.update(results, status="finished")
        self._end()

    def fail(self, error: BaseException) -> None:
        """Write that the run did not end well, and why."""
        stopped = isinstance(error, KeyboardInterrupt)
        self.record["status"] = "interrupted" if stopped else "failed"
        self.record["error"] = f"{type(error).__name__}: {error}"
        self._end()

    def _end(self) -> None:
        self.record["finished"] = _now()
        self.record["timings"]["total"] = round(time.perf_counter() - self._started, 3)
        self._write()

    def _write(self) -> None:
        files.write_json(self.path / RECORD, self.record)


def first_record(
    configuration: Configuration,
    registry: Registry,
    prepared: PreparedData,
    *,
    data: DataInfo,
    device: str,
    precision: str,
    hardware: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """What is known of a run before it trains: enough to repeat it elsewhere."""
    why = unrepeatable(configuration, registry=registry)
    return {
        "format": FORMAT,
        "name": name,
        "status": "running",
        "started": _now(),
        "finished": None,
        "repeatable": not why,
        "not_repeatable_because": why,
        "seeds": {"run": configuration.run.seed, "split": configuration.split.seed},
        "device": device,
        "precision": precision,
        "data": {
            "digest": prepared.scan.digest,
            "samples": len(prepared.dataset.samples),
            "parts": {part: len(prepared.parts[part]) for part in PARTS},
            "info": attrs.asdict(data),
        },
        "best_epoch": None,
        "metrics": {},
        "timings": {},
        "plugins": _plugins(configuration, registry),
        "versions": versions(),
        "hardware": dict(hardware),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k in _ENVIRONMENT},
        "git": _git(),
        "command": sys.argv,
    }


_ENVIRONMENT = frozenset(
    {
        "CUBLAS_WORKSPACE_CONFIG",
        "CUDA_VISIBLE_DEVICES",
        "MEDPIPE_PLUGINS",
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
        "PYTHONHASHSEED",
    }
)


def _plugins(configuration: Configuration, registry: Registry) -> list[dict[str, Any]]:
    used: dict[tuple[str, str], list[str]] = {}
    for _, step in configuration.steps():
        plugin = registry.plugin_of(step)
        if plugin is not None:
            steps = used.setdefault((plugin.distribution, plugin.version), [])
            label = f"{step.kind}:{step.name}"
            if label not in steps:
                steps.append(label)
    return [
        {"distribution": distribution, "version": version, "steps": steps}
        for (distribution, version), steps in used.items()
    ]


def versions() -> dict[str, str]:
    """The versions of Python, medpipe and what it computes with, as far as installed."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """The commit of the folder that the run was started in, and whether it was changed."""
    try:
        commit = _git_says("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git_says("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_says(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # whichever git the user has
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


def _csv(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
