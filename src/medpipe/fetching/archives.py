"""Makes a folder of an archive: the whole folder or none, whenever the process ends."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from medpipe.errors import DataError, RunError
from medpipe.fetching.member_names import MARKER
from medpipe.fetching.refusals import DamagedError, RefusedError
from medpipe.fetching.unpacking import Found, Limits, look_through, write_members
from medpipe.system.cache_folder import elsewhere
from medpipe.system.file_errors import failure
from medpipe.system.files import (
    remove_directory,
    remove_leftovers_of,
    sha256_of_file,
    staged_directory,
    sync_all,
    write_json,
)
from medpipe.system.locks import LONG, locked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FORMAT = 1
_NAMED = 100
"""How many of the names at the top the marker holds."""


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

    Other kinds of archives (``.zip``, ``.tar.xz``) are not taken.

    Only files and folders are taken, below `target` and with the process's own rights. A name
    that leads elsewhere, links, devices, files with holes, names that are one on some file
    system, and whatever else no honest archive holds make the whole archive refused before the
    first byte. It is read to its end first, so that a cut or damaged one is refused as well.

    The folder gets its name when all of it is on the disk, with a marker in it
    (``.medpipe-complete.json``). So the process may be killed and the power may fail at any
    moment: the next call begins anew and removes what was left. If `target` was made from this
    archive before, nothing is done. Two processes at once wait for each other.

    Args:
        archive: The file.
        target: The folder to make.
        most_bytes: Refuse an archive that unpacks to more.
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
    limits = Limits(most_bytes=most_bytes, most_members=most_members, most_ratio=most_ratio)
    try:
        if _is_whole(archive, target):  # also where nothing may be written
            return target
        with locked(target.with_name(f".{target.name}.lock"), patience=LONG):
            if not _is_whole(archive, target):  # another process was quicker
                _clear(archive, target, replace=replace)
                _make(archive, target, limits, check)
    except RefusedError as error:
        raise DataError(
            f"{archive} is refused: {error}. Nothing was extracted; get it again."
        ) from error
    except DamagedError as error:
        raise DataError(
            f"{archive} is damaged or not a .tar.gz: {error}. Nothing was extracted; get "
            "the archive again."
        ) from error
    except OSError as error:
        if not archive.exists():
            raise DataError(f"There is no archive {archive}. Get it first.") from error
        told = failure(archive, f"extracted to {target}", error)
        raise DataError(f"{told}{elsewhere(target)}") from error
    except RunError as error:
        told = f"{archive} can't be extracted: {error}"
        raise DataError(f"{told}{elsewhere(target)}") from error
    return target


def _make(
    archive: Path, target: Path, limits: Limits, check: Callable[[Path], object] | None
) -> None:
    remove_leftovers_of(target)
    with archive.open("rb") as file:
        found = look_through(file, archive.name, limits)
        free = shutil.disk_usage(target.parent).free
        if found.room > free:
            raise DataError(
                f"{archive} can't be extracted to {target}: it takes {found.room:,} bytes, and "
                f"{free:,} are free. Make room on that disk, or choose another one."
                f"{elsewhere(target)}"
            )
        with staged_directory(target) as staging:
            write_members(file, archive.name, found, staging, limits)
            if check is not None:
                check(staging)
            # The order matters: the marker must not be on the disk before what it vouches for.
            sync_all()
            write_json(staging / MARKER, _marker(archive, found))


def _is_whole(archive: Path, target: Path) -> bool:
    """Whether the folder is all that the archive holds."""
    known = _read(target / MARKER)
    return known is not None and _has_names(target, known) and _is_of(archive, known)


def _clear(archive: Path, target: Path, *, replace: bool) -> None:
    """Remove what is at `target` without being whole.

    Raises:
        DataError: It may be somebody's.
    """
    known = _read(target / MARKER)
    if not replace and known is not None and _has_names(target, known):
        raise DataError(
            f"{target} holds what another archive than {archive} held. Remove it, or choose "
            "another folder."
        )
    if not replace and not (target / MARKER).is_file() and _holds_something(target):
        raise DataError(
            f"{target} is there already and was not extracted from {archive}. Remove it, or "
            "choose another folder."
        )
    remove_directory(target)


def _has_names(target: Path, known: dict[str, Any]) -> bool:
    return all((target / str(name)).exists() for name in known["names"])


def _holds_something(target: Path) -> bool:
    return any(target.iterdir()) if target.is_dir() else target.exists()


def _marker(archive: Path, found: Found) -> dict[str, Any]:
    state = archive.stat()
    return {
        "format": _FORMAT,
        "archive": {
            "bytes": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "ctime_ns": state.st_ctime_ns,
            "inode": state.st_ino,
            "sha256": sha256_of_file(archive),
        },
        "files": found.files,
        "bytes": found.total,
        "names": sorted({parts[0] for parts, _ in found.members})[:_NAMED],
    }


def _read(marker: Path) -> dict[str, Any] | None:
    """What a marker says; None where it is missing, or not whole."""
    try:
        known = json.loads(marker.read_text(encoding="utf-8"))
        fits = known["format"] == _FORMAT and isinstance(known["names"], list)
        fits = fits and isinstance(known["archive"], dict)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return known if fits else None


def _is_of(archive: Path, known: dict[str, Any]) -> bool:
    """Whether it is the archive that a marker tells of; a copy is read, the file itself is not."""
    state, told = archive.stat(), known["archive"]
    if told.get("bytes") != state.st_size:
        return False
    times = told.get("mtime_ns"), told.get("ctime_ns"), told.get("inode")
    if times == (state.st_mtime_ns, state.st_ctime_ns, state.st_ino):
        return True
    return bool(told.get("sha256") == sha256_of_file(archive))
