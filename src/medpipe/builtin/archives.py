"""Fetch and open archives from the internet without trusting them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from medpipe.plugin import DataError, DownloadError, bar

MOST_BYTES = 2_000_000_000
MOST_MEMBERS = 100_000
_CHUNK = 1 << 20
_MOST_PADDING = 16 * _CHUNK
_SILENCE = 30.0
"""Seconds without a byte after which a server is given up."""
_LONGEST = 3600.0
"""Seconds that a whole download may take."""


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as they stay encrypted."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            raise DownloadError(f"the server sent us on to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, *, md5: str, most_bytes: int) -> None:
    """Fetch a file and check that it is the published one.

    Args:
        url: Where it is; https only, redirects included.
        target: A new file to write. On an error what it holds by then is of no use.
        md5: The checksum that its publisher gives, in hexadecimal digits.
        most_bytes: Give up when the server sends more.

    Raises:
        DownloadError: Why it failed, as half a sentence.
    """
    if not url.startswith("https://"):
        raise DownloadError(f"{url} is not https")
    opener = urllib.request.build_opener(_OnlyHttps)
    request = urllib.request.Request(url, headers={"User-Agent": "medpipe"})
    digest = hashlib.md5(usedforsecurity=False)
    deadline = time.monotonic() + _LONGEST
    received = 0
    try:
        with opener.open(request, timeout=_SILENCE) as answer, target.open("wb") as file:
            announced = int(answer.headers.get("Content-Length") or 0)
            name = PurePosixPath(url).name
            with bar(f"Downloading {name}", announced or None, unit="bytes") as shown:
                while chunk := answer.read(_CHUNK):
                    received += len(chunk)
                    if received > most_bytes:
                        raise DownloadError(f"the server sent more than {most_bytes:,} bytes")
                    if time.monotonic() > deadline:
                        raise DownloadError(f"it took longer than {_LONGEST / 60:.0f} minutes")
                    digest.update(chunk)
                    file.write(chunk)
                    shown.advance(len(chunk))
    except urllib.error.HTTPError as error:
        raise DownloadError(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(_cause(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(_cause(error)) from error
    if announced and received < announced:
        raise DownloadError(f"the connection ended after {received:,} of {announced:,} bytes")
    if digest.hexdigest() != md5:
        raise DownloadError(
            f"what came is not what was published (md5 {digest.hexdigest()} instead of {md5})"
        )


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(
    archive: Path,
    into: Path,
    *,
    most_bytes: int = MOST_BYTES,
    most_members: int = MOST_MEMBERS,
) -> None:
    """Unpack a ``.tar.gz`` into an empty folder, after every member has been looked at.

    Only plain files and folders below `into` are written, with the process's own rights; links,
    devices and paths that lead elsewhere make the whole archive refused before the first byte.
    The archive is read to its end first, so that a cut or damaged one is refused as well.

    Raises:
        DataError: It can't be read, is damaged, holds something unsafe or too much, or there is
            no room for it.
    """
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            with bar(f"Checking {archive.name}", None, unit="files") as shown:
                files: list[tarfile.TarInfo] = []
                seen: set[PurePosixPath] = set()
                total = 0
                for number, member in enumerate(tar, start=1):
                    total += member.size
                    _refuse_unsafe(archive, member, seen)
                    if number > most_members:
                        raise _refused(archive, f"it holds more than {most_members:,} members")
                    if total > most_bytes:
                        raise _refused(archive, f"it unpacks to more than {most_bytes:,} bytes")
                    if member.isreg():
                        files.append(member)
                    shown.advance()
                # gzip compares its checksum only at the end of the stream, past what tar reads.
                tail = 0
                while chunk := stream.read(_CHUNK):
                    tail += len(chunk)
                    if tail > _MOST_PADDING:
                        raise _refused(archive, "it goes on after its end")
            with bar(f"Extracting {archive.name}", len(files), unit="files") as shown:
                for member in files:
                    _write(tar, member, into)
                    shown.advance()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{archive} is damaged or not a .tar.gz: {error}. Nothing was extracted; "
            "get the archive again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{archive} can't be extracted to {into}: {_cause(error)}. Nothing was kept; make "
            "room there, or choose another cache folder with the environment variable "
            "MEDPIPE_CACHE."
        ) from error


def _refuse_unsafe(archive: Path, member: tarfile.TarInfo, seen: set[PurePosixPath]) -> None:
    name = member.name
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise _refused(archive, f"its member {name!r} leads out of the folder")
    if member.issym() or member.islnk():
        raise _refused(archive, f"its member {name!r} is a link")
    if not (member.isreg() or member.isdir()):
        raise _refused(archive, f"its member {name!r} is neither a file nor a folder")
    if member.size < 0:
        raise _refused(archive, f"its member {name!r} has a negative size")
    if member.isreg() and path in seen:
        raise _refused(archive, f"it holds {name!r} twice")
    seen.add(path)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    target = into / member.name
    content = tar.extractfile(member)
    if content is None:  # can't be: only plain files come here
        raise tarfile.ReadError(f"no content in {member.name!r}")
    try:
        file = target.open("xb")
    except FileNotFoundError:  # asked for only where it is needed: there are many files
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    with file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)


def _refused(archive: Path, reason: str) -> DataError:
    return DataError(f"{archive} is refused: {reason}. Nothing was extracted; get it again.")


def _cause(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
