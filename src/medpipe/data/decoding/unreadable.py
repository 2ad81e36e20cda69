"""The error for an image file that can't be decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from medpipe.data.limits import limit_of
from medpipe.errors import DataError


class UnreadableImageError(DataError):
    """An image file can't be decoded.

    Attributes:
        path: The file.
        reason: What is wrong with it, as the end of a sentence that begins with the file.
        remedy: What to do about it.
    """

    REMEDY: ClassVar[str] = "Remove or repair it."

    def __init__(self, path: str | os.PathLike[str], reason: str, remedy: str = REMEDY) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"The image {self.path} {reason}. {remedy}")


def damaged(path: str | os.PathLike[str], error: Exception) -> UnreadableImageError:
    """The error for a file that made its decoder fail."""
    text = " ".join(str(error).split()).strip(" .") or type(error).__name__
    return UnreadableImageError(path, f"is damaged: {text}")


def file_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of an image file.

    Raises:
        DataError: It can't be read, or is empty.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImageError(path, "is not there") from error
    except (OSError, ValueError) as error:
        limit = limit_of(error)
        if limit is not None:  # nothing is wrong with the file
            raise limit from error
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UnreadableImageError(path, f"can't be read: {reason}") from error
    if not content:
        raise UnreadableImageError(path, "is empty")
    return content
