"""The images of a chain's cached stage, read from the packed cache.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.data.cache.cached_patches import PatchSources, read_patch
from medpipe.data.readers.reader import source_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from medpipe.data.cache.cache import PackedCache
    from medpipe.data.cache.cached_patches import Patch
    from medpipe.steps import PatchSource

NAMED = "filename_or_obj"
OWN_FILE = "$own file"
"""Stands for the name of a sample's own file, so that many samples have equal metadata."""


BETWEEN = "\0"
"""Between a sample's id and what of it an entry holds, if not the image: no id has it."""


def label_of(sample_id: str) -> str:
    """The entry of a sample's label."""
    return f"{sample_id}{BETWEEN}label"


@attrs.frozen(kw_only=True, eq=False)
class CachedImages:
    """Images that have left a chain's cached stage.

    Attributes:
        cache: Where they are.
        labels: Whether their labels are there too, since they are images.
    """

    cache: PackedCache
    labels: bool = False
    _sources: PatchSources = attrs.field(factory=PatchSources, init=False, repr=False)

    def rows(self, sample_ids: Sequence[str]) -> np.ndarray[Any, Any]:
        """The rows of samples, for `stacked`: int64 of shape (samples,)."""
        return self.cache.rows(sample_ids)

    def stacked(self, rows: np.ndarray[Any, Any]) -> torch.Tensor | None:
        """The images of shape (batch, channels, spatial...), in the number type of the file.

        Converted to float32 they are what left the cached stage. None if they don't have one
        shape, or were not float32.
        """
        images = self.cache.stacked(rows)
        if images is None or self.cache.dtype_of(rows[0]) != "float32":
            return None
        return torch.from_numpy(images)

    def label_rows(self, sample_ids: Sequence[str]) -> np.ndarray[Any, Any]:
        """The rows of the samples' labels, for `stacked_labels`."""
        return self.cache.rows([label_of(id_) for id_ in sample_ids])

    def stacked_labels(self, rows: np.ndarray[Any, Any]) -> torch.Tensor | None:
        """Labels of shape (batch, channels, spatial...); None if they don't have one shape."""
        labels = self.cache.stacked(rows)
        return None if labels is None else torch.from_numpy(labels)

    def patch_source(self, sample_id: str) -> PatchSource:
        """What the patches of a sample are cut out of."""
        label = label_of(sample_id) if self.labels else None
        return self._sources.of(self.cache, sample_id, label)

    def stacked_patches(self, patches: Sequence[Patch]) -> dict[str, torch.Tensor] | None:
        """The images of patches, and their labels where they are images, as a batch.

        The images are as `stacked` gives them: float32 in a narrower type, or in float32 where
        patches have several types. None if they were not float32.
        """
        cache = self.cache
        if any(cache.dtype(patch.id) != "float32" for patch in patches):
            return None
        images = [torch.from_numpy(read_patch(cache, patch.id, patch)) for patch in patches]
        if len({image.dtype for image in images}) > 1:
            images = [image.float() for image in images]
        if not self.labels:
            return {"image": torch.stack(images)}
        labels = [read_patch(cache, label_of(patch.id), patch) for patch in patches]
        return {
            "image": torch.stack(images),
            "label": torch.stack([torch.from_numpy(label) for label in labels]),
        }

    def sample(self, given: Mapping[str, Any], patch: Patch | None = None) -> dict[str, Any]:
        """The sample as it left the cached stage, or a patch of it."""
        from monai.data import MetaTensor

        def of(entry: str) -> torch.Tensor:
            if patch is None:
                return torch.from_numpy(self.cache.array(entry))
            values = read_patch(self.cache, entry, patch)
            return torch.from_numpy(values.astype(self.cache.dtype(entry)))

        values = of(given["id"])
        meta = {key: _restored(value) for key, value in self.cache.meta(given["id"]).items()}
        if meta.get(NAMED) == OWN_FILE:
            meta[NAMED] = source_of(given["image"]) or given["id"]
        restored = {**given, "image": MetaTensor(values, meta=meta) if meta else values}
        if self.labels:
            restored["label"] = of(label_of(given["id"]))
        return restored


def _restored(value: Any) -> Any:
    import numpy as np

    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    return np.array(value["array"], dtype=value["dtype"])
