"""Refuse decompression bombs before they are decoded."""

from __future__ import annotations

import functools
import math
import os

from medpipe.data.readers.unreadable import UnreadableImageError

LARGER = "If it is genuine, raise PIL.Image.MAX_IMAGE_PIXELS."


def bomb(
    path: str | os.PathLike[str], reason: str, remedy: str = UnreadableImageError.REMEDY
) -> UnreadableImageError:
    """The error for a file that may be a decompression bomb."""
    return UnreadableImageError(path, f"may be a decompression bomb: {reason}", remedy, kind="bomb")


def refuse_bomb(path: str | os.PathLike[str], length: int) -> None:
    """Refuse a compressed file that should hold more bytes than this machine's memory.

    It would be decompressed to its end before it is found to be too short.
    """
    if length > _memory():
        reason = f"it should hold {length} bytes, more than this machine's memory"
        raise bomb(path, reason)


@functools.cache
def _memory() -> float:
    """The bytes of this machine's memory; infinity where the system doesn't say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return math.inf


def refuse_pixels(path: str | os.PathLike[str], width: int, height: int) -> None:
    """Refuse a picture of more pixels than Pillow allows, before it is decoded."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        reason = f"it has {width * height} pixels, more than Pillow's limit of {limit}"
        raise bomb(path, reason, LARGER)
