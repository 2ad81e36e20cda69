"""The images of a split on the device, if they fit: a batch is then an index operation.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

if TYPE_CHECKING:
    import numpy as np

    from medpipe.data.cache.cached_images import CachedImages

SHARE = 1 / 3
"""The share of the device's free memory to use: network and activations need the rest."""
CHUNK = 64 << 20
"""Bytes that are copied to the device at a time."""


@attrs.frozen(kw_only=True, eq=False)
class DeviceCache:
    """Kept images of one split, all on one device.

    Attributes:
        images: Of shape (samples, channels, spatial...), in the number type of the cache's file.
    """

    images: torch.Tensor

    @classmethod
    def of(
        cls, cached: CachedImages, rows: np.ndarray[Any, Any], device: torch.device, *, free: float
    ) -> DeviceCache | None:
        """Copy images to a device.

        Args:
            cached: The images.
            rows: Those of the split, by their rows in the cache.
            device: Where to.
            free: The bytes that are free there.

        Returns:
            None where they would take more than a third of the free memory, don't have one shape
            and type, or were not float32.
        """
        one = cached.stacked(rows[:1])
        if one is None or not cached.cache.alike(rows) or one.nbytes * len(rows) > free * SHARE:
            return None
        images = torch.empty((len(rows), *one.shape[1:]), dtype=one.dtype, device=device)
        step = max(1, CHUNK // max(1, one.nbytes))
        for start in range(0, len(rows), step):
            some = cached.stacked(rows[start : start + step])
            assert some is not None  # they are alike
            images[start : start + step] = some
        return cls(images=images)

    def stacked(self, places: np.ndarray[Any, Any]) -> torch.Tensor:
        """A copy of the images at these places of the split, int64 of shape (batch,)."""
        # Not index_select, which lacks some types on CUDA.
        return self.images[torch.from_numpy(places).to(self.images.device, non_blocking=True)]


def free_bytes(device: torch.device) -> float:
    """The bytes that are free on a GPU; 0 on other devices, where images are in memory anyway."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
