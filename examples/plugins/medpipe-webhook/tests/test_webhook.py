"""Runs that are sent to a server of this test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import medpipe_webhook
import pytest
from medpipe_webhook import Webhook

import medpipe


class Server(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.runs: dict[str, dict[str, Any]] = {}
        self.tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        run = self.server.runs.get(self.path.split("/")[3])
        if run is None:
            self.answer(404, {})
        else:
            self.answer(200, {"sent": {point["name"]: point["step"] for point in run["points"]}})

    def do_PUT(self) -> None:
        _, _, _, run, *more = self.path.split("/")
        if more:
            self.server.runs[run]["files"][more[1]] = self.content()
        else:
            self.server.runs[run] = {"points": [], "files": {}, **json.loads(self.content())}
        self.answer(200, {})

    def do_POST(self) -> None:
        _, _, _, run, kind = self.path.split("/")
        sent = json.loads(self.content())
        if kind == "points":
            self.server.runs[run]["points"] += sent["points"]
        else:
            self.server.runs[run].update(sent)
        self.answer(200, {})

    def content(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, code: int, content: dict[str, Any]) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def registry() -> medpipe.Registry:
    """The installed plugins, and this one where it is not installed."""
    found = medpipe.Registry.discover()
    if "webhook" in found.handlers:
        return found
    return found.with_plugin(medpipe_webhook, name="medpipe-webhook")


def trained(output: Path, step: Webhook) -> medpipe.Run:
    return (
        medpipe.PipelineBuilder(device="cpu", registry=registry())
        .dataset("phantom", samples=48, size=16)
        .network("resnet10", widen_factor=0.0625, conv1_t_size=3)
        .trainer("supervised", max_epochs=2)
        .handlers(step)
        .loader(batch_size=8, workers=0)
        .build()
        .run(output)
    )


def test_a_run_is_at_the_server_when_it_ends(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDPIPE_WEBHOOK_TOKEN", "s3cret")
    run = trained(
        tmp_path / "run", Webhook(url=server.url, every=1, wait=60, artifacts=("run.json",))
    )
    (sent,) = server.runs.values()
    assert (sent["name"], sent["status"]) == ("run", "finished")
    assert sent["parameters"]["trainer.max_epochs"] == "2"
    curves = {point["name"] for point in sent["points"]}
    assert {"training/loss", "validation/loss", "test/accuracy"} <= curves
    names = [(point["name"], point["step"]) for point in sent["points"]]
    assert len(names) == len(set(names))
    assert json.loads(sent["files"]["run.json"])["id"] == run.record["id"]
    assert server.tokens == {"Bearer s3cret"}
    texts = [path for path in run.path.rglob("*") if path.is_file()]
    assert not any(b"s3cret" in path.read_bytes() for path in texts)


def test_what_a_server_missed_is_sent_later_and_once(server: Server, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", Webhook(url="http://127.0.0.1:9", wait=0))
    assert run.metrics["test"]
    assert run.track("webhook", registry=registry(), url=server.url) > 10
    assert run.track("webhook", registry=registry(), url=server.url) == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://tracker.example", "must begin with http"),
        ("https://me:word@tracker.example", "must not hold a password.*MEDPIPE_WEBHOOK_TOKEN"),
    ],
)
def test_other_addresses_are_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Webhook(url=url)
