"""The step that decodes image files: MONAI's `LoadImaged`, with the library's own reader."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.transforms.bundle_readers import bundle_readers
from medpipe.plugin import (
    LabelImage,
    Reading,
    TransformStep,
    as_float32,
    read_label,
    read_sample_image,
    source_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from monai.data import MetaTensor

    from medpipe.plugin import DecodedImage, ImageFiles, SpacingOf

Axes = Literal["wh", "hw"]


@attrs.frozen(kw_only=True)
class LoadImage(TransformStep):
    """Loads an image file or an array as a float32 `MetaTensor`.

    Its shape is (width, height), followed by the depth of a volume and the channels, if there are
    any. The values are those of MONAI's `LoadImaged` for PNG (except 16-bit colours, which Pillow
    reduces to 8 bits), JPEG, BMP and NIfTI, and for single-frame DICOM with a linear rescale. The
    metadata hold the channel dimension, for ``ensure_channel_first``, and the affine and whether
    the spacing is the patient's, for ``spacing``. Several files become the channels of one image.
    The data set's `Reading` sets how files are decoded. A label that is an image becomes a uint8
    `MetaTensor` on the image's grid, with the indices of the task's names (see `LabelImage`).

    Attributes:
        axes: ``"wh"``: the width first, as in MONAI; ``"hw"``: the height first, as in PyTorch
            and most networks pretrained on photographs.
    """

    name: ClassVar[str] = "load_image"
    takes_decoded: ClassVar[bool] = True

    axes: Axes = "wh"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Return the function that loads a sample's image."""
        return functools.partial(load, axes=self.axes)

    def bundle_form(self, files: ImageFiles) -> Sequence[Mapping[str, Any]] | None:
        """MONAI's readers; None for a window of DICOM, which they don't know."""
        return bundle_readers(files, axes=self.axes)


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
    label = sample.get("label", 0)
    if label is None or isinstance(label, LabelImage):
        # For the way back onto the file's grid.
        image.meta["file_affine"] = image.affine.clone()
        image.meta["file_shape"] = torch.tensor(first.shape[: first.ndim - decoded.channels])
        image.meta["axes"] = axes
    if not isinstance(label, LabelImage):
        return {**sample, "image": image}
    mask = read_label(label, decoded, sample.get("reading") or Reading())
    indices = mask.values.swapaxes(0, 1) if axes == "wh" else mask.values
    found = MetaTensor(
        torch.from_numpy(np.ascontiguousarray(indices)),
        affine=image.affine.clone(),
        meta=_metadata(mask.channels, source, "unknown"),
    )
    return {**sample, "image": image, "label": found}


def _affine(decoded: DecodedImage, axes: Axes) -> np.ndarray[Any, Any] | None:
    """The affine from voxel indices to millimetres; None where the spacing is unknown."""
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
        # MONAI marks images without channels by NaN.
        "original_channel_dim": -1 if channels else float("nan"),
        "filename_or_obj": source,
        "space": "RAS",
        "spacing_of": of,  # for the step that uses the affine
    }


@functools.cache
def _without_place(axes: int, channels: bool, of: SpacingOf) -> MetaTensor:
    """A template for the metadata of images of this many axes without an affine."""
    import torch
    from monai.data import MetaTensor

    return MetaTensor(torch.zeros((1,) * axes), meta=_metadata(channels, "", of))
