"""The content of ``run.json``: what a run was made of, on which machine; and the files' names."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tomllib
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from medpipe.config import Configuration, text_of, unrepeatable, write
from medpipe.config.measured import info_record
from medpipe.data.scanning.image_facts import training_facts
from medpipe.errors import RunError
from medpipe.steps import SPLITS, DataInfo
from medpipe.system import files
from medpipe.system.timing import timed
from medpipe.system.versions import versions, writer_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medpipe.data.preparation import PreparedData
    from medpipe.registry.registry import Registry

FORMAT = 1
RECORD = "run.json"
CONFIGURATION = "pipeline.toml"
QUARANTINE = "quarantine.csv"
HISTORY = "history.csv"
PREDICTIONS = "predictions_{}.csv"
RunStatus = Literal["running", "finished", "stopped", "interrupted", "failed"]


def read_record(folder: Path) -> Mapping[str, Any]:
    """Read ``run.json`` of a run directory.

    Raises:
        RunError: It is not there, can't be read, or is of a newer medpipe.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{folder} is not a run directory: it has no {RECORD}.") from error
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} can't be read: {error}. Restore it from a backup, or begin a new run in "
            "another output folder."
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RunError(f"{path} has an unknown format. Use {writer_of(record)}.")
    return record


def provenance_digests(
    configuration: Configuration, registry: Registry, record: Mapping[str, Any]
) -> dict[str, str]:
    """Digests of what a checkpoint depends on, by name, without `RESUME_SAFE_VALUES`."""
    repeatable = not unrepeatable(configuration, registry=registry)
    return {
        "configuration": configuration_digest(
            write(configuration, registry=registry) if repeatable else ""
        ),
        "data": record["data"]["digest"],  # over all samples: computed once
        "split": record["split"]["digest"],
    }


def configuration_digest(text: str) -> str:
    """The digest of a written configuration, whatever stands for `RESUME_SAFE_VALUES`.

    Args:
        text: As `medpipe.config.write` gives it; empty where it can't be written.
    """
    document = tomllib.loads(text)
    for section, values in RESUME_SAFE_VALUES.items():
        table = document.get(section, {})
        table |= {name: value for name, value in values.items() if name in table}
    return files.sha256_of((text_of(document) if document else "").encode())


RESUME_SAFE_VALUES: Mapping[str, Mapping[str, object]] = {
    "loader": {"workers": 0, "cache": "auto"},
    "run": {"checkpoint_minutes": 0, "timeout": 600},
}
"""What stands in the digest for each field that may always change: results don't depend on it."""


def later_record(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    about: Mapping[str, Any],
    changed: Sequence[str],
    instead_of: str,
) -> dict[str, Any]:
    """The record of a resumed run.

    Args:
        before: The record on disk.
        now: The record of a run that began now; see `first_record`.
        about: The metadata of the checkpoint to resume from.
        changed: What has changed since, one line each.
        instead_of: Why the checkpoint is not the last one; empty where it is.
    """
    sessions = [dict(session) for session in before["sessions"]]
    if before["status"] == "finished":  # its results stay, however far this session comes
        sessions[-1] |= {"best_epoch": before["best_epoch"], "metrics": before["metrics"]}
    session = {
        "started": timestamp(),
        "from_iteration": about["progress"]["iteration"],
        "changed": list(changed),
        **({"instead_of": instead_of} if instead_of else {}),
    }
    return {
        **now,
        **{k: before[k] for k in ("id", "name", "started", "timings", "weights", "git", "command")},
        **{key: about[key] for key in ("best_epoch", "metrics")},
        "sessions": [*sessions, session],
    }


def first_record(
    configuration: Configuration,
    registry: Registry,
    prepared: PreparedData,
    *,
    data: DataInfo,
    weights: Mapping[str, Any] | None,
    decided: Mapping[str, Any],
    machine: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """The record of a run before training: enough to repeat it elsewhere."""
    why = unrepeatable(configuration, registry=registry)
    split = configuration.split
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "name": name,
        "status": "running",
        "started": timestamp(),
        "finished": None,
        "repeatable": not why,
        "not_repeatable_because": why,
        "seeds": {"run": configuration.run.seed, "split": configuration.split.seed},
        "split": {
            "digest": prepared.split.digest,
            "seed": split.seed,
            "folds": split.folds,
            "fold": None if split.folds is None else split.fold or 0,
        },
        "data": {
            "digest": prepared.digest,
            "samples": len(prepared.dataset.samples),
            "splits": {split: len(prepared.by_split[split]) for split in SPLITS},
            "reading": prepared.dataset.reading.plain(),
            "notes": list(prepared.dataset.notes),
            "quarantine": dict(sorted(Counter(f.kind for f in prepared.quarantine).items())),
            "info": info_record(data, registry),
            "images": _images(prepared),
        },
        "auto": dict(decided),
        "weights": weights,
        "best_epoch": None,
        "chosen_on_validation": None,
        "metrics": {},
        "timings": {},
        "plugins": _plugins(configuration, registry),
        **machine,
        "git": _git(),
        "command": sys.argv,
        "sessions": [{"started": timestamp(), "from_iteration": 0}],
    }


def _images(prepared: PreparedData) -> dict[str, Any] | None:
    """What the training images look like; see `training_facts`."""
    dataset, samples = prepared.dataset, prepared.by_split["training"]
    with timed("scanning"):
        return training_facts(samples, prepared.scan.fingerprints, dataset.reading)


def machine_record(
    device: str, precision: str, hardware: Mapping[str, Any], processes: int
) -> dict[str, Any]:
    """The record of device, precision, versions, hardware, environment and processes."""
    return {
        "processes": processes,
        "device": device,
        "precision": precision,
        "versions": versions(),
        "hardware": dict(hardware),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k in _ENVIRONMENT},
    }


_ENVIRONMENT = frozenset(
    {
        "CUBLAS_WORKSPACE_CONFIG",
        "CUDA_VISIBLE_DEVICES",
        "MEDPIPE_PLUGINS",
        "MEDPIPE_START_METHOD",
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


def _git() -> dict[str, Any] | None:
    """The git commit of the working directory, and whether it has uncommitted changes."""
    try:
        commit = _git_says("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git_says("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_says(*arguments: str) -> str:
    command = ["git", *arguments]  # whichever git the user has
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def timestamp() -> str:
    """The time, as a record has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
