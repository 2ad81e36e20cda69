"""The cache folder, and the warning where it can't be written to."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

from medpipe.errors import RunError
from medpipe.system.file_errors import failure, reason

logger = logging.getLogger("medpipe")

WHOLE_FOLDER = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.ENOSPC,
    errno.EDQUOT,
)
"""Errors that concern the whole folder rather than one file in it."""

_said: set[tuple[Path, int | None]] = set()
"""The folders that this process has warned about already, with the error number."""


def warn_without_cache(consequence: str, error: Exception) -> None:
    """Warn that something can't be cached, and go on.

    Args:
        consequence: What follows from it: the beginning of a sentence that `error` ends.
        error: The cause. If it concerns the whole folder, the warning does so too.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if cause is None or cause.errno not in WHOLE_FOLDER:
        logger.warning("%s: %s", consequence, error)
        return
    folder = cache_directory()
    if (folder, cause.errno) in _said:
        logger.debug("%s: %s", consequence, error)
        return
    _said.add((folder, cause.errno))
    why = failure(f"The cache folder {folder}", "written", cause, "MEDPIPE_CACHE")
    logger.warning("Nothing is cached, so later runs read all images again. %s", why)


def cache_directory() -> Path:
    """The cache folder: ``MEDPIPE_CACHE``, or one in the user's cache directory."""
    chosen = os.environ.get("MEDPIPE_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise RunError(
                f"MEDPIPE_CACHE is {chosen!r}, but there is no user of that name. Name another "
                "folder."
            ) from error
    import platformdirs

    try:
        found = Path(platformdirs.user_cache_dir("medpipe"))
        if not found.is_absolute() and not found.parts[0].startswith("~"):
            # XDG_CACHE_HOME counts only where it is absolute, says its specification.
            found = Path("~/.cache/medpipe").expanduser()
    except RuntimeError:
        return _cache_without_home()
    # Without HOME and a user name some versions of Python leave "~" as it is.
    return found if found.is_absolute() else _cache_without_home()


def _cache_without_home() -> Path:
    """A folder in the temporary directory, named by user id, that only this user may write to."""
    import tempfile

    remedy = "Name a folder for caches with the environment variable MEDPIPE_CACHE."
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        path = Path(tempfile.gettempdir()) / f"medpipe-{user}"
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
    except OSError as error:
        raise RunError(
            "There is no folder for caches: this user has no home folder, and the temporary "
            f"folder can't be used: {reason(error)}. {remedy}"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
        raise RunError(
            f"There is no folder for caches: this user has no home folder, and {path} in the "
            f"temporary folder belongs to another user or is open to others. {remedy}"
        )
    return path


def elsewhere(path: Path) -> str:
    """A hint on how to choose another cache folder, with a leading space; empty outside it."""
    try:
        if not path.absolute().is_relative_to(cache_directory().absolute()):
            return ""
    except (OSError, RunError):  # a working directory that was removed
        return ""
    return " The environment variable MEDPIPE_CACHE chooses another cache folder."
