"""Asks a server for a file, once: https all the way, and every byte is waited for with a limit."""

from __future__ import annotations

import email.utils
import functools
import http.client
import io
import ssl
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, cast

from medpipe.fetching.patience import Clock, FailedError, Pace

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 20
_RIGHT = "See that the address is right."
_REACH = (
    "See that this machine may reach it; where a proxy stands between, name it in the environment "
    "variable https_proxy."
)
_TRUST = (
    "See that the date of this machine is right; a certificate authority of your own is named by "
    "the environment variable SSL_CERT_FILE."
)


class _Waiting(io.RawIOBase):
    """What comes from a socket, with a limit on each wait, also between the answer's headers."""

    def __init__(self, connection: socket.socket, pace: Pace) -> None:
        self._connection, self._pace = connection, pace
        # Keeps the connection open, as long as this is: urllib closes it behind our back.
        self._open = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._connection.settimeout(self._pace.longest_wait)
        began = time.monotonic()
        try:
            count = self._connection.recv_into(buffer)
        except TimeoutError as error:
            raise self._pace.did_not_come() from error
        if count:
            self._pace.came(count, time.monotonic() - began)
        return count

    def close(self) -> None:
        self._open.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, clock: Clock, **others: Any) -> None:
        super().__init__(sock, *arguments, **others)
        self.fp.close()
        self.fp = io.BufferedReader(_Waiting(sock, Pace(clock)))


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, clock: Clock, context: ssl.SSLContext | None) -> None:
        self._clock, self._trusted = clock, context or ssl.create_default_context()
        super().__init__(context=self._trusted)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(cast("Any", self._connect), req)

    def _connect(self, host: str, **others: Any) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(host, context=self._trusted, **others)
        connection.response_class = cast("Any", functools.partial(_Answer, clock=self._clock))
        return connection


def ask(
    url: str, headers: Mapping[str, str], clock: Clock, context: ssl.SSLContext | None
) -> http.client.HTTPResponse:
    """The server's answer, of which the headers are here: 200, 206 or another good one.

    Raises:
        FailedError: There is none, or another one.
    """
    opener = urllib.request.OpenerDirector()  # knows https alone, no files, no plain http
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Https(clock, context),
    ):
        opener.add_handler(handler)
    where = url
    for _ in range(_MOST_REDIRECTS + 1):
        left = clock.refuse_too_late()
        try:
            _refuse_plain(where, sent_on=where != url)
            request = urllib.request.Request(where, headers={**headers, "User-Agent": "medpipe"})
            wait = min(clock.patience.connect, left)
            return cast("http.client.HTTPResponse", opener.open(request, timeout=wait))
        except urllib.error.HTTPError as error:
            with error:
                to = error.headers.get("Location")
                if error.code not in _REDIRECTS or to is None:
                    raise _answered(error, clock) from error
                quoted = urllib.parse.quote(to, safe=string.punctuation, encoding="latin-1")
                where = urllib.parse.urljoin(where, quoted)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _failed(error, clock) from error
    raise FailedError(f"the server sent us on more than {_MOST_REDIRECTS} times", _RIGHT)


def content(answer: http.client.HTTPResponse, clock: Clock) -> Iterator[bytes]:
    """What an answer brings, as it comes; it may end early without a word.

    Raises:
        FailedError: The connection fails.
    """
    while True:
        try:
            chunk = answer.read1(_CHUNK)
        except http.client.IncompleteRead as error:  # of chunks; a length is the caller's to see
            raise FailedError("the connection ended before the last chunk", passes=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _failed(error, clock) from error
        if not chunk:
            return
        yield chunk


def _refuse_plain(url: str, *, sent_on: bool) -> None:
    if urllib.parse.urlsplit(url).scheme == "https":
        return
    if sent_on:
        raise FailedError(
            f"the server sent us on to {shown(url)}, which is not https",
            _RIGHT,
        )
    raise FailedError("it is not https", "Give an address that begins with https://.")


def _answered(error: urllib.error.HTTPError, clock: Clock) -> FailedError:
    reason = f"the server answered {error.code} {shown(str(error.reason))}".rstrip()
    if error.code not in (429, *range(500, 600)):
        return FailedError(reason, _RIGHT, code=error.code)
    wait = _asked_pause(error.headers.get("Retry-After"))
    if wait > clock.patience.longest_pause:
        return FailedError(f"{reason} and asks to wait {wait:,.0f} seconds", code=error.code)
    return FailedError(reason, passes=True, wait=wait, code=error.code)


def _asked_pause(text: str | None) -> float:
    """The seconds of a ``Retry-After``, which may be a date; 0 where it is missing or wrong."""
    if text is None:
        return 0.0
    if text.strip().isdecimal():
        return float(text[:20])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def _failed(error: Exception, clock: Clock) -> FailedError:
    while isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        reason = f"the server's certificate is not trusted ({why})"
        return FailedError(reason, _TRUST)
    if isinstance(error, TimeoutError):
        connect = clock.patience.connect
        return FailedError(f"there was no connection within {connect:g} seconds", passes=True)
    if isinstance(error, http.client.RemoteDisconnected):
        return FailedError("the connection ended before an answer", passes=True)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return FailedError("the connection ended inside its encryption", passes=True)
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return FailedError(shown(error.strerror or str(error)).lower(), passes=True)
    if isinstance(error, OSError):
        return FailedError(shown(error.strerror or str(error)).lower(), _REACH)
    if isinstance(error, ValueError | http.client.InvalidURL):
        return FailedError(f"it is no address ({_said(error)})", _RIGHT)
    return FailedError(f"the server's answer is no HTTP ({_said(error)})", _REACH)


def _said(error: Exception) -> str:
    return shown(" ".join(str(error).split()) or type(error).__name__)


def shown(text: str) -> str:
    """What a server says, as it is put into a message: it may want to steer a terminal."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= 200 else f"{plain[:100]}[...]"
