"""The step that decodes image files: MONAI's `LoadImaged`, with the library's own reader."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.plugin import Reading, TransformStep, as_float32, read_sample_image, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from monai.data import MetaTensor

    from medpipe.plugin import DecodedImage, SpacingOf

Axes = Literal["wh", "hw"]


@attrs.frozen(kw_only=True)
class LoadImage(TransformStep):
    """Decodes the image file, or takes the array, as float32.

    What MONAI's `LoadImaged` gives for PNG (but for colours of 16 bits, which Pillow reduces to
    8), JPEG, BMP and NIfTI, and for DICOM of one image with a linear rescale, value for value:
    a `MetaTensor` of shape (width, height), with the depth of a volume and then the channels of
    an image that has them. Its metadata say where the channels are, for ``ensure_channel_first``,
    where the image lies, and whether its spacing is the patient's, for ``spacing``. Several files
    become the channels of one image. How files are decoded is the data set's to say (`Reading`).

    Attributes:
        axes: ``"wh"``: the width first, as MONAI has it; ``"hw"``: the height first, as PyTorch
            and most networks trained on photographs have it.
    """

    name: ClassVar[str] = "load_image"
    takes_decoded: ClassVar[bool] = True

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

    given = sample["image"]
    decoded = read_sample_image(given, sample.get("reading") or Reading())
    first = decoded.values.swapaxes(0, 1) if axes == "wh" else decoded.values
    source = source_of(given) or str(sample.get("id", ""))
    # Always a copy: in-place transforms must not reach an array that belongs to a sample.
    values = torch.from_numpy(as_float32(first, source))
    matrix = _affine(decoded, axes)
    if matrix is None:
        # A MetaTensor's constructor takes longer than a small image's decoding.
        image: MetaTensor = values.as_subclass(MetaTensor)
        alike = _without_place(values.ndim, decoded.channels, decoded.spacing_of)
        image.copy_meta_from(alike)  # type: ignore[no-untyped-call]
        image.meta["affine"] = image.meta["affine"].clone()
        image.meta["filename_or_obj"] = source
    else:
        affine = torch.from_numpy(np.array(matrix, dtype=np.float64))
        meta = _metadata(decoded.channels, source, "patient")
        image = MetaTensor(values, affine=affine, meta=meta)
    return {**sample, "image": image}


def _affine(decoded: DecodedImage, axes: Axes) -> np.ndarray[Any, Any] | None:
    """From the image's axes to millimetres, as far as that is known."""
    import numpy as np

    if decoded.affine is not None:
        return decoded.affine if axes == "wh" else decoded.affine[:, [1, 0, 2, 3]]
    if decoded.spacing is None or decoded.spacing_of != "patient":
        return None
    rows, columns, *slices = decoded.spacing
    first = [columns, rows] if axes == "wh" else [rows, columns]
    return np.diag([*first, *(slices or [1.0]), 1.0])


def _metadata(channels: bool, source: str, of: SpacingOf) -> dict[str, Any]:
    return {
        # NaN is MONAI's word for "no channels".
        "original_channel_dim": -1 if channels else float("nan"),
        "filename_or_obj": source,
        "space": "RAS",
        "spacing_of": of,  # for the step that goes by the affine
    }


@functools.cache
def _without_place(axes: int, channels: bool, of: SpacingOf) -> MetaTensor:
    """What images of so many axes share of which nothing says where they lie."""
    import torch
    from monai.data import MetaTensor

    return MetaTensor(torch.zeros((1,) * axes), meta=_metadata(channels, "", of))
