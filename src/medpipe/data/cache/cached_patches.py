"""Patches of cached images, read without the rest of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.steps import PatchSource

if TYPE_CHECKING:
    import numpy as np

    from medpipe.data.cache.cache import PackedCache

    Array = np.ndarray[Any, np.dtype[Any]]

REMEMBERED = 64 << 20
"""Bytes that the places of structures may take, of all samples together."""


@attrs.frozen(kw_only=True)
class Patch:
    """A part of a cached image.

    Attributes:
        id: The sample's.
        region: A slice for each axis.
    """

    id: str
    region: tuple[slice[int, int, None], ...]


class PatchSources:
    """What the patches of each sample are cut out of; where structures are is found once."""

    def __init__(self) -> None:
        self._found: dict[str, PatchSource] = {}
        self._bytes = 0

    def of(self, cache: PackedCache, entry: str, label: str | None) -> PatchSource:
        """The source of a sample.

        Args:
            cache: Where its image is.
            entry: The image's id there.
            label: The label's; None where it is no image.
        """
        found = self._found.get(entry)
        if found is None:
            values = None if label is None else cache.array(label)
            found = PatchSource(cache.shape(entry)[1:], values)
            if self._bytes + found.size <= REMEMBERED:
                self._bytes += found.size
                found.forget_label()
                self._found[entry] = found
        return found


def read_patch(cache: PackedCache, entry: str, patch: Patch) -> Array:
    """The values of a patch, of shape (channels, spatial...), in the number type of the file."""
    first, *rest = patch.region
    slab = cache.slab(entry, first.start, first.stop)
    return slab[(slice(None), slice(None), *rest)]
