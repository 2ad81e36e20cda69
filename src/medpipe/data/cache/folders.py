"""The folders of the packed caches: list, locks, size limit, removal."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import MedpipeError, RunError
from medpipe.system.cache_folder import cache_directory
from medpipe.system.file_errors import reason, size_text
from medpipe.system.files import beside, remove_directory, rename, sha256_of_file
from medpipe.system.locks import tried

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VALUES, INDEX, ABOUT = "values.bin", "index.npz", "about.json"
FORMAT = 3
"""The version of the format; a packed cache of another version is made anew."""
LIMIT = "MEDPIPE_CACHE_LIMIT"
DEFAULT_LIMIT = 50 * 10**9
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class PackingError(RunError):
    """A packed cache can't be made; a run continues without it."""


@attrs.frozen(kw_only=True)
class PackedFolder:
    """A packed cache on the disk.

    Attributes:
        key: Its name.
        path: Its folder.
        about: What its ``about.json`` says; empty where it is absent or damaged.
        bytes: What it takes on the disk.
        used: When it was opened last.
    """

    key: str
    path: Path
    about: Mapping[str, Any]
    bytes: int
    used: datetime


def packed_root() -> Path:
    """The folder of all packed caches."""
    return cache_directory() / "packed"


def folder_of(key: str) -> Path:
    """The folder of the packed cache with this key."""
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,120}", key):
        raise ValueError(f"{key!r} is not a key: a key has letters, digits, - and _")
    return packed_root() / key


def lock_of(key: str) -> Path:
    """The file that is locked while the cache with this key is made, opened or removed."""
    return packed_root() / f"{key}.lock"


def packed_folders() -> list[PackedFolder]:
    """All packed caches, the one used last at the end."""
    found: list[PackedFolder] = []
    with suppress(FileNotFoundError):
        for path in packed_root().iterdir():
            if path.is_dir() and not path.name.startswith("."):
                with suppress(FileNotFoundError):  # removed by another process meanwhile
                    found.append(_folder(path))
    return sorted(found, key=lambda folder: (folder.used, folder.key))


def _folder(path: Path) -> PackedFolder:
    about: Any = {}
    with suppress(OSError, ValueError):
        about = json.loads((path / ABOUT).read_text("utf-8"))
    marker = path / ABOUT if (path / ABOUT).exists() else path
    return PackedFolder(
        key=path.name,
        path=path,
        about=about if isinstance(about, dict) else {},
        bytes=sum(entry.stat().st_size for entry in path.iterdir()),
        used=datetime.fromtimestamp(marker.stat().st_mtime, UTC),
    )


def damage_of(folder: PackedFolder) -> str:
    """Read a whole packed cache; return what of it is damaged, or an empty text."""
    try:
        for name, key in ((INDEX, "index_sha256"), (VALUES, "values_sha256")):
            if sha256_of_file(folder.path / name) != folder.about.get(key):
                return f"{name} does not have the SHA-256 that was written"
    except OSError as error:
        return reason(error)
    return ""


def cache_limit() -> int:
    """How many bytes all packed caches may take together: ``MEDPIPE_CACHE_LIMIT`` or 50 GB.

    Raises:
        MedpipeError: The variable holds no size.
    """
    text = os.environ.get(LIMIT, "").strip()
    if not text:
        return DEFAULT_LIMIT
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if match is None or match[2].upper() not in UNITS:
        raise MedpipeError(
            f"{LIMIT} is {text!r}, which is not a size. Give bytes, or a number with KB, MB, GB "
            "or TB, such as 20GB."
        )
    return int(float(match[1]) * UNITS[match[2].upper()])


def remove_folder(key: str) -> bool:
    """Remove a packed cache, and what killed processes left of it.

    Returns:
        Whether it is gone; False where a process uses or makes it.
    """
    with tried(lock_of(key)) as free:
        if not free or not _take_away(key):
            return False
        remove_leftovers(key)
    return True


def remove_broken(key: str) -> None:
    """Remove a cache that can't be used; its lock is held by the caller.

    Raises:
        PackingError: It can't be removed.
    """
    if not _take_away(key):
        raise PackingError(
            f"{folder_of(key)} is damaged and can't be removed, since a process uses it."
        )
    remove_leftovers(key)


def _take_away(key: str) -> bool:
    path = folder_of(key)
    if not path.exists():
        return True
    with _only_user(path / VALUES) as alone:
        if not alone:
            return False
        try:
            # By one rename, so that no process sees half of it.
            rename(path, beside(path))
        except RunError:  # on Windows: some process has a file of it open
            return False
    return True


def remove_leftovers(key: str) -> None:
    """Remove what killed processes left; the key's lock is held by the caller."""
    for path in packed_root().glob(f".{key}.*.part"):
        remove_directory(path)


def remove_all_leftovers() -> None:
    """Remove what killed processes left of any cache that isn't being made right now."""
    names = (path.name for path in packed_root().glob(".*.part"))
    for key in sorted({name[1:].split(".", 1)[0] for name in names}):
        with tried(lock_of(key)) as free:
            if free:
                remove_leftovers(key)


def make_room(needed: int, *, keep: str) -> None:
    """Remove the caches that were used longest ago until `needed` bytes more are within the limit.

    Args:
        needed: The bytes of the cache to be made.
        keep: Its key.

    Raises:
        PackingError: It would be larger than the limit, or than what is free on the disk.
    """
    limit = cache_limit()
    if needed > limit:
        raise PackingError(
            f"The packed cache would take about {size_text(needed)}, more than the limit of "
            f"{size_text(limit)}. Set {LIMIT} higher to have it."
        )
    remove_all_leftovers()
    others = [folder for folder in packed_folders() if folder.key != keep]
    total = sum(folder.bytes for folder in others)
    for folder in others:
        if total + needed <= limit:
            break
        if remove_folder(folder.key):
            total -= folder.bytes
    free = shutil.disk_usage(packed_root()).free
    if needed > free:
        raise PackingError(
            f"The packed cache would take about {size_text(needed)}, but {packed_root()} has "
            f"{size_text(free)} free. Make room, or set MEDPIPE_CACHE to another disk."
        )


def hold(path: Path) -> int | None:
    """Mark a file as in use for all processes, until the returned descriptor is closed."""
    try:
        import fcntl
    except ImportError:  # on Windows an open file can't be removed anyway
        return None
    descriptor = os.open(path, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


@contextmanager
def _only_user(path: Path) -> Iterator[bool]:
    """Whether no process, this one included, holds a file; none can while the block runs."""
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True
    finally:
        os.close(descriptor)
