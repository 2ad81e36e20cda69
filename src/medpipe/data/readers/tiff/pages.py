"""The one page of a TIFF file that is its picture."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os

    from medpipe.data.readers.tiff.tags import Page

IMAGEJ = re.compile(rb"^ImageJ=.*?^images=(\d+)", re.MULTILINE | re.DOTALL)
"""How ImageJ says that planes follow the only page of a file."""
SHAPED = re.compile(rb'\{"shape": \[([\d, ]+)\].*"truncated": true')
"""How tifffile says so: the first numbers count the planes."""


def only_page(pages: list[Page], path: str | os.PathLike[str]) -> Page:
    """The page that is meant: the only one that is no smaller copy of another.

    Raises:
        DataError: There are several, or the description or the depth of the page counts several.
    """
    whole = [page for page in pages if not page.is_copy()] if len(pages) > 1 else pages
    planes = _planes_behind(whole[0]) if whole else 1
    depth = max((page.number("ImageDepth") or 1 for page in whole), default=1)
    count = max(len(whole), planes, depth)
    if not whole or count > 1:
        raise UnreadableImageError(
            path,
            f"has {count or len(pages)} pages, of which only the first would be read",
            "Save each page as a file of its own.",
        )
    return whole[0]


def _planes_behind(page: Page) -> int:
    """The planes that a page's description counts, though the file has no page of each."""
    described = page.tags.get("ImageDescription", b"")
    if found := IMAGEJ.match(described):
        return int(found[1])
    if found := SHAPED.match(described):
        sides = [int(side) for side in found[1].split(b",")]
        here = [
            page.number("ImageLength"),
            page.number("ImageWidth"),
            page.number("SamplesPerPixel"),
        ]
        return math.prod(sides) // max(1, math.prod(one or 1 for one in here))
    return 1
