"""The handler `mlflow` against a real server with SQLite on loopback, and against bad ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import medpipe
from medpipe.errors import ConfigError
from medpipe.training.checkpoint import load_checkpoint
from support.marked_runs import plain
from support.mlflow_server import Server, free_port
from support.tiny_runs import registered, tiny

pytest.importorskip("flask", reason="needs the server of MLflow: pip install mlflow")
mlflow = pytest.importorskip("mlflow", reason="needs MLflow: pip install mlflow")


def builder(url: str, **parameters: Any) -> medpipe.PipelineBuilder:
    step = medpipe.step("mlflow", **{"every": 1, "url": url, "wait": 60, **parameters})
    return registered(tiny()).handlers(step)


def weights(run: medpipe.Run) -> Any:
    states, _ = load_checkpoint(run.path / "checkpoints/last.safetensors")
    return plain({name: states[name] for name in ("network", "optimizer", "$generators")})


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> medpipe.Run:
    return registered(tiny()).build().run(tmp_path_factory.mktemp("without") / "run")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


def runs_of(server: Server, experiment: str) -> list[Any]:
    client = mlflow.MlflowClient(server.url)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id]))


def assert_whole(server: Server, experiment: str, run: medpipe.Run) -> Any:
    (there,) = runs_of(server, experiment)
    client, last = mlflow.MlflowClient(server.url), int(run.history[-1]["iterations"] or 0)

    def curve(name: str) -> list[tuple[int, float]]:
        points = client.get_metric_history(there.info.run_id, name)
        return [(point.step, point.value) for point in points]

    steps = [step for step, _ in curve("training/loss")]
    assert steps == list(range(1, last + 1))
    assert curve("validation/accuracy") == [
        (row["iterations"], row["validation_accuracy"]) for row in run.history
    ]
    test = run.metrics["test"]
    assert curve("test/accuracy") == [(last, test["accuracy"])]
    assert curve("test/accuracy_low") == [(last, test["intervals"]["accuracy"][0])]
    assert there.data.params["trainer.max_epochs"] == "2"
    assert there.data.tags["medpipe.split_digest"] == run.record["split"]["digest"]
    assert there.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(there.info.run_id)}
    assert files >= {"pipeline.toml", "run.json", "history.csv", "best.safetensors"}
    return there


@pytest.mark.long
def test_a_run_that_stops_is_one_run_there_with_rising_steps(
    server: Server, without: medpipe.Run, tmp_path: Path
) -> None:
    pipeline = builder(server.url, experiment="stopped").build()
    run = pipeline.run(tmp_path / "run", max_time=0)
    (there,) = runs_of(server, "stopped")
    assert there.info.status == "KILLED"
    run = pipeline.run(tmp_path / "run", resume=True)
    assert run.status == "finished"
    assert weights(run) == weights(without)
    assert_whole(server, "stopped", run)
    assert run.track("mlflow") == 0
    assert len(runs_of(server, "stopped")) == 1


@pytest.mark.long
def test_a_run_whose_server_is_killed_is_sent_later(
    server: Server, without: medpipe.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Server(tmp_path)
    other.start()
    pipeline = builder(other.url, experiment="killed", wait=1).build()
    pipeline.run(tmp_path / "run", max_time=0)
    other.kill()
    run = pipeline.run(tmp_path / "run", resume=True)
    assert run.status == "finished"
    assert weights(run) == weights(without)
    assert f"medpipe track {run.path} --to mlflow." in caplog.text
    assert run.track("mlflow", url=server.url, experiment="killed", every=1) > 20
    (there,) = runs_of(server, "killed")
    assert there.info.status == "FINISHED"
    other.start()  # it has the beginning
    run.track("mlflow", url=other.url)
    (there,) = runs_of(other, "killed")
    assert there.info.status == "FINISHED"
    other.kill()


class _Failing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing() -> Iterator[str]:
    """The address of a server that answers 500 to everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    """An address at which nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("kind", ["failing", "silent", "refusing"])
def test_a_bad_server_costs_a_warning(
    kind: str,
    without: medpipe.Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(kind)
    run = builder(url, wait=1).build().run(tmp_path / "run")
    assert run.status == "finished"
    assert weights(run) == weights(without)
    assert "The tracker mlflow lacks a part of the run: " in caplog.text
    assert f"medpipe track {run.path} --to mlflow." in caplog.text


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        builder("http://me:secret@127.0.0.1:5000").build()
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)
    assert "secret" not in str(caught.value)
