"""The step that decodes image files: MONAI's `LoadImaged`, with the library's own reader."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.plugin import Reading, Series, TransformStep, read_sample_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Axes = Literal["wh", "hw"]


@attrs.frozen(kw_only=True)
class LoadImage(TransformStep):
    """Decodes the image file, or takes the array, as float32.

    What MONAI's `LoadImaged` gives for PNG, JPEG, BMP and NIfTI, and for DICOM of one image with
    a linear rescale, value for value: a `MetaTensor` of shape (width, height), with the depth of
    a volume and then the channels of an image that has them. Its metadata say where the channels
    are, for ``ensure_channel_first``, and where the image lies, for ``spacing`` and
    ``orientation``. Several files become the channels of one image. How files are decoded is the
    data set's to say (`Reading`).

    Attributes:
        axes: ``"wh"``: the width first, as MONAI has it; ``"hw"``: the height first, as PyTorch
            and most networks trained on photographs have it.
    """

    name: ClassVar[str] = "load_image"

    axes: Axes = "wh"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Give the function that loads a sample's image."""
        return functools.partial(load, axes=self.axes)


def load(sample: dict[str, Any], *, axes: Axes = "wh") -> dict[str, Any]:
    """Replace the sample's files or array by the image.

    Raises:
        DataError: A file can't be decoded, or the parts of the image don't fit together.
    """
    import numpy as np
    import torch
    from monai.data import MetaTensor

    image = sample["image"]
    decoded = read_sample_image(image, sample.get("reading") or Reading())
    first = decoded.values.swapaxes(0, 1) if axes == "wh" else decoded.values
    # Always a copy: in-place transforms must not reach an array that belongs to a sample.
    values = np.array(first, dtype=np.float32, order="C", copy=True)
    # NaN is MONAI's word for "no channels".
    channel_dim = -1 if decoded.channels else float("nan")
    meta = {
        "original_channel_dim": channel_dim,
        "filename_or_obj": _source(image, sample),
        "space": "RAS",
    }
    affine = None
    if decoded.affine is not None:
        matrix = decoded.affine if axes == "wh" else decoded.affine[:, [1, 0, 2, 3]]
        affine = torch.from_numpy(np.array(matrix, dtype=np.float64))
    return {**sample, "image": MetaTensor(torch.from_numpy(values), affine=affine, meta=meta)}


def _source(image: Any, sample: Mapping[str, Any]) -> str:
    first = image[0] if isinstance(image, tuple) else image
    if isinstance(first, Series):
        first = min(first.files)
    if isinstance(first, (str, os.PathLike)):
        return os.fspath(first)
    return str(sample.get("id", ""))
