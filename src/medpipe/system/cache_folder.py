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
"""What concerns all that could be written there, and not one file of it."""

_said: set[tuple[Path, int | None]] = set()
"""The folders that were complained of in this process, and why."""


def warn_without_cache(consequence: str, error: Exception) -> None:
    """Warn that something can't be kept, and continue.

    Args:
        consequence: What comes of it; the beginning of the sentence that `error` ends.
        error: Why. Where the system stands behind it, the whole folder is complained of.
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
    """The folder for what medpipe can make again: ``MEDPIPE_CACHE`` or the user's cache."""
    chosen = os.environ.get("MEDPIPE_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise RunError(
                f"MEDPIPE_CACHE is {chosen!r}, and there is no such user. Name another folder."
            ) from error
    import platformdirs

    try:
        found = Path(platformdirs.user_cache_dir("medpipe"))
        if not found.is_absolute() and not found.parts[0].startswith("~"):
            # XDG_CACHE_HOME counts only where it is absolute, says its specification.
            found = Path("~/.cache/medpipe").expanduser()
    except RuntimeError:
        return _cache_without_home()
    # No HOME, and a user whom the system has no name for: by version it is left as it is.
    return found if found.is_absolute() else _cache_without_home()


def _cache_without_home() -> Path:
    """A folder for temporary files that no other user may write to, by the user's number."""
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
            f"There is no home folder, and no other: {reason(error)}. {remedy}"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
        raise RunError(f"There is no home folder, and {path} is not yours alone. {remedy}")
    return path


def elsewhere(path: Path) -> str:
    """How another place than `path` is chosen, as a sentence with a space before; or nothing."""
    try:
        if not path.absolute().is_relative_to(cache_directory().absolute()):
            return ""
    except (OSError, RunError):  # a working directory that was removed
        return ""
    return " The environment variable MEDPIPE_CACHE chooses another cache folder."
