"""Download files: verified and complete, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import shutil
import ssl
import string
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urljoin, urlsplit

import attrs

from medpipe.errors import DownloadError, RunError
from medpipe.system.cache_folder import elsewhere
from medpipe.system.file_errors import failure
from medpipe.system.files import continued_file, finish_file, new_file, remove_file
from medpipe.system.locks import LONG, locked
from medpipe.system.progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIES = 3
_PAUSE = 1.0
"""Seconds before the second try; twice as many before the third."""
_LONGEST_PAUSE = 60.0
"""Seconds that a server may ask to wait before it is given up."""
_LONGEST = 3600.0
"""Seconds for all tries together."""
_MOST_REDIRECTS = 5
_CHUNK = 1 << 20
_RIGHT = "Check the address."
_REACH = (
    "Check the address, and that this machine can reach it. If there is a proxy, name it in the "
    "environment variable https_proxy."
)
_TRUST = (
    "Check the date of this machine. If you have a certificate authority of your own, name its "
    "file in the environment variable SSL_CERT_FILE."
)
_PASSING = (TimeoutError, ConnectionError, http.client.IncompleteRead, ssl.SSLEOFError)


class _FailedError(Exception):
    """A try failed; one that `passes` (is temporary) is repeated after at least `wait` seconds."""

    def __init__(
        self, reason: str, remedy: str = "", *, passes: bool = False, wait: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.remedy, self.passes, self.wait = remedy, passes, wait


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    most_bytes: int = 2_000_000_000,
    timeout: float = 30.0,
) -> Path:
    """Download a file, and give it its name only when its digest is verified.

    What may be temporary is tried three times. Each try continues where the one before it ended,
    and so does the next process after one that was killed. A proxy is taken from the environment
    variable ``https_proxy``, certificate authorities of your own from ``SSL_CERT_FILE``.

    Args:
        url: Its address; only https, and so are redirects.
        target: The file to make. One that is there is taken for the result, and no server is
            asked. Two processes at once wait for each other.
        sha256: The digest that its publisher gives, in hexadecimal digits. It is compared before
            the file gets its name.
        md5: The same, only for a publisher who gives no SHA-256.
        most_bytes: Give up when the server announces or sends more.
        timeout: Seconds to wait for a connection, and each time for the next bytes. After an hour
            in all it is given up.

    Returns:
        `target`.

    Raises:
        DownloadError: It can't be downloaded, or it is not what was published.
        ValueError: There is no digest, or two, or it is malformed.
    """
    kind, digest = ("sha256", sha256) if md5 is None else ("md5", md5)
    digits = hashlib.new(kind, usedforsecurity=False).digest_size * 2
    if (sha256 and md5) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", digest or ""):
        raise ValueError(
            f"{url} needs either sha256 of 64 or md5 of 32 hexadecimal digits in lower case. Take "
            "it from the file's publisher."
        )
    if target.is_file():
        return target  # also where nothing may be written
    try:
        with locked(target.with_name(f".{target.name}.lock"), patience=LONG):
            if not target.is_file():  # another process was quicker
                end = time.monotonic() + _LONGEST
                _fetch(_Order(url, target, kind, digest or "", most_bytes, timeout, end))
    except _FailedError as error:
        raise DownloadError(f"{url} can't be downloaded: {error}. {error.remedy}") from error
    except OSError as error:
        told = failure(url, f"downloaded to {target}", error)
        raise DownloadError(f"{told}{elsewhere(target)}") from error
    except RunError as error:
        raise DownloadError(f"{url} can't be downloaded: {error}{elsewhere(target)}") from error
    return target


@attrs.frozen
class _Order:
    """What was asked for."""

    url: str
    target: Path
    kind: str
    digest: str
    most_bytes: int
    timeout: float
    end: float

    @property
    def part(self) -> Path:
        """The partial file; only the digest tells whether it is the beginning of the right one."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def have(self) -> int:
        """How many bytes that is."""
        return self.part.stat().st_size if self.part.exists() else 0


def _fetch(order: _Order) -> None:
    for tried in range(1, _TRIES + 1):
        try:
            _compare(order, resumed=_receive(order, order.have))
        except _FailedError as error:
            pause = max(error.wait, _PAUSE * 2 ** (tried - 1))
            if error.passes and tried < _TRIES and time.monotonic() + pause < order.end:
                time.sleep(pause)
                continue
            kept = f": {order.have:,} bytes are kept, and the next try continues from there"
            remedy = error.remedy or f"Try again later{kept if order.have else ''}."
            after = f" (after {tried} tries)" if tried > 1 else ""
            raise _FailedError(f"{error}{after}", remedy) from error
        finish_file(order.part, order.target)
        return


def _receive(order: _Order, have: int) -> bool:
    """Make one request and write the response; return whether a partial file was continued."""
    with contextlib.closing(_ask(order, {"Range": f"bytes={have}-"} if have else {})) as answer:
        if answer.status == 416 and have:  # all of it is here, or something else
            return True
        _refuse_another(order, answer, have)
        resumed = answer.status == 206
        came = have if resumed else 0
        total = None if answer.length is None else came + answer.length
        _refuse_too_large(order, total or 0, "announces")
        room, free = (total or 0) - came, shutil.disk_usage(order.target.parent).free
        if room > free:
            raise _FailedError(
                f"the file takes {room:,} bytes, and {free:,} are free in {order.target.parent}",
                f"Make room on that disk, or choose another one.{elsewhere(order.target)}",
            )
        if not resumed:
            remove_file(order.part)
        name = PurePosixPath(urlsplit(order.url).path).name
        part = continued_file(order.part) if resumed else new_file(order.part, sync=False)
        with part as file, bar(f"Downloading {name}", total, unit="bytes") as shown:
            shown.advance(came)
            while came <= order.most_bytes and (chunk := _more(order, answer)):
                came += len(chunk)
                file.write(chunk)
                shown.advance(len(chunk))
    _refuse_too_large(order, came, "sent")
    if total is not None and came < total:
        raise _FailedError(f"the connection ended after {came:,} of {total:,} bytes", passes=True)
    return resumed


def _ask(order: _Order, headers: dict[str, str]) -> http.client.HTTPResponse:
    """The server's response, whatever its status; only its headers are read."""
    opener = urllib.request.OpenerDirector()  # knows https alone, no files, no plain http
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(urllib.request.HTTPSHandler(context=_context(order.end)))
    headers |= {"User-Agent": "medpipe", "Accept-Encoding": "identity"}
    where = order.url
    for _ in range(_MOST_REDIRECTS + 1):
        with _network(order):
            if urlsplit(where).scheme != "https":
                raise _FailedError(f"{_plain(where)} is not https", _RIGHT)
            request = urllib.request.Request(where, headers=headers)
            answer = cast("http.client.HTTPResponse", opener.open(request, timeout=order.timeout))
            to = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or to is None:
                return answer
            answer.close()  # unread: it may be endless
            where = urljoin(where, quote(to, safe=string.punctuation, encoding="latin-1"))
    raise _FailedError(f"the server redirected more than {_MOST_REDIRECTS} times", _RIGHT)


def _context(end: float) -> ssl.SSLContext:
    """The TLS context, with a limit on the whole time: a slow server may send bytes for ever."""

    class Socket(ssl.SSLSocket):
        def recv_into(self, *arguments: Any, **others: Any) -> int:
            if time.monotonic() > end:
                raise _FailedError(f"the download took longer than {_LONGEST:,g} seconds")
            return super().recv_into(*arguments, **others)

    context = ssl.create_default_context()
    context.sslsocket_class = Socket
    return context


def _more(order: _Order, answer: http.client.HTTPResponse) -> bytes:
    with _network(order):
        return answer.read1(_CHUNK)


@contextlib.contextmanager
def _network(order: _Order) -> Iterator[None]:
    """Name what is wrong with a connection; errors of the disk are left to the caller."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as caught:
        error: Any = caught
        while isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
            error = error.reason
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message.rstrip(".")
            raise _FailedError(
                f"the server's certificate is not trusted ({why})", _TRUST
            ) from caught
        if isinstance(error, TimeoutError):
            said = f"the server sent nothing for {order.timeout:g} seconds"
        else:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            said = f"the connection failed ({_plain(why.strip())})"
        passes = isinstance(error, _PASSING) and not isinstance(error, ConnectionRefusedError)
        raise _FailedError(said, "" if passes else _REACH, passes=passes) from caught


def _refuse_another(order: _Order, answer: http.client.HTTPResponse, have: int) -> None:
    """Refuse a response that is neither the file nor the missing part of it."""
    part = answer.headers.get("Content-Range", "")
    if answer.status == 206 and not (have and part.startswith(f"bytes {have}-")):
        remove_file(order.part)
        raise _FailedError(
            "the server sent another part of the file than the one requested", passes=True
        )
    if answer.status not in (200, 206):
        said = f"the server answered {answer.status} {_plain(answer.reason)}".rstrip()
        if answer.status != 429 and answer.status < 500:
            raise _FailedError(said, _RIGHT)
        asked = answer.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdecimal() else 0.0
        said += f" and asks to wait {wait:,.0f} seconds" if wait else ""
        raise _FailedError(said, passes=wait <= _LONGEST_PAUSE, wait=wait)


def _refuse_too_large(order: _Order, count: int, does: str) -> None:
    if count > order.most_bytes:
        remove_file(order.part)
        raise _FailedError(
            f"the server {does} {count:,} bytes, more than the {order.most_bytes:,} allowed "
            "(most_bytes)",
            _RIGHT,
        )


def _compare(order: _Order, *, resumed: bool) -> None:
    """Refuse a file with another digest; the file is read again, as it is on the disk."""
    with order.part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(order.kind, usedforsecurity=False))
    if found.hexdigest() != order.digest:
        remove_file(order.part)
        raise _FailedError(
            f"the content is not what was published ({order.kind} {found.hexdigest()} instead of "
            f"{order.digest})",
            "Nothing was kept. Try again later; if the content stays the same, the publisher has "
            "changed the file.",
            passes=resumed,
        )


def _plain(text: str) -> str:
    """A server's text for a message: shortened, and without control characters."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= 200 else f"{plain[:100]}[...]"
