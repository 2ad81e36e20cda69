"""Downloads from a server that misbehaves: what is taken, and every message of what isn't."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from loopback import CONTENT, HALF, ONE, OTHER, TWO
from medpipe.fetching import download as downloading
from medpipe.plugin import DownloadError, Patience, download
from medpipe.system.disk import Disk
from medpipe.system.files import through

if TYPE_CHECKING:
    from loopback import Loopback

SIZE = len(CONTENT)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
QUICK = Patience(connect=5, silence=5, slowest=0, longest=20, pause=0.01, longest_pause=1.5)
HASTY = attrs.evolve(QUICK, silence=0.3, retries=1)
RIGHT = "See that the address is right."
REACH = (
    "See that this machine may reach it; where a proxy stands between, name it in the environment "
    "variable https_proxy."
)
TRUST = (
    "See that the date of this machine is right; a certificate authority of your own is named by "
    "the environment variable SSL_CERT_FILE."
)
NOTHING = "Nothing was kept. Try again later; if it stays so, its publisher changed it."
KEPT = f"Try again later: {HALF:,} bytes are kept, and it goes on from there."


@pytest.fixture
def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


@pytest.fixture
def fetch(loopback: Loopback, trust: ssl.SSLContext, tmp_path: Path) -> Fetch:
    return Fetch(loopback, trust, tmp_path / "here" / "file.bin")


class Fetch:
    """Downloads from a path of the server."""

    def __init__(self, server: Loopback, trust: ssl.SSLContext, target: Path) -> None:
        self.server, self.trust, self.target = server, trust, target

    def __call__(self, path: str, patience: Patience = QUICK, **others: Any) -> None:
        url = path if "://" in path else self.server.url(path)
        order = {"checksum": CHECKSUM, "most_bytes": SIZE + 100, "context": self.trust}
        made = download(url, self.target, patience=patience, **(order | others))
        assert made == self.target
        assert made.read_bytes() == CONTENT
        assert self.listed() == ["file.bin"]

    def message(self, path: str, patience: Patience = QUICK, **others: Any) -> str:
        """What it says when it fails; the file has no name then."""
        with pytest.raises(DownloadError) as caught:
            self(path, patience, **others)
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
    fetch("/moved", checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    fetch.target.unlink()
    fetch("/chunked")
    fetch.server.content = b""
    nothing = f"md5:{hashlib.md5().hexdigest()}"
    url, empty = fetch.server.url("/fine"), tmp_path / "empty"
    download(url, empty, checksum=nothing, most_bytes=0, context=fetch.trust)
    assert empty.read_bytes() == b""


FAILING = {
    "/nothing": f"the server answered 404 Not Found. {RIGHT}",
    "/forbidden": f"the server answered 403 Forbidden. {RIGHT}",
    "/rude": f"the server answered 404 ?[2J{96 * 'x'}[...]. {RIGHT}",
    "/empty": f"the server answered 204 No Content. {RIGHT}",
    "/broken": "the server answered 500 Internal Server Error (after 4 tries). Try again later.",
    "/busy-long": (
        "the server answered 429 Too Many and asks to wait 7,200 seconds. Try again later."
    ),
    "/to-http": (f"the server sent us on to http://127.0.0.1:9/file, which is not https. {RIGHT}"),
    "/to-file": f"the server sent us on to file:///etc/passwd, which is not https. {RIGHT}",
    "/loop": f"the server sent us on more than 5 times. {RIGHT}",
    "/early": (f"the connection ended after {HALF:,} of {SIZE:,} bytes (after 4 tries). {KEPT}"),
    "/gone": "the connection ended before an answer (after 4 tries). Try again later.",
    "/says-more": (
        f"the connection ended after {SIZE:,} of {SIZE + 10:,} bytes (after 4 tries). Try again "
        "later."
    ),
    "/says-less": (
        "what came is not what was published (sha256 "
        f"{hashlib.sha256(CONTENT[:-10]).hexdigest()} instead of {CHECKSUM[7:]}). {NOTHING}"
    ),
    "/other": (
        "what came is not what was published (sha256 "
        f"{hashlib.sha256(OTHER).hexdigest()} instead of {CHECKSUM[7:]}). {NOTHING}"
    ),
    "/gzip": "the server packed it once more (gzip), which nobody asked for. Try again later.",
    "/endless": f"the server sent more than {SIZE + 100:,} bytes. {RIGHT}",
    "/says-much": (
        f"the server announces {10**15:,} bytes, and at most {SIZE + 100:,} are taken. {RIGHT}"
    ),
    "/uncalled-range": (
        f"the server sent another part than the one from byte 0 on ('bytes 7-{SIZE - 1}/{SIZE}') "
        "(after 4 tries). Try again later."
    ),
    "/no-http": f"the server's answer is no HTTP (SSH-2.0-OpenSSH_9.7). {REACH}",
    "http://127.0.0.1:9/file": "it is not https. Give an address that begins with https://.",
    "file:///etc/passwd": "it is not https. Give an address that begins with https://.",
    "ftp://127.0.0.1/file": "it is not https. Give an address that begins with https://.",
    "https://[::1/file": f"it is no address (Invalid IPv6 URL). {RIGHT}",
    "https://localhost:port/file": f"it is no address (nonnumeric port: 'port'). {RIGHT}",
    "https://127.0.0.1:9/file": f"connection refused. {REACH}",
}
TRIED_AGAIN = {"/broken", "/early", "/gone", "/says-more", "/uncalled-range"}


@pytest.mark.parametrize("path", FAILING)
def test_downloads_that_fail(path: str, fetch: Fetch) -> None:
    assert fetch.message(path) == FAILING[path]
    tries = sum(asked == path for asked, _ in fetch.server.asked)
    if path.startswith("/"):
        assert tries == (4 if path in TRIED_AGAIN else 6 if path == "/loop" else 1)
    kept = [".file.bin.part", ".file.bin.part.json"] if path in ("/early", "/endless") else []
    assert fetch.listed() == [*kept]


def test_a_reset_is_tried_again(fetch: Fetch) -> None:
    # What was on its way when the connection was reset is lost or not, as the system likes.
    told = fetch.message("/reset")
    assert told.startswith(("the connection ended ", "connection reset by peer "))
    assert "(after 4 tries). Try again later" in told
    assert fetch.server.times["/reset"] == 4


def test_a_reset_at_the_beginning_is_tried_again(fetch: Fetch) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(5)

        def reset_all() -> None:
            for _ in range(4):
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
    assert told == "connection reset by peer (after 4 tries). Try again later."


def test_a_wait_until_a_day_far_away(fetch: Fetch) -> None:
    told = fetch.message("/busy-until-2100")
    assert told.startswith("the server answered 503 Busy and asks to wait 2,")
    assert told.endswith(" seconds. Try again later.")


def test_whose_certificate_is_not_trusted(fetch: Fetch) -> None:
    reason = "the server's certificate is not trusted (self-signed certificate)"
    assert fetch.message("/fine", context=None) == f"{reason}. {TRUST}"
    assert fetch.message(fetch.server.url("/fine", host="127.0.0.1")) == (
        "the server's certificate is not trusted (IP address mismatch, certificate is not valid "
        f"for '127.0.0.1'). {TRUST}"
    )
    assert fetch.server.asked == []


@pytest.mark.parametrize(
    ("path", "patience", "reason"),
    [
        ("/silent", HASTY, "the server sent nothing for 0.3 seconds (after 2 tries)"),
        ("/silent-body", HASTY, "the server sent nothing for 0.3 seconds (after 2 tries)"),
        (
            "/trickle",
            attrs.evolve(HASTY, slowest=1000),
            "the server sent less than 1,000 bytes a second (after 2 tries)",
        ),
        (
            "/trickled-headers",
            attrs.evolve(HASTY, slowest=1000),
            "the server sent less than 1,000 bytes a second (after 2 tries)",
        ),
        ("/silent", attrs.evolve(QUICK, longest=0.4), "it took longer than 0.4 seconds"),
        ("/trickle", attrs.evolve(QUICK, longest=0.4), "it took longer than 0.4 seconds"),
        ("/trickled-headers", attrs.evolve(QUICK, longest=0.4), "it took longer than 0.4 seconds"),
        ("/endless", attrs.evolve(QUICK, longest=0.4), "it took longer than 0.4 seconds"),
    ],
)
def test_servers_that_are_too_slow(
    path: str, patience: Patience, reason: str, fetch: Fetch
) -> None:
    began = time.monotonic()
    assert fetch.message(path, patience, most_bytes=10**13).startswith(f"{reason}. Try again later")
    assert time.monotonic() - began < 4


def test_a_machine_that_takes_no_connection(fetch: Fetch) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # takes connections, and never speaks
        url = f"https://localhost:{deaf.getsockname()[1]}/file"
        began = time.monotonic()
        told = fetch.message(url, attrs.evolve(QUICK, connect=0.2, retries=0))
        assert time.monotonic() - began < 4
    assert told == "there was no connection within 0.2 seconds. Try again later."


@pytest.mark.parametrize(
    ("path", "ranges"),
    [
        ("/early-once", [None, f"bytes={HALF}-"]),
        ("/early-once-chunked", [None, f"bytes={HALF}-"]),
        ("/early-once-unmarked", [None, None]),
        ("/early-weak", [None, None]),
        ("/no-range", [None, f"bytes={HALF}-"]),
        ("/wrong-range", [None, f"bytes={HALF}-", None]),
        ("/not-satisfiable", [None, f"bytes={HALF}-", None]),
        ("/changed", [None, f"bytes={HALF}-", None]),
        ("/changed-unmarked", [None, f"bytes={HALF}-", None]),
        ("/changed-fairly", [None, f"bytes={HALF}-"]),
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
    monkeypatch.setattr(downloading.time, "sleep", pauses.append)
    fetch.message("/broken", Patience())
    assert pauses == [1, 2, 4]
    pauses.clear()
    told = fetch.message("/broken", Patience(longest=3))  # the next would end after that
    assert told.startswith("the server answered 500 Internal Server Error (after 3 tries).")
    assert pauses == [1, 2]


def interrupted(fetch: Fetch, path: str = "/fine") -> None:
    fetch.message("/early", attrs.evolve(QUICK, retries=0))
    assert (fetch.target.parent / ".file.bin.part").read_bytes() == CONTENT[:HALF]
    note = fetch.target.parent / ".file.bin.part.json"
    known = json.loads(note.read_text())
    assert known["etag"] == ONE
    note.write_text(json.dumps(known | {"url": fetch.server.url(path)}))
    fetch.server.asked.clear()


def test_another_process_goes_on(fetch: Fetch) -> None:
    interrupted(fetch)
    fetch("/fine")
    assert fetch.server.asked == [("/fine", f"bytes={HALF}-")]


def test_the_end_of_another_version_is_not_put_behind(fetch: Fetch) -> None:
    interrupted(fetch, "/changed")
    assert fetch.message("/changed", attrs.evolve(QUICK, retries=0)) == (
        "the file changed on the server while it was downloaded. Try again later."
    )
    assert fetch.listed() == []


def test_a_part_that_is_whole_needs_no_server(fetch: Fetch) -> None:
    interrupted(fetch)
    (fetch.target.parent / ".file.bin.part").write_bytes(CONTENT)
    fetch("/fine")
    assert fetch.server.asked == []


def test_a_part_that_was_spoilt_is_begun_anew(fetch: Fetch) -> None:
    part = fetch.target.parent / ".file.bin.part"
    for spoilt, asked in (
        (bytes(HALF), [f"bytes={HALF}-", None]),  # zeros, as after a power cut
        (bytes(SIZE), [None]),
        (CONTENT + b"more", [None]),
        (b"", [None]),
    ):
        interrupted(fetch)
        part.write_bytes(spoilt)
        fetch("/fine")
        assert fetch.server.asked == [("/fine", part) for part in asked]
        fetch.target.unlink()


@pytest.mark.parametrize(
    "change",
    [
        {"etag": TWO},
        {"etag": "", "modified": ""},
        {"url": "https://elsewhere/fine"},
        {"checksum": "sha256:" + "0" * 64},
        {"etag": 5},
        {"etag": '"one"\r\nHost: elsewhere'},
        {"total": "many"},
        {"more": 1},
    ],
)
def test_a_note_of_another_file_or_none_is_not_believed(
    change: dict[str, object], fetch: Fetch
) -> None:
    interrupted(fetch)
    note = fetch.target.parent / ".file.bin.part.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    fetch("/fine")
    ranges = [f"bytes={HALF}-"] if change == {"etag": TWO} else [None]
    assert fetch.server.asked == [("/fine", part) for part in ranges]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_a_note_that_is_broken(text: str, fetch: Fetch) -> None:
    interrupted(fetch)
    (fetch.target.parent / ".file.bin.part.json").write_text(text)
    fetch("/fine")
    assert fetch.server.asked == [("/fine", None)]


def test_no_room(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    told = fetch.message("/says-much", most_bytes=10**16)
    free = told.split(" bytes, and ")[1].split(" are free")[0]
    assert told == (
        f"it takes {10**15:,} bytes, and {free} are free in {fetch.target.parent}. Make room on "
        "that disk, or choose another one."
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
        if path.suffix == ".part" and ".json" not in path.name:
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
        assert self.synced or target.suffix == ".json"
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


def test_a_checksum_that_is_none(fetch: Fetch) -> None:
    with pytest.raises(ValueError) as caught:
        download("https://a/b", fetch.target, checksum="sha256:5", most_bytes=1)
    assert str(caught.value) == (
        "The checksum 'sha256:5' of https://a/b is neither sha256: and 64 nor md5: and 32 "
        "hexadecimal digits in lower case. Take it from the file's publisher."
    )
    with pytest.raises(ValueError):
        Patience(retries=4)


def test_servers_that_are_not_asked_for_more_than_they_announce(fetch: Fetch) -> None:
    """The limit holds for what is announced, before any of it is read."""
    assert fetch.message("/fine", most_bytes=SIZE - 1) == (
        f"the server announces {SIZE:,} bytes, and at most {SIZE - 1:,} are taken. {RIGHT}"
    )
    assert fetch.listed() == []
