"""Extract archives: the whole folder or none."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tarfile
import unicodedata
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from medpipe.errors import DataError, RunError
from medpipe.system.cache_folder import elsewhere
from medpipe.system.file_errors import failure, looked_in
from medpipe.system.files import (
    make_directories,
    remove_directory,
    remove_leftovers_of,
    sha256_of_file,
    staged_directory,
    sync_all,
    write_json,
)
from medpipe.system.locks import LONG, locked
from medpipe.system.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MARKER = ".medpipe-complete.json"
"""The file that is added to an extracted folder and names its archive."""

_FORMAT = 1
_ALWAYS_FINE = 16 << 20
"""Bytes up to which an archive is no decompression bomb, whatever its compression ratio."""
_LONGEST_HEADER = 1 << 16
"""Bytes of an extended header. Real ones hold a name, times and a few attributes."""
_BLOCK = 4096
"""The block size of common file systems, in bytes."""
_BYTES = "bytes (most_bytes, most_ratio)"
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.I)
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, of those that change how others are shown, of bytes
that are no UTF-8, and of line ends."""


class _RefusedError(Exception):
    """An archive can be read, but holds something that an archive of a data set must not hold."""


def extract_archive(
    archive: Path,
    target: Path,
    *,
    most_bytes: int = 2_000_000_000,
    most_members: int = 100_000,
    most_ratio: int = 200,
    check: Callable[[Path], object] | None = None,
    replace: bool = False,
) -> Path:
    """Unpack a ``.tar.gz`` into a new folder, after every member has been looked at.

    Only files and folders are extracted, below `target` and with the process's own permissions.
    The whole archive is refused, before anything is written, if it has names that lead elsewhere
    or are the same on some file system, links, devices or sparse files, or is damaged anywhere.

    The folder gets its name when all of it is on the disk, with a marker in it
    (``.medpipe-complete.json``). So the process may be killed and the power may fail at any
    moment: the next call begins anew and removes what was left. If `target` was made from this
    archive before, nothing is done. Two processes at once wait for each other.

    Args:
        archive: The file. Other kinds of archives (``.zip``, ``.tar.xz``) are not taken.
        target: The folder to make.
        most_bytes: Refuse an archive that unpacks to more, the headers included.
        most_members: Refuse an archive with more files and folders.
        most_ratio: Refuse an archive that unpacks to more than so many times its own size, if
            that is more than 16 MiB.
        check: Is given the folder before it gets its name; what it raises is passed on, and
            nothing is kept.
        replace: Whether a folder at `target` that isn't this archive's whole content is removed;
            only for a place that is yours alone, such as one in the cache directory.

    Returns:
        `target`.

    Raises:
        DataError: It can't be read, is damaged, holds something unsafe or too much, there is no
            room for it, or `target` is something else.
    """
    try:
        if _is_whole(archive, target):  # also where nothing may be written
            return target
        with locked(target.with_name(f".{target.name}.lock"), patience=LONG):
            if not _is_whole(archive, target):  # another process was quicker
                _clear(archive, target, replace=replace)
                most = min(most_bytes, max(_ALWAYS_FINE, most_ratio * archive.stat().st_size))
                _make(archive, target, most, most_members, check)
    except OSError as error:
        if not archive.exists():
            raise DataError(
                f"There is no archive {archive}{looked_in(archive)}. Download it first."
            ) from error
        told = failure(archive, f"extracted to {target}", error)
        raise DataError(f"{told}{elsewhere(target)}") from error
    except RunError as error:
        told = f"{archive} can't be extracted: {error}"
        raise DataError(f"{told}{elsewhere(target)}") from error
    return target


def _is_whole(archive: Path, target: Path) -> bool:
    """Whether the folder is the complete content of the archive, or of a copy of it."""
    known, state = _known(target), _state(archive)
    if known is None:
        return False
    return known.get("state") == state or known.get("sha256") == sha256_of_file(archive)


def _state(archive: Path) -> list[int]:
    """Size, times and inode of a file, which change with its content."""
    state = archive.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _known(target: Path) -> dict[str, Any] | None:
    """The archive that a folder was extracted from; None if the folder is incomplete."""
    try:
        known = json.loads((target / MARKER).read_text(encoding="utf-8"))
        whole = all((target / name).exists() for name in known["names"])
        return dict(known["archive"]) if whole and known["format"] == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _clear(archive: Path, target: Path, *, replace: bool) -> None:
    """Remove what is at `target`, and what killed processes left beside it.

    Raises:
        DataError: It may be the user's own.
    """
    ours = replace or ((target / MARKER).is_file() and _known(target) is None)
    if not ours and (any(target.iterdir()) if target.is_dir() else target.exists()):
        raise DataError(
            f"{target} exists already and was not extracted from {archive}. Remove it, or choose "
            "another folder."
        )
    remove_directory(target)
    remove_leftovers_of(target)


def _make(
    archive: Path,
    target: Path,
    most_bytes: int,
    most_members: int,
    check: Callable[[Path], object] | None,
) -> None:
    state = _state(archive)
    with archive.open("rb") as file:
        with _told(archive):
            stream = _Unpacked(file)
            tar = tarfile.TarFile(fileobj=stream, encoding="utf-8", errorlevel=2)
            members = _look_through(tar, stream, archive.name, most_bytes, most_members)
        room = sum(_BLOCK + member.size for member in members)
        free = shutil.disk_usage(target.parent).free
        if room > free:
            raise DataError(
                f"{archive} can't be extracted to {target}: it takes {room:,} bytes, and {free:,} "
                f"are free. Make room on that disk, or choose another one.{elsewhere(target)}"
            )
        with staged_directory(target) as staging:
            with _told(archive):
                _extract(tar, archive.name, members, staging)
                if _state(archive) != state:
                    raise tarfile.ReadError("the archive changed while it was read")
            if check is not None:
                check(staging)
            # The order matters: the marker must not be on the disk before what it vouches for.
            sync_all()
            told = {"state": state, "sha256": sha256_of_file(archive)}
            names = sorted({member.name.partition("/")[0] for member in members})[:100]
            write_json(staging / MARKER, {"format": _FORMAT, "archive": told, "names": names})


@contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Name what is wrong with an archive; errors of the disk are left to the caller."""
    try:
        yield
    except _RefusedError as error:
        raise DataError(
            f"{archive} is refused: {error}. Nothing was extracted; get it again."
        ) from error
    except (
        *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
        *(ValueError, RecursionError),  # tarfile's, for headers in disorder
    ) as error:
        why = " ".join(str(error).split()).rstrip(".")[:200]
        raise DataError(
            f"{archive} is damaged or not a .tar.gz: {why[:1].lower()}{why[1:]}. Nothing was "
            "extracted; get the archive again."
        ) from error


class _Unpacked(gzip.GzipFile):
    """The decompressed bytes of an archive, without headers that would do harm in `tarfile`.

    It reads headers of 512 bytes, but the content of an extended header at once, of any size, and
    for some contents in quadratic time and memory.

    Attributes:
        looking: Whether headers are being read, which are checked; contents are not.
        header: The last header that was read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="rb")
        self.looking, self.header, self._extended = True, b"", b""

    def read(self, size: int | None = -1) -> bytes:
        """Read the next bytes and check them."""
        if not self.looking:
            return super().read(size)
        if size is None or size > _LONGEST_HEADER:
            raise _RefusedError(f"an extended header has more than {_LONGEST_HEADER:,} bytes")
        content = super().read(size)
        kind, self._extended = self._extended, b""
        if kind in _PAX:
            _refuse_odd_records(content, for_all=kind == tarfile.XGLTYPE)
        elif not kind and size == tarfile.BLOCKSIZE:
            self.header, kind = content, content[156:157]
            if kind == tarfile.GNUTYPE_SPARSE:
                tarfile.TarInfo.frombuf(content, "utf-8", "replace")  # raises if it is no header
                raise _RefusedError("a member is a sparse file")
            self._extended = kind if kind in _EXTENDED else b""
        return content


def _refuse_odd_records(content: bytes, *, for_all: bool) -> None:
    """Refuse a pax header that is not made of harmless records ``<length> <key>=<value>``."""
    place = 0
    while content[place : place + 1].strip(b"\0"):
        found = _RECORD.match(content, place)
        end = place + int(found[1]) if found else 0
        if not found or content[end - 1 : end] != b"\n":
            raise tarfile.ReadError("an extended header is wrong")
        if for_all and found[2] != b"comment":  # which git writes
            raise _RefusedError("an extended header is for all members")
        place = end
    if re.search(rb"[0-9]{100}", content):
        raise tarfile.ReadError("an extended header has a number of 100 digits")
    if b" GNU.sparse." in content:
        raise _RefusedError("a member is a sparse file")


def _look_through(
    tar: tarfile.TarFile, stream: _Unpacked, name: str, most_bytes: int, most_members: int
) -> list[tarfile.TarInfo]:
    """Read an archive to its end and check every member; return those to extract."""
    members: list[tarfile.TarInfo] = []
    taken = {_key(MARKER): (MARKER, True)}
    with bar(f"Checking {name}", None, unit="files") as shown:
        for number, member in enumerate(iter(tar.next, None), start=1):
            _refuse_more(member.offset_data + member.size, most_bytes, _BYTES)  # not unpacked yet
            _refuse_more(number, most_members, "members (most_members)")
            if member.size < 0:
                raise tarfile.ReadError("a header announces a negative size")
            if not member.isdir() and member.type not in _FILES:
                raise _RefusedError(
                    f"its member {_shown(member.name)} is neither a file nor a folder"
                )
            parts = _parts_of(member.name)
            _take(taken, parts, is_file=not member.isdir())
            if parts:  # else it is the top itself: "tar -c ." begins with it
                members.append(member)
            # tarfile keeps every member: drop all but the name.
            member.name, member.pax_headers = "/".join(parts), {}
            member.uname = member.gname = member.linkname = ""
            shown.advance()
    if len(stream.header) < tarfile.BLOCKSIZE or stream.header.strip(b"\0"):
        # tarfile takes it for the end.
        raise tarfile.ReadError("a header is wrong, or the end is missing")
    stream.looking = False
    while chunk := stream.read(1 << 20):  # gzip's checksum is only compared at the end
        _refuse_more(stream.tell(), most_bytes, _BYTES)
        if chunk.strip(b"\0"):
            raise _RefusedError("data follow the end of the archive")
    return members


def _refuse_more(count: int, most: int, what: str) -> None:
    if count > most:
        raise _RefusedError(f"it holds more than {most:,} {what}")


def _parts_of(name: str) -> tuple[str, ...]:
    """The parts of a member's path; none for the top folder itself.

    What Windows or macOS would read as another place is refused everywhere, so that an archive
    gives the same files on every system.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    wrong = {
        "leads out of the folder": name.startswith("/") or ".." in parts or {*"\\:"} & {*name},
        "has an invisible character": {unicodedata.category(sign) for sign in name} & _UNSEEN,
        "has too long a name": len(name) > 1024
        or len(parts) > 32
        or any(len(part.encode(errors="replace")) > 255 for part in parts),
        "has a name that Windows does not take": any(
            part.endswith((".", " ")) or _DEVICES.fullmatch(part) for part in parts
        ),
    }
    for reason, found in wrong.items():
        if found:
            raise _RefusedError(f"its member {_shown(name)} {reason}")
    return parts


def _take(taken: dict[str, tuple[str, bool]], parts: tuple[str, ...], *, is_file: bool) -> None:
    """Record a name and its parent folders, as the most restrictive file system would."""
    if is_file and not parts:
        raise _RefusedError("a member has no name")
    for depth in range(1, len(parts) + 1):
        path, last = "/".join(parts[:depth]), is_file and depth == len(parts)
        before = taken.get(_key(path))
        if before is not None and (last or before != (path, False)):
            raise _RefusedError(
                f"its members {_shown(before[0])} and {_shown(path)} are the same file on some "
                "file systems"
            )
        taken[_key(path)] = path, last


def _key(path: str) -> str:
    """One text for all names that a file system may take for the same."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _shown(name: str) -> str:
    """A name for a message: in ASCII, on one line, and shortened."""
    return ascii(name) if len(name) <= 100 else f"{name[:97]!a}..."


def _extract(tar: tarfile.TarFile, name: str, members: list[tarfile.TarInfo], into: Path) -> None:
    # Before 3.11.4 there is no filter; what it refuses has been refused by then.
    data: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with bar(f"Extracting {name}", len(members), unit="files") as shown:
        for member in members:
            if member.isdir():
                make_directories(into / member.name, sync=False)
            else:  # without the archive's times and rights
                tar.extract(member, into, set_attrs=False, **data)
            shown.advance()
