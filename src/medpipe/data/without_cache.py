"""What is said where the cache folder can't be written to: once, however many caches there are."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from medpipe.files import cache_directory, failure

if TYPE_CHECKING:
    from pathlib import Path

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
    """Warn that something can't be kept, and go on.

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
    logger.warning("Going on without caches, so later runs read all images again. %s", why)
