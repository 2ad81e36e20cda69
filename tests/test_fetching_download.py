"""Downloads from a server that misbehaves: what is taken, and every message of what isn't."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loopback import CONTENT, HALF, OTHER
from medpipe.fetching import download as downloading
from medpipe.plugin import DownloadError, download
from medpipe.system.disk import Disk
from medpipe.system.files import through

if TYPE_CHECKING:
    from loopback import Loopback

SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT = "Check the address."
REACH = (
    "Check the address, and that this machine can reach it. If there is a proxy, name it in the "
    "environment variable https_proxy."
)
TRUST = (
    "Check the date of this machine. If you have a certificate authority of your own, name its "
    "file in the environment variable SSL_CERT_FILE."
)
NOTHING = (
    "Nothing was kept. Try again later; if the content stays the same, the publisher has changed "
    "the file."
)
KEPT = f"Try again later: {HALF:,} bytes are kept, and the next try continues from there."


@pytest.fixture
def fetch(
    loopback: Loopback, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Fetch:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(downloading, "_PAUSE", 0.01)
    monkeypatch.setattr(downloading, "_LONGEST_PAUSE", 1.5)
    return Fetch(loopback, tmp_path / "here" / "file.bin")


class Fetch:
    """Downloads from a path of the server."""

    def __init__(self, server: Loopback, target: Path) -> None:
        self.server, self.target = server, target
        self.part = target.with_name(".file.bin.part")

    def __call__(self, path: str, **others: Any) -> None:
        url = path if "://" in path else self.server.url(path)
        order: dict[str, Any] = {"sha256": SHA256, "most_bytes": SIZE + 100, "timeout": 5}
        made = download(url, self.target, **(order | others))
        assert made == self.target
        assert made.read_bytes() == CONTENT
        assert self.listed() == ["file.bin"]

    def message(self, path: str, **others: Any) -> str:
        """What it says when it fails; the file has no name then."""
        with pytest.raises(DownloadError) as caught:
            self(path, **others)
        assert not self.target.exists()
        url = path if "://" in path else self.server.url(path)
        start = f"{url} can't be downloaded: "
        assert str(caught.value).startswith(start)
        return str(caught.value).removeprefix(start)

    def listed(self) -> list[str]:
        return sorted(entry.name for entry in self.target.parent.iterdir())


def test_a_file_is_downloaded_and_checked(fetch: Fetch) -> None:
    fetch("/fine")
    fetch("/fine")
    assert fetch.server.asked == [("/fine", None)]


def test_md5_and_redirects_and_chunks_and_empty_files(fetch: Fetch, tmp_path: Path) -> None:
    fetch("/moved", sha256=None, md5=hashlib.md5(CONTENT).hexdigest())
    fetch.target.unlink()
    fetch("/chunked")
    fetch.server.content = b""
    url, empty = fetch.server.url("/fine"), tmp_path / "empty"
    download(url, empty, sha256=hashlib.sha256().hexdigest(), most_bytes=0)
    assert empty.read_bytes() == b""


FAILING = {
    "/nothing": f"the server answered 404 Not Found. {RIGHT}",
    "/forbidden": f"the server answered 403 Forbidden. {RIGHT}",
    "/rude": f"the server answered 404 ?[2J{96 * 'x'}[...]. {RIGHT}",
    "/empty": f"the server answered 204 No Content. {RIGHT}",
    "/broken": "the server answered 500 Internal Server Error (after 3 tries). Try again later.",
    "/busy-long": (
        "the server answered 429 Too Many and asks to wait 300 seconds. Try again later."
    ),
    "/to-http": f"http://127.0.0.1:9/file is not https. {RIGHT}",
    "/to-file": f"file:///etc/passwd is not https. {RIGHT}",
    "/loop": f"the server redirected more than 5 times. {RIGHT}",
    "/early": f"the connection ended after {HALF:,} of {SIZE:,} bytes (after 3 tries). {KEPT}",
    "/gone": (
        "the connection failed (Remote end closed connection without response) (after 3 tries). "
        "Try again later."
    ),
    "/says-more": (
        f"the connection ended after {SIZE:,} of {SIZE + 10:,} bytes (after 3 tries). Try again "
        f"later: {SIZE:,} bytes are kept, and the next try continues from there."
    ),
    "/says-less": (
        "the content is not what was published (sha256 "
        f"{hashlib.sha256(CONTENT[:-10]).hexdigest()} instead of {SHA256}). {NOTHING}"
    ),
    "/other": (
        f"the content is not what was published (sha256 {hashlib.sha256(OTHER).hexdigest()} "
        f"instead of {SHA256}). {NOTHING}"
    ),
    "/endless": (
        f"the server sent BYTES bytes, more than the {SIZE + 100:,} allowed (most_bytes). {RIGHT}"
    ),
    "/says-much": (
        f"the server announces {10**15:,} bytes, more than the {SIZE + 100:,} "
        f"allowed (most_bytes). {RIGHT}"
    ),
    "/uncalled-range": (
        "the server sent another part of the file than the one requested (after 3 tries). Try "
        "again later."
    ),
    "/no-http": f"the connection failed (SSH-2.0-OpenSSH_9.7). {REACH}",
    "http://127.0.0.1:9/file": f"http://127.0.0.1:9/file is not https. {RIGHT}",
    "file:///etc/passwd": f"file:///etc/passwd is not https. {RIGHT}",
    "ftp://127.0.0.1/file": f"ftp://127.0.0.1/file is not https. {RIGHT}",
    "https://[::1/file": f"the connection failed (Invalid IPv6 URL). {REACH}",
    "https://localhost:port/file": f"the connection failed (nonnumeric port: 'port'). {REACH}",
    "https://127.0.0.1:9/file": f"the connection failed (Connection refused). {REACH}",
}
TRIED_AGAIN = {"/broken", "/early", "/gone", "/says-more", "/uncalled-range"}


@pytest.mark.parametrize("path", FAILING)
def test_downloads_that_fail(path: str, fetch: Fetch) -> None:
    told = re.sub(r"sent [\d,]+ bytes", "sent BYTES bytes", fetch.message(path))
    assert told == FAILING[path]
    tries = sum(asked == path for asked, _ in fetch.server.asked)
    if path.startswith("/"):
        assert tries == (3 if path in TRIED_AGAIN else 6 if path == "/loop" else 1)
    assert fetch.listed() == ([".file.bin.part"] if path in ("/early", "/says-more") else [])


def test_a_reset_is_tried_again(fetch: Fetch) -> None:
    # What was on its way when the connection was reset is lost or not, as the system likes.
    told = fetch.message("/reset")
    assert told.startswith(("the connection ended ", "the connection failed (Connection reset"))
    assert "(after 3 tries). Try again later" in told
    assert fetch.server.times["/reset"] == 3


def test_a_reset_at_the_beginning_is_tried_again(fetch: Fetch) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(5)

        def reset_all() -> None:
            for _ in range(3):
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    return
                connection.recv(1)
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.close()

        thread = threading.Thread(target=reset_all)
        thread.start()
        told = fetch.message(f"https://localhost:{listening.getsockname()[1]}/file")
        thread.join()
    assert (
        told == "the connection failed (Connection reset by peer) (after 3 tries). Try again later."
    )


def test_whose_certificate_is_not_trusted(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch.message(fetch.server.url("/fine", host="127.0.0.1")) == (
        "the server's certificate is not trusted (IP address mismatch, certificate is not valid "
        f"for '127.0.0.1'). {TRUST}"
    )
    monkeypatch.delenv("SSL_CERT_FILE")
    reason = "the server's certificate is not trusted (self-signed certificate)"
    assert fetch.message("/fine") == f"{reason}. {TRUST}"
    assert fetch.server.asked == []


@pytest.mark.parametrize("path", ["/silent", "/silent-body"])
def test_servers_that_fall_silent(path: str, fetch: Fetch) -> None:
    began = time.monotonic()
    told = fetch.message(path, timeout=0.3)
    assert told.startswith("the server sent nothing for 0.3 seconds (after 3 tries). Try again")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("path", ["/silent", "/trickle", "/trickled-headers", "/endless"])
def test_no_download_takes_longer_than_it_may(
    path: str, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of which a byte comes now and then."""
    monkeypatch.setattr(downloading, "_LONGEST", 0.5)
    began = time.monotonic()
    told = fetch.message(path, timeout=0.4, most_bytes=10**13)
    assert told.startswith(
        ("the download took longer than 0.5 seconds. Try again later", "the server sent")
    )
    assert told.startswith("the download took longer") or path == "/silent"
    assert time.monotonic() - began < 4


def test_a_machine_that_takes_no_connection(fetch: Fetch) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # takes connections, and never speaks
        url = f"https://localhost:{deaf.getsockname()[1]}/file"
        began = time.monotonic()
        told = fetch.message(url, timeout=0.2)
        assert time.monotonic() - began < 4
    assert told == "the server sent nothing for 0.2 seconds (after 3 tries). Try again later."


@pytest.mark.parametrize(
    ("path", "ranges"),
    [
        ("/early-once", [None, f"bytes={HALF}-"]),
        ("/early-once-chunked", [None, f"bytes={HALF}-"]),
        ("/no-range", [None, f"bytes={HALF}-"]),
        ("/wrong-range", [None, f"bytes={HALF}-", None]),
        ("/not-satisfiable", [None, f"bytes={HALF}-", None]),
        ("/changed", [None, f"bytes={HALF}-", None]),
        ("/broken-once", [None, None]),
        ("/busy-once", [None, None]),
    ],
)
def test_what_another_try_makes_good(path: str, ranges: list[str | None], fetch: Fetch) -> None:
    began = time.monotonic()
    fetch(path)
    assert fetch.server.asked == [(path, part) for part in ranges]
    assert (time.monotonic() - began >= 1) == (path == "/busy-once")


def test_a_proxy_is_gone_through(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def stand_between(listening: socket.socket) -> None:
        client, _ = listening.accept()
        server = socket.create_connection(("127.0.0.1", fetch.server.server_port))
        with client, server:
            asked.append(client.recv(65536).splitlines()[0])
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(server, client))
            back.start()
            pass_on(client, server)
            back.join()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        proxy = threading.Thread(target=stand_between, args=(listening,))
        proxy.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        fetch("/fine")
        proxy.join()
    assert asked[0].startswith(f"CONNECT localhost:{fetch.server.server_port} HTTP/1.".encode())


def test_the_pauses_double(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(downloading, "_PAUSE", 1.0)
    monkeypatch.setattr(downloading.time, "sleep", pauses.append)
    fetch.message("/broken")
    assert pauses == [1, 2]
    pauses.clear()
    monkeypatch.setattr(downloading, "_LONGEST", 2)  # the next pause would end after that
    told = fetch.message("/broken")
    assert told.startswith("the server answered 500 Internal Server Error (after 2 tries).")
    assert pauses == [1]


def interrupted(fetch: Fetch) -> None:
    fetch.target.parent.mkdir(exist_ok=True)
    fetch.part.write_bytes(CONTENT[:HALF])
    fetch.server.asked.clear()


def test_another_call_goes_on_where_one_ended(fetch: Fetch) -> None:
    fetch.message("/early")
    assert fetch.part.read_bytes() == CONTENT[:HALF]
    fetch.server.asked.clear()
    fetch("/fine")
    assert fetch.server.asked == [("/fine", f"bytes={HALF}-")]


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (CONTENT, [f"bytes={SIZE}-"]),  # whole, and the process ended before it got its name
        (bytes(HALF), [f"bytes={HALF}-", None]),  # zeros, as after a power cut
        (OTHER[:HALF], [f"bytes={HALF}-", None]),  # of another version, or of another file
        (bytes(SIZE), [f"bytes={SIZE}-", None]),
        (CONTENT + b"more", [f"bytes={SIZE + 4}-", None]),
        (b"", [None]),
    ],
)
def test_only_a_part_of_the_file_itself_is_taken(
    part: bytes, asked: list[str | None], fetch: Fetch
) -> None:
    interrupted(fetch)
    fetch.part.write_bytes(part)
    fetch("/fine")
    assert fetch.server.asked == [("/fine", part) for part in asked]


def test_the_limit_of_size_counts_what_is_here(fetch: Fetch) -> None:
    interrupted(fetch)
    assert fetch.message("/fine", most_bytes=SIZE - 1) == (
        f"the server announces {SIZE:,} bytes, more than the {SIZE - 1:,} "
        f"allowed (most_bytes). {RIGHT}"
    )
    assert fetch.listed() == []
    assert fetch.server.asked == [("/fine", f"bytes={HALF}-")]


def test_no_room(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    told = fetch.message("/says-much", most_bytes=10**16)
    free = told.split(" bytes, and ")[1].split(" are free")[0]
    assert told == (
        f"the file takes {10**15:,} bytes, and {free} are free in {fetch.target.parent}. Make "
        "room on that disk, or choose another one."
    )
    monkeypatch.setenv("MEDPIPE_CACHE", str(fetch.target.parent))
    assert fetch.message("/says-much", most_bytes=10**16).endswith(
        " The environment variable MEDPIPE_CACHE chooses another cache folder."
    )
    interrupted(fetch)
    state = shutil.disk_usage(fetch.target.parent)._replace(free=SIZE - HALF)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: state)
    fetch("/fine")  # room for what is missing


class FullDisk(Disk):
    """Has no room for a file's content."""

    def write(self, path: Path, file: int, content: bytes | memoryview) -> int:
        if path.suffix == ".part":
            raise OSError(28, "No space left on device", str(path))
        return super().write(path, file, content)


class SafeOrder(Disk):
    """Sees the content on the disk before it gets the file's name."""

    synced: bool = False
    renamed: bool = False

    def sync(self, path: Path, file: int) -> None:
        self.synced = self.synced or path.name == ".file.bin.part"
        super().sync(path, file)

    def rename(self, source: Path, target: Path) -> None:
        assert self.synced
        self.renamed = self.renamed or target.name == "file.bin"
        super().rename(source, target)


def test_a_disk_that_fails(fetch: Fetch) -> None:
    with through(FullDisk()), pytest.raises(DownloadError) as caught:
        fetch("/fine")
    assert str(caught.value) == (
        f"{fetch.server.url('/fine')} can't be downloaded to {fetch.target}: no space left on "
        "device. Make room on that disk, or choose another one."
    )
    disk = SafeOrder()
    with through(disk):
        fetch("/fine")
    assert disk.renamed


@pytest.mark.parametrize(
    "digests",
    [
        {},
        {"sha256": "5"},
        {"sha256": 64 * "A"},
        {"sha256": 32 * "a"},
        {"md5": 64 * "a"},
        {"sha256": 64 * "a", "md5": 32 * "a"},
        {"sha256": f"sha256:{64 * 'a'}"},
    ],
)
def test_a_digest_that_is_none(digests: dict[str, str], fetch: Fetch) -> None:
    with pytest.raises(ValueError) as caught:
        download("https://a/b", fetch.target, **digests)
    assert str(caught.value) == (
        "https://a/b needs either sha256 of 64 or md5 of 32 hexadecimal digits in lower case. "
        "Take it from the file's publisher."
    )


def test_servers_that_are_not_asked_for_more_than_they_announce(fetch: Fetch) -> None:
    """The limit holds for what is announced, before any of it is read."""
    assert fetch.message("/fine", most_bytes=SIZE - 1) == (
        f"the server announces {SIZE:,} bytes, more than the {SIZE - 1:,} "
        f"allowed (most_bytes). {RIGHT}"
    )
    assert fetch.listed() == []
