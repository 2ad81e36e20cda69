"""The orientation in a picture's EXIF data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""


def orientation(image: Image.Image) -> int:
    """From 1 to 8, as EXIF counts; 1, upright, where nothing else is said."""
    try:
        found = image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data: the pixels may still be sound
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1
