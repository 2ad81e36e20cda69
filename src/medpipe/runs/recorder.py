"""`Recorder`: write the run directory."""

from __future__ import annotations

import csv
import io
import logging
import time
from typing import TYPE_CHECKING, Any

from medpipe.config import Configuration, write
from medpipe.data.quality.quarantine_file import write_quarantine
from medpipe.data.splits.split_file import SPLITS_FILE, write_splits
from medpipe.errors import RunError
from medpipe.runs.record import CONFIGURATION, HISTORY, QUARANTINE, RECORD, timestamp
from medpipe.system import files
from medpipe.training.run_checkpoints import RunCheckpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from medpipe.data.preparation import PreparedData
    from medpipe.registry.registry import Registry
    from medpipe.training.loop import Epoch
    from medpipe.training.run_checkpoints import Found


logger = logging.getLogger("medpipe")


class Recorder:
    """Writes one run directory; every file is written atomically.

    Args:
        path: The directory; it must be claimed already.
        record: The content of ``run.json``.
        provenance_digests: Digests of what the checkpoints depend on; see the function.
        rows: The history so far.
        writes: Whether it writes at all: of several processes only the one that leads does.

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
        writes: bool = True,
    ) -> None:
        self.path = path
        self._writes = writes
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
        if not self._writes:
            return
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
        if not self._writes:
            return
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
        if not self._writes:
            return
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

    def settle(self, found: Found) -> None:
        """Let the checkpoint that the run is resumed from be the last."""
        if self._writes:
            self.checkpoints.settle(found)

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
        self.record["finished"] = self.record["sessions"][-1]["finished"] = timestamp()
        total = self._before + time.perf_counter() - self._started
        self.record["timings"]["total"] = round(total, 3)
        self._write()

    def _write(self) -> None:
        if self._writes:
            self.see_ours()
            files.write_json(self.path / RECORD, self.record)


def _csv(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
