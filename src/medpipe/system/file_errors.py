"""Errors of files as sentences with a remedy."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from medpipe.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

_REMEDIES = {
    errno.ENOSPC: "Make room on that disk, or choose another one{by}.",
    errno.EDQUOT: "Your quota there is used up: remove something, or choose another disk{by}.",
    errno.EMFILE: "The limit of open files is reached: raise it with 'ulimit -n 4096'.",
    errno.ENFILE: "The machine's limit of open files is reached: end other programs.",
    errno.EROFS: "That disk is read-only: choose another one{by}.",
    errno.EACCES: "Choose a folder that you may write to{by}.",
    errno.EPERM: "Choose a folder that you may write to{by}.",
    errno.EIO: "The disk itself failed: look at it before you trust it again.",
    errno.ENOTDIR: "A file stands where a folder is needed: choose another folder{by}.",
    errno.ENAMETOOLONG: "Choose a shorter name{by}.",
}


def failure(what: object, done: str, error: OSError, setting: str = "") -> str:
    """A sentence on what can't be done to a file, why, and what to do about it.

    Args:
        what: The file.
        done: Such as ``written``.
        error: What the system says.
        setting: The option or variable that chooses another place, such as ``--output``.
    """
    remedy = _REMEDIES.get(error.errno or 0, "").format(by=f" with {setting}" if setting else "")
    return f"{what} can't be {done}: {reason(error)}. {remedy}".rstrip()


def reason(error: OSError) -> str:
    """The reason for an operating system error, for use inside a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def mode_of(path: Path) -> int:
    """The mode of a path, for `stat.S_ISREG` and the like; 0 if the path does not exist.

    pathlib treats some paths that can't be accessed as absent, and raises for others.

    Raises:
        RunError: It can't be read: no permission for a parent folder, or a disk error.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise RunError(f"{path} can't be looked at: {why}.") from error


def looked_in(path: str | os.PathLike[str]) -> str:
    """Where a missing path was looked for: `` in the working directory /home/me``.

    Empty for an absolute path, which says it itself.
    """
    try:
        return "" if os.path.isabs(path) else f" in the working directory {os.getcwd()}"  # noqa: PTH109, PTH117
    except OSError:  # the working directory was removed
        return ""


def size_text(count: float) -> str:
    """Format a number of bytes: ``241 MB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 999.5:
            return (
                f"{count:.0f} {unit}" if count >= 9.95 or unit == "bytes" else f"{count:.1f} {unit}"
            )
        count /= 1000
    return f"{count:.1f} TB"
