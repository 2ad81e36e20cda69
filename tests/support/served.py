"""`examples/serve` as a user starts it, and what it answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

PROGRAM = Path(__file__).parents[2] / "examples/serve/serve.py"
OCTETS = "application/octet-stream"


@attrs.frozen
class Served:
    """A running server.

    Attributes:
        port: Where it listens.
        said: A file with what it wrote to stderr.
    """

    port: int
    said: Path

    @property
    def url(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Send a request: the status, the JSON of the answer, and its headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        kind = response.headers["Content-Type"]
        return (
            response.status,
            json.loads(content) if kind == "application/json" else content.decode(),
            response.headers,
        )

    def answer(self, content: bytes) -> tuple[int, Any]:
        """Upload a file: the status and the answer."""
        status, told, _ = self.ask("POST", "/predict", content, Content_Type=OCTETS)
        return status, told


@contextlib.contextmanager
def served(export: Path, said: Path) -> Iterator[Served]:
    """Serve an export on a free port; stderr gets what Python imported."""
    command = [sys.executable, "-X", "importtime", str(PROGRAM), str(export), "--port", "0"]
    with said.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, (line, said.read_text()[-2000:])
        yield Served(int(found[1]), said)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def refusal(export: Path, *options: str) -> str:
    """Why an export is not served."""
    command = [sys.executable, str(PROGRAM), str(export), "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr
