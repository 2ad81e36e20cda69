"""Downloads a file: the published one, whole, or none."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from medpipe.errors import DownloadError, RunError
from medpipe.fetching.asking import ask, content, shown
from medpipe.fetching.partial import Partial, Source, note_of
from medpipe.fetching.patience import Clock, FailedError, Patience
from medpipe.system.cache_folder import elsewhere
from medpipe.system.file_errors import failure
from medpipe.system.locks import LONG, locked
from medpipe.system.progress import Bar, bar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from http.client import HTTPResponse

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")
_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20})")


@attrs.frozen(kw_only=True)
class _Order:
    """What was asked for."""

    url: str
    target: Path
    checksum: str
    most_bytes: int
    clock: Clock
    context: ssl.SSLContext | None


def download(
    url: str,
    target: Path,
    *,
    checksum: str,
    most_bytes: int,
    patience: Patience | None = None,
    context: ssl.SSLContext | None = None,
) -> Path:
    """Fetch a file, and give it its name when it is known to be the published one.

    What fails but may pass is tried again, three times at most: connections that end, silence,
    answers 429 and 5xx. Each try goes on where the one before it ended, and so does the next
    process after one that was killed, as long as the server has the same version of the file. A
    proxy is taken from the environment variable ``https_proxy``.

    Args:
        url: Where it is; https only, and so are the addresses that a server sends us on to.
        target: The file to make. One that is there is taken for the result, and no server is
            asked. Two processes at once wait for each other.
        checksum: What its publisher says of it: ``sha256:`` or ``md5:`` and the hexadecimal
            digits. It is compared before the file gets its name.
        most_bytes: Give up when the server announces or sends more.
        patience: How long to wait for the server, and how often to try.
        context: Whom to trust. None: the system's certificate authorities, or those in the file
            that the environment variable ``SSL_CERT_FILE`` names.

    Returns:
        `target`.

    Raises:
        DownloadError: It can't be downloaded, or it is not what was published.
        ValueError: `checksum` is none.
    """
    if not _CHECKSUM.fullmatch(checksum):
        raise ValueError(
            f"The checksum {checksum!r} of {url} is neither sha256: and 64 nor md5: and 32 "
            "hexadecimal digits in lower case. Take it from the file's publisher."
        )
    clock = Clock(patience or Patience())
    if target.is_file() and not note_of(target).exists():
        return target  # also where nothing may be written
    try:
        with locked(target.with_name(f".{target.name}.lock"), patience=LONG):
            partial = Partial(target, Source(url=url, checksum=checksum))
            if target.is_file():  # another process was quicker, or was killed at the very end
                partial.discard()
                return target
            _fetch(
                _Order(
                    url=url,
                    target=target,
                    checksum=checksum,
                    most_bytes=most_bytes,
                    clock=clock,
                    context=context,
                ),
                partial,
            )
    except FailedError as error:
        raise DownloadError(f"{url} can't be downloaded: {error}. {error.remedy}") from error
    except OSError as error:
        told = failure(url, f"downloaded to {target}", error)
        raise DownloadError(f"{told}{elsewhere(target)}") from error
    except RunError as error:
        raise DownloadError(f"{url} can't be downloaded: {error}{elsewhere(target)}") from error
    return target


def _fetch(order: _Order, partial: Partial) -> None:
    patience = order.clock.patience
    tries = 0
    while True:
        tries += 1
        resumed = partial.can_go_on
        try:
            if not partial.is_whole:
                resumed = _try(order, partial)
            _compare(order, partial, resumed=resumed)
        except FailedError as error:
            pause = max(error.wait, patience.pause * 2 ** (tries - 1))
            if error.passes and tries <= patience.retries and pause < order.clock.left:
                time.sleep(pause)
                continue
            raise _last(error, partial, tries) from error
        partial.finish()
        return


def _last(error: FailedError, partial: Partial, tries: int) -> FailedError:
    """A failure after which nothing more is tried, with what to do about it."""
    reason = f"{error} (after {tries} tries)" if tries > 1 else str(error)
    if not partial.can_go_on:
        partial.discard()  # nobody would take it up
    remedy = error.remedy or "Try again later."
    if not error.remedy and partial.can_go_on:
        remedy = f"Try again later: {partial.size:,} bytes are kept, and it goes on from there."
    return FailedError(reason, remedy)


def _try(order: _Order, partial: Partial) -> bool:
    """Ask once, and write what comes; give whether it went on from what was here before."""
    have = partial.size if partial.can_go_on else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": partial.source.version}
    try:
        answer = ask(order.url, headers, order.clock, order.context)
    except FailedError as error:
        if error.code == 416 and have:
            partial.discard()
            raise FailedError(str(error), passes=True) from error
        raise
    with contextlib.closing(answer):
        total = _total(answer, partial, have)
        resumed = answer.status == 206
        _refuse_too_large(order, total)
        room = (total or 0) - (have if resumed else 0)
        free = shutil.disk_usage(order.target.parent).free
        if room > free:
            raise FailedError(
                f"it takes {room:,} bytes, and {free:,} are free in {order.target.parent}",
                f"Make room on that disk, or choose another one.{elsewhere(order.target)}",
            )
        if not resumed:
            partial.begin(partial.source.answered(answer.headers, total))
        name = PurePosixPath(urlsplit(order.url).path).name
        with bar(f"Downloading {name}", total, unit="bytes") as shown:
            shown.advance(partial.size)
            partial.add(_limited(order, partial, content(answer, order.clock), shown))
    if total is not None and partial.size < total:
        raise FailedError(
            f"the connection ended after {partial.size:,} of {total:,} bytes", passes=True
        )
    return resumed


def _total(answer: HTTPResponse, partial: Partial, have: int) -> int | None:
    """The bytes of the whole file, if the answer tells, after a look at what it is.

    Raises:
        FailedError: It is not what was asked for.
    """
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise FailedError(
            f"the server packed it once more ({shown(coding)}), which nobody asked for"
        )
    if answer.status == 200:
        return answer.length
    if answer.status != 206:
        raise FailedError(
            f"the server answered {answer.status} {shown(answer.reason)}".rstrip(),
            "See that the address is right.",
        )
    told = answer.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(told.strip())
    source = partial.source
    total = int(found[3]) if found else None
    if not (have and found) or int(found[1]) != have or source.total not in (None, total):
        partial.discard()
        raise FailedError(
            f"the server sent another part than the one from byte {have:,} on ({shown(told)!r})",
            passes=True,
        )
    now = source.answered(answer.headers, source.total)
    if now.version and now.version != source.version:
        partial.discard()
        raise FailedError("the file changed on the server while it was downloaded", passes=True)
    return total


def _refuse_too_large(order: _Order, total: int | None) -> None:
    if total is not None and total > order.most_bytes:
        raise FailedError(
            f"the server announces {total:,} bytes, and at most {order.most_bytes:,} are taken",
            "See that the address is right.",
        )


def _limited(
    order: _Order, partial: Partial, chunks: Iterator[bytes], shown: Bar
) -> Iterator[bytes]:
    received = partial.size
    for chunk in chunks:
        received += len(chunk)
        if received > order.most_bytes:
            raise FailedError(
                f"the server sent more than {order.most_bytes:,} bytes",
                "See that the address is right.",
            )
        yield chunk
        shown.advance(len(chunk))


def _compare(order: _Order, partial: Partial, *, resumed: bool) -> None:
    """See that what came is what was published; the file is read again, as it is on the disk.

    Raises:
        FailedError: It is something else, which is thrown away.
    """
    kind, _, wanted = order.checksum.partition(":")
    with partial.path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    if found.hexdigest() != wanted:
        partial.discard()
        raise FailedError(
            f"what came is not what was published ({kind} {found.hexdigest()} instead of {wanted})",
            "Nothing was kept. Try again later; if it stays so, its publisher changed it.",
            passes=resumed,
        )
