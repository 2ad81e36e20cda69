"""The step that decodes image files: MONAI's `LoadImaged`, with the library's own reader."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataError, Reading, TransformStep, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    Array = np.ndarray[Any, Any]


@attrs.frozen(kw_only=True)
class LoadImage(TransformStep):
    """Decodes the image file, or takes the array, as float32 with the width first.

    What MONAI's `LoadImaged` gives for the files that its `PILReader` knows, value for value: a
    `MetaTensor` of shape (width, height) or (width, height, channels) whose metadata say where
    the channels are, for ``ensure_channel_first``. Several files become the channels of one
    image. How files are decoded is the data set's to say (`Reading`).
    """

    name: ClassVar[str] = "load_image"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Give the function that loads a sample's image."""
        return load


def load(sample: dict[str, Any]) -> dict[str, Any]:
    """Replace the sample's path, paths or array by the image.

    Raises:
        DataError: A file can't be decoded, or the parts of the image don't fit together.
    """
    import torch
    from monai.data import MetaTensor

    image = sample["image"]
    reading = sample.get("reading") or Reading()
    if isinstance(image, (str, os.PathLike)):
        values, channel_dim = _width_first(_checked(read_image(image, reading), image))
        source = os.fspath(image)
    elif isinstance(image, (tuple, list)):
        values, channel_dim = _stacked(image, reading)
        source = os.fspath(image[0])
    else:
        source = str(sample.get("id", ""))
        values, channel_dim = _width_first(_checked(image, f"sample {source!r}"))
    meta = {"original_channel_dim": channel_dim, "filename_or_obj": source}
    return {**sample, "image": MetaTensor(torch.from_numpy(values), meta=meta)}


def _width_first(array: Array) -> tuple[Array, float]:
    """Give a float32 copy with the width first, and which dimension holds the channels."""
    import numpy as np

    # Always a copy: in-place transforms must not reach an array that belongs to a sample.
    values = np.array(array.swapaxes(0, 1), dtype=np.float32, order="C", copy=True)
    # NaN is MONAI's word for "no channels".
    return values, float("nan") if array.ndim == 2 else -1


def _stacked(
    files: tuple[str | os.PathLike[str], ...] | list[Any], reading: Reading
) -> tuple[Array, float]:
    """Read several files as the channels of one image, as MONAI's readers do."""
    import numpy as np

    if not files:
        raise DataError("A sample names no image file: its image is an empty tuple.")
    arrays = [_checked(read_image(file, reading), file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[:2] != arrays[0].shape[:2]:
            raise DataError(
                f"{os.fspath(file)} is {_size(array)} pixels and {os.fspath(files[0])} is "
                f"{_size(arrays[0])}: files that are stacked as channels must have one size. "
                "Resize the files, or make them samples of their own."
            )
    if len(arrays) == 1:
        return _width_first(arrays[0])
    return _width_first(np.concatenate([np.atleast_3d(array) for array in arrays], axis=-1))


def _checked(array: Array, source: str | os.PathLike[str]) -> Array:
    if array.ndim not in (2, 3):
        raise DataError(
            f"{os.fspath(source)} has the shape {tuple(array.shape)}. load_image takes "
            "(height, width) or (height, width, channels)."
        )
    return array


def _size(array: Array) -> str:
    height, width = array.shape[:2]
    return f"{width}x{height}"
