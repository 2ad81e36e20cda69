"""`Recorder`: write the run directory."""

from __future__ import annotations

import csv
import datetime
import io
import logging
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.config import Configuration, unrepeatable, write
from medpipe.data.quality.quarantine_file import write_quarantine
from medpipe.data.splits.split_file import SPLITS_FILE, write_splits
from medpipe.errors import RunError
from medpipe.registry.parameters import unstructure
from medpipe.steps import SPLITS, DataInfo, Task, TaskStep
from medpipe.system import files
from medpipe.system.versions import versions
from medpipe.training.run_checkpoints import RunCheckpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from medpipe.data.preparation import PreparedData
    from medpipe.registry.registry import Registry
    from medpipe.training.loop import Epoch

FORMAT = 1
RECORD = "run.json"
CONFIGURATION = "pipeline.toml"
QUARANTINE = "quarantine.csv"
HISTORY = "history.csv"
PREDICTIONS = "predictions_{}.csv"

logger = logging.getLogger("medpipe")


class Recorder:
    """Writes one run directory; every file is written atomically.

    Args:
        path: The directory; it must be claimed already.
        record: The content of ``run.json``.
        provenance_digests: Digests of what the checkpoints depend on; see the function.
        rows: The history so far.

    Attributes:
        path: The directory.
        record: The content of ``run.json``; it changes during the run.
        checkpoints: The run's checkpoints.
        see_ours: Raises if another process has taken over the directory.
    """

    see_ours: Callable[[], object] = staticmethod(lambda: None)

    def __init__(
        self,
        path: Path,
        record: dict[str, Any],
        *,
        provenance_digests: Mapping[str, str],
        rows: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.path = path
        self.checkpoints = RunCheckpoints(run=path)
        self.record = record
        self._provenance_digests = dict(provenance_digests)
        self._rows = [dict(row) for row in rows]
        self._started = time.perf_counter()
        self._before = float(record["timings"].get("total", 0))
        self._begun = False

    def begin(
        self, configuration: Configuration, registry: Registry, prepared: PreparedData
    ) -> None:
        """Write the record, the configuration and the splits before training starts."""
        self._begun = True
        self._write()  # first: it marks the directory as a run directory
        self._write_made_of(configuration, registry, prepared)

    def go_on(
        self, configuration: Configuration, registry: Registry, prepared: PreparedData
    ) -> None:
        """Write that an earlier run is resumed, as described by the record's last session."""
        self._begun = True
        mended = self._write_made_of(configuration, registry, prepared)
        if mended and not self.record["sessions"][-1]["changed"]:
            logger.warning(
                "Files of %s were missing or changed, and are restored: %s.",
                self.path,
                ", ".join(mended),
            )
        self._write()

    def _write_made_of(
        self, configuration: Configuration, registry: Registry, prepared: PreparedData
    ) -> list[str]:
        """Write the configuration and the splits; return the names of the files that changed."""
        self.see_ours()
        written = []
        if self.record["repeatable"]:
            text = write(configuration, registry=registry)
            if files.keep_text(self.path / CONFIGURATION, text):
                written.append(CONFIGURATION)
        samples = prepared.dataset.samples
        if write_splits(self.path / SPLITS_FILE, prepared.split, samples, prepared.scan):
            written.append(SPLITS_FILE)
        quarantine = prepared.quarantine
        if quarantine and write_quarantine(self.path / QUARANTINE, quarantine):
            written.append(QUARANTINE)
        return written

    def epoch(self, epoch: Epoch, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write an epoch's row and checkpoint, and its network where it is the best.

        Args:
            epoch: The epoch's results.
            state: Objects with ``state_dict`` to resume from, by name, the network among them.
            about: Plain data to resume from.
        """
        self.see_ours()
        row = {
            "epoch": epoch.number,
            "iterations": epoch.iterations,
            "training_loss": epoch.loss,
            "learning_rate": epoch.learning_rate,
            **{f"validation_{k}": v for k, v in epoch.validation.items() if _is_number(v)},
            "seconds": round(epoch.seconds, 3),
        }
        self._rows.append(row)
        files.write_text(self.path / HISTORY, _csv(self._rows))
        if epoch.best:
            self.record["best_epoch"] = epoch.number
            self.record["metrics"]["validation"] = dict(epoch.validation)
        self.save(state, {**about, "epoch": epoch.number})
        self._write()

    def save(self, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write the checkpoint to resume from."""
        self.see_ours()
        kept = {
            "epoch": None,
            **about,
            "provenance_digests": self._provenance_digests,
            "history": self._rows,
            "best_epoch": self.record["best_epoch"],
            "metrics": self.record["metrics"],
        }
        self.checkpoints.save(state, kept)
        self.record["sessions"][-1]["saved"] = about["progress"]["iteration"]

    def finish(self, **results: Any) -> None:
        """Write the results, and that the run has finished."""
        self.record.update(results)
        self._end("finished")

    def stop(self, reason: str, *, interrupted: bool) -> None:
        """Write that the run stopped before its end and can be resumed."""
        self.record["sessions"][-1]["stopped_by"] = reason
        self._end("interrupted" if interrupted else "stopped")

    def fail(self, error: BaseException) -> None:
        """Write that the run failed, and why; log a warning if that can't be written."""
        if not self._begun:
            return
        self.record["error"] = f"{type(error).__name__}: {error}"
        try:
            self._end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        except RunError as problem:
            logger.warning("How the run ended is not recorded: %s", problem)

    def _end(self, status: str) -> None:
        self.record["status"] = status
        self.record["finished"] = self.record["sessions"][-1]["finished"] = _now()
        total = self._before + time.perf_counter() - self._started
        self.record["timings"]["total"] = round(total, 3)
        self._write()

    def _write(self) -> None:
        self.see_ours()
        files.write_json(self.path / RECORD, self.record)


def provenance_digests(
    configuration: Configuration, registry: Registry, record: Mapping[str, Any]
) -> dict[str, str]:
    """Digests of what a checkpoint depends on, by name, without `RESUME_SAFE_FIELDS`."""
    same = attrs.evolve(
        configuration,
        loader=attrs.evolve(configuration.loader, workers=0, cache="auto"),
        run=attrs.evolve(configuration.run, checkpoint_minutes=0),
    )
    text = "" if unrepeatable(same, registry=registry) else write(same, registry=registry)
    return {
        "configuration": files.sha256_of(text.encode()),
        "data": record["data"]["digest"],  # over all samples: computed once
        "split": record["split"]["digest"],
    }


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
        "started": _now(),
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
        "started": _now(),
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
        "sessions": [{"started": _now(), "from_iteration": 0}],
    }


def info_record(data: DataInfo, registry: Registry) -> dict[str, Any]:
    """What was measured on the data, as plain data; `info_of` reads it."""
    fields = ("channels", "spatial_shape", "spatial_dims", "outputs", "statistics")
    step = data.task.step
    known = registry.plugin_of(step) is not None
    task = unstructure(step, name_of=registry.saved_name if known else lambda cls: cls.name)
    return {
        "task": {"kind": task, "names": list(data.task.names), "unit": data.task.unit},
        **{name: getattr(data, name) for name in fields},
    }


def info_of(record: Mapping[str, Any], registry: Registry) -> DataInfo:
    """What `info_record` wrote.

    Raises:
        UnknownStepError: The task is that of a plugin that is not there.
        ConfigError: The plugin's task has other parameters now.
    """
    info = dict(record)
    task = dict(info.pop("task"))
    parameters = dict(task.pop("kind"))
    step = registry.create(TaskStep, parameters.pop("step"), parameters)
    plain = {name: tuples(item) for name, item in info.items()}
    return DataInfo(task=Task(kind=step, **task), **plain)


def tuples(value: Any) -> Any:
    """Lists as tuples, also inside of a table."""
    if isinstance(value, Mapping):
        return {name: tuples(item) for name, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def machine_record(device: str, precision: str, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """The record of device, precision, versions, hardware and environment."""
    return {
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
