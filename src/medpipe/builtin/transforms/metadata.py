"""Changed values with the metadata of the image that they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from monai.data import MetaTensor


def with_metadata_of(image: MetaTensor, values: torch.Tensor) -> MetaTensor:
    """Make of plain values a `MetaTensor` with a copy of an image's metadata.

    Each operation on a `MetaTensor` copies its metadata: to change a plain tensor, and to attach
    them once, takes a tenth of the time for small images.
    """
    from monai.data import MetaTensor

    result: MetaTensor = values.as_subclass(MetaTensor)
    result.copy_meta_from(image)  # type: ignore[no-untyped-call]
    return result
