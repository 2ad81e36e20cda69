"""A server on this machine that behaves well on one path, and badly on each of the others."""

from __future__ import annotations

import http.server
import itertools
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(itertools.islice(itertools.cycle(range(251)), 50_000))
HALF = len(CONTENT) // 2
OTHER = CONTENT[::-1]


class Loopback(http.server.ThreadingHTTPServer):
    """Publishes `content`; keeps who asked for what."""

    daemon_threads = True

    def __init__(self, certificate: Path, content: bytes = CONTENT) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.content = content
        self.asked: list[tuple[str, str | None]] = []
        self.times: Counter[str] = Counter()
        self.over = threading.Event()
        self.pace = 0.0

    def url(self, path: str, *, host: str = "localhost") -> str:
        return f"https://{host}:{self.server_port}{path}"

    def handle_error(self, *_: object) -> None:
        """The clients hang up, as they should."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Loopback
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        part = self.headers.get("Range")
        self.server.asked.append((self.path, part))
        self.server.times[self.path] += 1
        with suppress(OSError):
            behaviour = getattr(self, "do" + re.sub(r"\W", "_", self.path), None)
            if behaviour is None:
                self.send_error(404)
            else:
                behaviour()

    def log_message(self, *_: object) -> None:
        pass

    @property
    def first(self) -> bool:
        return self.server.times[self.path] == 1

    def head(self, status: int = 200, reason: str | None = None, **fields: object) -> None:
        self.send_response(status, reason)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, content: bytes) -> None:
        self.head(Content_Length=len(content))
        for start in range(0, len(content), 1 << 14):
            self.wfile.write(content[start : start + (1 << 14)])
            if self.server.pace:
                self.server.over.wait(self.server.pace)

    def half(self) -> None:
        self.head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:HALF])

    def part(self, content: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found is None:
            self.whole(content)
            return
        start = int(found[1])
        if start >= len(content):
            self.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
            return
        last = len(content) - 1
        length = len(content) - start
        self.head(206, Content_Range=f"bytes {start}-{last}/{len(content)}", Content_Length=length)
        for at in range(start, len(content), 1 << 14):
            self.wfile.write(content[at : at + (1 << 14)])
            if self.server.pace:
                self.server.over.wait(self.server.pace)

    # Behaviours, one for each path.

    def do_fine(self) -> None:
        self.part(self.server.content)

    def do_moved(self) -> None:
        self.head(302, Location="/fine")

    def do_silent(self) -> None:
        self.server.over.wait()

    def do_silent_body(self) -> None:
        self.half()
        self.server.over.wait()

    def do_trickle(self) -> None:
        self.head(Content_Length=len(CONTENT))
        for byte in CONTENT:
            self.wfile.write(bytes([byte]))
            self.server.over.wait(0.02)

    def do_trickled_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nSlow: ")
        while not self.server.over.wait(0.02):
            self.wfile.write(b"x")

    def do_reset(self) -> None:
        self.half()
        self.server.over.wait(0.05)
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        os.close(self.connection.detach())

    def do_gone(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_early(self) -> None:
        self.half()

    def do_early_once(self) -> None:
        if self.first:
            self.half()
        else:
            self.part(CONTENT)

    def do_early_once_chunked(self) -> None:
        if not self.first:
            self.part(CONTENT)
            return
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%b\r\n" % (HALF, CONTENT[:HALF]))

    def do_chunked(self) -> None:
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))

    def do_no_range(self) -> None:
        if self.first:
            self.half()
        else:
            self.whole(CONTENT)

    def do_wrong_range(self) -> None:
        if self.first:
            self.half()
        elif "Range" in self.headers:
            self.head(206, Content_Range=f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.wfile.write(CONTENT[7:])
        else:
            self.whole(CONTENT)

    def do_uncalled_range(self) -> None:
        self.head(206, Content_Range=f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.wfile.write(CONTENT[7:])

    def do_not_satisfiable(self) -> None:
        if self.first:
            self.half()
        elif "Range" in self.headers:
            self.head(416, Content_Range=f"bytes */{len(CONTENT)}", Content_Length=0)
        else:
            self.whole(CONTENT)

    def do_changed(self) -> None:
        """Has another version by the second time."""
        if self.first:
            self.head(Content_Length=len(OTHER))
            self.wfile.write(OTHER[:HALF])
        else:
            self.part(CONTENT)

    def do_says_more(self) -> None:
        self.head(Content_Length=len(CONTENT) + 10)
        self.wfile.write(CONTENT)

    def do_says_less(self) -> None:
        self.head(Content_Length=len(CONTENT) - 10)
        self.wfile.write(CONTENT)

    def do_says_much(self) -> None:
        self.head(Content_Length=10**15)

    def do_endless(self) -> None:
        self.head()
        while not self.server.over.is_set():
            self.wfile.write(CONTENT)

    def do_to_http(self) -> None:
        self.head(302, Location="http://127.0.0.1:9/file")

    def do_to_file(self) -> None:
        self.head(302, Location="file:///etc/passwd")

    def do_loop(self) -> None:
        self.head(302, Location="/loop")

    def do_forbidden(self) -> None:
        self.head(403, "Forbidden", Content_Length=0)

    def do_empty(self) -> None:
        self.head(204, "No Content")

    def do_broken_once(self) -> None:
        if self.first:
            self.head(500, "Internal Server Error", Content_Length=0)
        else:
            self.part(CONTENT)

    def do_broken(self) -> None:
        self.head(500, "Internal Server Error", Content_Length=0)

    def do_busy_once(self) -> None:
        if self.first:
            self.head(503, "Busy", Retry_After="1", Content_Length=0)
        else:
            self.part(CONTENT)

    def do_busy_long(self) -> None:
        self.head(429, "Too Many", Retry_After="300", Content_Length=0)

    def do_rude(self) -> None:
        self.head(404, "\x1b[2J" + "x" * 5000, Content_Length=0)

    def do_other(self) -> None:
        self.whole(OTHER)

    def do_no_http(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.7\r\n\r\n")


def make_certificate(folder: Path) -> Path:
    """A certificate for ``localhost`` alone, with its key beside it."""
    key, made = folder / "key.pem", folder / "certificate.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(made)]
    subprocess.run(["openssl", *request, *names, *files], check=True, capture_output=True)
    return made


@contextmanager
def serving(certificate: Path, content: bytes = CONTENT) -> Iterator[Loopback]:
    """The server, as long as the block runs."""
    server = Loopback(certificate, content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
