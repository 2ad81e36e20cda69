"""A page that answers from an ONNX export of medpipe, on this machine alone.

    python serve.py EXPORT [--port 8000]

It needs onnxruntime, numpy, pillow and pydicom; neither torch nor medpipe.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import re
import socket
import sys
import threading
import warnings
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

try:
    from model import Model
    from refused import Refused
except ImportError as error:
    sys.exit(f"{error}. Install what it needs: pip install onnxruntime numpy pillow pydicom")

ADDRESS = "127.0.0.1"
LIMIT = 64 << 20
"""The bytes that an upload may have."""
READ_ANYWAY = 4 * LIMIT
"""Up to this, a too large upload is read and thrown away, for browsers hear no answer before."""
AT_ONCE = threading.BoundedSemaphore(2)
"""How many images are in memory at a time."""
OCTETS = "application/octet-stream"
"""The type of an upload. No form of another site can send it without asking first."""
PAGE = Path(__file__).with_name("index.html")
METHODS = {"/": "GET, HEAD", "/about": "GET, HEAD", "/predict": "POST"}
"""What there is. Nothing else of the disk can be asked for."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request.

    Args:
        parts: What `BaseHTTPRequestHandler` takes.
        model: The model.
        page: The page.
    """

    protocol_version = "HTTP/1.1"
    server_version = "medpipe-serve"
    sys_version = ""
    timeout = 30
    _unread = True

    def __init__(self, *parts: Any, model: Model, page: bytes) -> None:
        self._model, self._page = model, page
        super().__init__(*parts)

    def do_GET(self) -> None:
        """The page, and what it says of the model."""
        if not self._allowed("GET"):
            return
        if self.path == "/":
            self._send(200, self._page, "text/html; charset=utf-8")
        else:
            self._send_json(200, {**self._model.about(), "limit": LIMIT})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """The answer for the file that is the body."""
        try:
            if not self._allowed("POST"):
                return
            length = self._length()
            content = self.rfile.read(length)
            self._unread = False
            if len(content) < length:
                raise Refused("The upload broke off.", status=400)
            with AT_ONCE:
                answer = self._model.answer(content)
        except Refused as refused:
            self._fail(refused.status, str(refused))
        except (TimeoutError, ConnectionError):
            self.close_connection = True
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            self._fail(500, "The program failed. What it says of it is where it was started.")
        else:
            self._send_json(200, answer)

    def handle_expect_100(self) -> bool:
        """Say no before the body is sent, where the head is enough to know."""
        try:
            allowed = self.command == "POST" and self._allowed("POST") and self._length() >= 0
        except Refused as refused:
            self._fail(refused.status, str(refused))
            return False
        return bool(allowed and super().handle_expect_100())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The errors of `http.server`: JSON as all answers are."""
        if code == 501:  # a method without a function here
            self._allowed(self.command)
        else:
            self._fail(code, message or explain or self.responses[code][0])

    def log_message(self, format: str, *parts: Any) -> None:  # noqa: A002
        """Nothing: what is asked is nobody's."""

    def _allowed(self, method: str) -> bool:
        """Whether the request is for this server and what it has; else the answer is sent."""
        _, port = self.connection.getsockname()
        names = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        names |= {ADDRESS, "localhost"} if port == 80 else set()
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if host not in names:
            # A name of another site that was made to point here (DNS rebinding).
            self._fail(403, f"This server is {ADDRESS}:{port} alone.")
        elif (origin is not None and origin != f"http://{host}") or self.headers.get(
            "Sec-Fetch-Site", "none"
        ) not in ("none", "same-origin"):
            self._fail(403, "Pages of other sites may not ask this server.")
        elif self.path not in METHODS:
            self._fail(404, "There is nothing here. The page is at /.")
        elif method not in METHODS[self.path]:
            self._fail(405, f"Use {METHODS[self.path]} here.", Allow=METHODS[self.path])
        else:
            return True
        return False

    def _length(self) -> int:
        """The bytes of the upload.

        Raises:
            Refused: It is too large, or of no known length.
        """
        given = self.headers.get("Content-Length")
        if self.headers.get("Transfer-Encoding") is not None or given is None:
            raise Refused("The upload does not say its length (Content-Length).", status=411)
        if not given.isascii() or not given.isdigit() or len(given) > 20:
            raise Refused(f"The Content-Length {given[:20]!r} is no length.", status=400)
        length = int(given)
        if length > LIMIT:
            raise Refused(f"The file is larger than {LIMIT >> 20} MiB.", status=413)
        if self.headers.get("Content-Type") != OCTETS:
            raise Refused(f"Send the file itself, with the Content-Type {OCTETS}.", status=415)
        if not length:
            raise Refused("The file is empty.")
        return length

    def _fail(self, status: int, text: str, **headers: str) -> None:
        # What follows may be the rest of a body, not a request.
        self.close_connection = True
        self._send_json(status, {"error": text}, Connection="close", **headers)
        self._read_rest()

    def _read_rest(self) -> None:
        """Read what is sent in vain: a browser that is cut off shows no answer."""
        given = getattr(self, "headers", None) and self.headers.get("Content-Length")
        waits = given and "100-continue" in self.headers.get("Expect", "")
        if not given or not given.isdigit() or waits or not self._unread:
            return
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(2)
            left = min(int(given[:20]), READ_ANYWAY)
            while left > 0 and (part := self.rfile.read1(min(left, 1 << 16))):
                left -= len(part)
        except OSError:
            pass

    def _send_json(self, status: int, content: dict[str, Any], **headers: str) -> None:
        text = json.dumps(content, allow_nan=False)
        self._send(status, text.encode(), "application/json", **headers)

    def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        given = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": _policy(self._page),
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **headers,
        }
        self.send_response(status)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@cache
def _policy(page: bytes) -> str:
    """Nothing may be loaded, and the page's own script and style alone may run."""

    def of(tag: bytes) -> str:
        (inside,) = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), page, flags=re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {of(b'script')}; style-src {of(b'style')}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def main() -> int:
    """Serve an export."""
    # Both would print what is in files.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="A page that answers from an ONNX export.")
    parser.add_argument("export", type=Path, help="the folder that medpipe export wrote")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    given = parser.parse_args()
    try:
        model = Model(given.export)
        handler = partial(Handler, model=model, page=PAGE.read_bytes())
        server = ThreadingHTTPServer((ADDRESS, given.port), handler)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(f"Port {given.port} can't be used: {error}. Choose another.", file=sys.stderr)
        return 2
    url = f"http://{ADDRESS}:{server.server_port}/"
    print(f"{model.name}, of run {model.contract['run']['id']}: {url} (Ctrl+C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
