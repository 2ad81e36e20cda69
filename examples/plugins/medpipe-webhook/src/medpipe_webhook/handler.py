"""The handler."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import attrs
from attrs.validators import gt

from medpipe.plugin import Tracker, TrackerStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medpipe.plugin import Point, RunFacts, TrackedStatus

TOKEN = "MEDPIPE_WEBHOOK_TOKEN"
"""The environment variable with the token that the server wants; it is in no run directory."""


def _is_url(step: Webhook, _: attrs.Attribute[str], url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"'url' must begin with http:// or https:// and name a host, got {url!r}.")
    if parts.password is not None:
        raise ValueError(
            "'url' must not hold a password, since the run directory keeps it. Set the "
            f"environment variable {TOKEN}."
        )


@attrs.frozen(kw_only=True)
class Webhook(TrackerStep):
    """Sends a run to a server as JSON over HTTP.

    With ``GET runs/ID`` it asks for the last step of each curve, which the server answers as
    ``{"sent": {"training/loss": 120}}``, or with 404. ``PUT runs/ID`` creates the run (name,
    parameters, tags); ``POST runs/ID/points`` has points of curves, ``PUT runs/ID/files/NAME`` a
    file, ``POST runs/ID/status`` how the run stands. The token in the environment variable
    ``MEDPIPE_WEBHOOK_TOKEN`` is sent as ``Authorization: Bearer``.

    Attributes:
        url: Of the server; what follows its path is as above.
        timeout: The seconds that an answer may take.
        artifacts: The files of the run directory that are sent at its end; none by default, since
            reports show images.
    """

    name: ClassVar[str] = "webhook"
    url: str = attrs.field(validator=_is_url)
    timeout: float = attrs.field(default=10.0, validator=gt(0))
    artifacts: tuple[str, ...] = ()

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """A server that is not there: its run goes on."""
        return [cls(url="http://127.0.0.1:9", wait=0.0)]

    def open(self, facts: RunFacts) -> Tracker:
        """Find the run at the server, or create it there."""
        return _TrackedRun(self, facts)


class _TrackedRun(Tracker):
    def __init__(self, step: Webhook, facts: RunFacts) -> None:
        self._step = step
        self._path = f"runs/{quote(facts.id, safe='')}"
        try:
            found = self._call("GET", self._path)
        except HTTPError as error:
            if error.code != 404:
                raise
            about = {
                "name": facts.name,
                "parameters": dict(facts.parameters),
                "tags": dict(facts.tags),
            }
            self._call("PUT", self._path, about)
            found = {}
        self._sent = {str(name): int(step) for name, step in found.get("sent", {}).items()}

    def sent(self) -> Mapping[str, int]:
        """What the server has already."""
        return self._sent

    def send(self, points: Sequence[Point]) -> None:
        """Send points of curves."""
        rows = [{**attrs.asdict(point), "value": float(point.value)} for point in points]
        self._call("POST", f"{self._path}/points", {"points": rows})

    def send_file(self, path: Path) -> None:
        """Send a file as it is."""
        self._call("PUT", f"{self._path}/files/{quote(path.name, safe='')}", path.read_bytes())

    def close(self, status: TrackedStatus) -> None:
        """Say how the run ended."""
        self._call("POST", f"{self._path}/status", {"status": status})

    def _call(
        self, method: str, path: str, content: Mapping[str, Any] | bytes | None = None
    ) -> dict[str, Any]:
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if token := os.environ.get(TOKEN):
            headers["Authorization"] = f"Bearer {token}"
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
        request = Request(
            f"{self._step.url.rstrip('/')}/{path}", data=content, headers=headers, method=method
        )
        with urlopen(request, timeout=self._step.timeout) as answer:
            text = answer.read()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found
