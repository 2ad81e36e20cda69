"""The step that puts channels first: MONAI's `EnsureChannelFirstd`, without its detours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class QuickEnsureChannelFirst(TransformStep):
    """What MONAI's `EnsureChannelFirst` gives, in a tenth of its time for an image as it is loaded.

    A MetaTensor's every operation copies its metadata; here a plain tensor is changed, and gets
    them back. What has no metadata, or whose metadata don't say where the channels are, is left
    to MONAI.
    """

    channel_dim: int | str | None

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Give the function for a sample's ``image``."""
        import torch
        from monai.data import MetaTensor

        theirs = super().build()
        if self.channel_dim is not None:
            return theirs

        def apply(sample: dict[str, Any]) -> Mapping[Any, Any]:
            image = sample["image"]
            if not isinstance(image, MetaTensor) or "original_channel_dim" not in image.meta:
                return theirs(sample)
            place = image.meta["original_channel_dim"]
            plain = image.as_subclass(torch.Tensor)
            # NaN is MONAI's word for "no channels".
            moved = plain[None] if place != place else plain.movedim(int(place), 0)
            result = moved.as_subclass(MetaTensor)
            result.copy_meta_from(image)  # type: ignore[no-untyped-call]
            return {**sample, "image": result}

        return apply


QUICK: Mapping[str, type[TransformStep]] = {"ensure_channel_first": QuickEnsureChannelFirst}
"""The form that takes less time of the steps of the table that have one, by their names."""
