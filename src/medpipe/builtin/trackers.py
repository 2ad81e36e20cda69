"""Handler steps that send a run to a tracker: TensorBoard's event files, an MLflow server."""

from __future__ import annotations

import importlib
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import attrs

from medpipe.plugin import HandlerStep, Tracker, TrackerStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from medpipe.plugin import Point, RunFacts, TrackedStatus


@attrs.frozen(kw_only=True)
class TensorBoard(TrackerStep):
    """Writes event files for TensorBoard; needs ``medpipe-imaging[tensorboard]``.

    Look at them with ``tensorboard --logdir runs``. A resumed run goes on in the same folder, with
    rising steps. Files of the run directory are not copied.

    Attributes:
        folder: Where each run gets a folder of its own; empty: ``tensorboard`` in the run
            directory.
    """

    name: ClassVar[str] = "tensorboard"
    folder: str = ""

    def load(self) -> None:
        """Import TensorBoard.

        Raises:
            ImportError: TensorBoard is not installed.
        """
        try:
            importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
        except ImportError as error:
            raise ImportError(
                "TensorBoard is not installed. Install medpipe-imaging[tensorboard]."
            ) from error

    def open(self, facts: RunFacts) -> Tracker:
        """Open the run's folder of event files."""
        own = f"{facts.name}-{facts.id[:8]}"
        path = Path(self.folder) / own if self.folder else facts.path / "tensorboard"
        return _EventFiles(path, facts)


class _EventFiles(Tracker):
    """One file of events, written here and now: TensorBoard's own writer does so in a thread."""

    def __init__(self, path: Path, facts: RunFacts) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._sent, has_text = _events_of(path)
        path.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        number = len(list(path.glob("*")))
        # TensorBoard reads files in the order of their names, and many may be of one second.
        self._file = (path / f"{name}.{number:06d}").open("xb")
        self._writer = RecordWriter(self._file)
        self._write([{"file_version": "brain.Event:2", "wall_time": time.time()}])
        if not has_text:
            told = {**facts.tags, **facts.parameters}
            rows = "\n".join(f"| {_cell(name)} | {_cell(text)} |" for name, text in told.items())
            text = text_pb("run", f"| name | value |\n|---|---|\n{rows}")
            self._write([{"summary": text, "wall_time": time.time()}])

    def sent(self) -> Mapping[str, int]:
        return self._sent

    def send(self, points: Sequence[Point]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        def summary(point: Point) -> Any:
            return Summary(value=[Summary.Value(tag=point.name, simple_value=point.value)])

        self._write(
            {"summary": summary(point), "step": point.step, "wall_time": point.seconds}
            for point in points
        )

    def close(self, status: TrackedStatus) -> None:
        self._file.close()

    def _write(self, events: Iterable[Mapping[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        try:
            for event in events:
                self._writer.write(Event(**event).SerializeToString())
            self._file.flush()
        except OSError:
            with suppress(OSError):  # what is left in its buffer
                self._file.close()
            raise


def _events_of(path: Path) -> tuple[dict[str, int], bool]:
    """The last step of each curve that a folder's event files have, and whether they have text."""
    from tensorboard.backend.event_processing import event_accumulator as events

    if not path.is_dir():
        return {}, False
    # A sample of one is the last.
    read = events.EventAccumulator(str(path), {events.SCALARS: 1, events.TENSORS: 1})
    read.Reload()
    tags = read.Tags()
    return {tag: read.Scalars(tag)[-1].step for tag in tags["scalars"]}, bool(tags["tensors"])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _is_url(instance: MLflow, attribute: Any, value: str) -> None:
    if urlsplit(value).password is not None:
        raise ValueError(
            "'url' must not hold a password, since the run directory keeps it. Give it by the "
            "environment variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


@attrs.frozen(kw_only=True)
class MLflow(TrackerStep):
    """Sends the run to MLflow; needs ``medpipe-imaging[mlflow]``.

    Parameters, digests, curves, metrics with their intervals and the files of `artifacts`. The
    report among them shows images. A resumed run goes on in the same run there. Passwords and
    tokens come from MLflow's environment variables alone. MLflow's telemetry is switched off.

    Attributes:
        url: Of the server, such as ``http://127.0.0.1:5000``; empty: ``MLFLOW_TRACKING_URI``.
        experiment: Its name, created if need be; empty: ``MLFLOW_EXPERIMENT_NAME``, or
            ``medpipe``.
    """

    name: ClassVar[str] = "mlflow"
    url: str = attrs.field(default="", validator=_is_url)
    experiment: str = ""

    def load(self) -> None:
        """Import MLflow, which then gives up on a server that is away within a minute.

        Raises:
            ImportError: It is not installed.
        """
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        try:
            importlib.import_module("mlflow")
        except ImportError as error:
            raise ImportError(
                "MLflow is not installed. Install medpipe-imaging[mlflow]."
            ) from error

    def open(self, facts: RunFacts) -> Tracker:
        """Find the run by its id, or create it."""
        return _MLflowRun(self, facts)


_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # With jitter it would draw from Python's generator, which belongs to the training.
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}

_LONGEST = 500
"""Characters of a parameter or a tag that all of MLflow's stores take."""


class _MLflowRun(Tracker):
    def __init__(self, step: MLflow, facts: RunFacts) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=step.url or None)
        name = step.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "medpipe"
        experiment = self._experiment(name)
        own = f"tags.`medpipe.id` = '{facts.id}'"
        found = self._client.search_runs([experiment], own, max_results=1)
        tags = {key: text[:_LONGEST] for key, text in facts.tags.items()}
        self._sent: dict[str, int] = {}
        if found:
            run = found[0]
            self._sent = {metric.key: metric.step for metric in run.data.to_proto().metrics}
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(experiment, run_name=facts.name, tags=tags)
        self._id = run.info.run_id
        self._tell(facts.parameters, run.data.params)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another run may have created it meanwhile
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _tell(self, parameters: Mapping[str, str], known: Mapping[str, str]) -> None:
        """Send parameters; those that are there can't be changed, and what differs is a tag."""
        from mlflow.entities import Param, RunTag

        told = {name: text[:_LONGEST] for name, text in parameters.items()}
        new = [Param(name, text) for name, text in told.items() if name not in known]
        for start in range(0, len(new), 100):
            self._client.log_batch(self._id, params=new[start : start + 100])
        changed = [
            RunTag(f"medpipe.changed.{name}", text)
            for name, text in told.items()
            if known.get(name, text) != text
        ]
        if changed:
            self._client.log_batch(self._id, tags=changed[:100])

    def sent(self) -> Mapping[str, int]:
        return self._sent

    def send(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(point.name, point.value, int(point.seconds * 1000), point.step)
            for point in points
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def send_file(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def close(self, status: TrackedStatus) -> None:
        ended = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        if status != "running":
            self._client.set_terminated(self._id, ended[status])


TRACKERS: tuple[type[HandlerStep], ...] = (TensorBoard, MLflow)
"""All built-in trackers."""
