"""`Raster`: the content of a picture file before a `Reading` is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.readers.colours import with_channels
from medpipe.data.readers.unreadable import UnreadableImageError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    import numpy as np

    from medpipe.steps import Reading

Alpha = Literal["straight", "premultiplied"]
Colours = Literal["RGB", "CMYK", "YCbCr", "Lab"]
COUNTS: dict[Colours | None, int] = {None: 1, "RGB": 3, "CMYK": 4, "YCbCr": 3, "Lab": 3}
"""The number of channels of each colour space; None: a grey value."""


@attrs.frozen(kw_only=True, eq=False)
class Raster:
    """The values of a picture, and what its file says they mean.

    Attributes:
        values: As stored: of shape (height, width), or (height, width, channels).
        colours: What the first channels are; None: measurements, or a grey value.
        alpha: What the channel behind the colours is, where it is an alpha channel.
        palette: RGB of each index, of shape (colours, 3), where the values are indices, or
            indices and alpha.
        orientation: As EXIF counts, 1 to 8. Applied unless the reading is of the stored values.
    """

    values: np.ndarray[Any, Any]
    colours: Colours | None = None
    alpha: Alpha | None = None
    palette: np.ndarray[Any, Any] | None = None
    orientation: int = 1


def decoded(raster: Raster, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """The image as the reading asks for it; with ``reading.channels`` None, as it is stored.

    Raises:
        DataError: An index is beyond the palette, or the colours can't be converted.
    """
    import numpy as np

    values = raster.values
    if raster.palette is not None:
        indices = values if values.ndim == 2 else values[..., 0]
        most = int(indices.max(initial=0))
        if most >= len(raster.palette):
            reason = f"is damaged: a pixel has colour {most} of a palette of {len(raster.palette)}"
            raise UnreadableImageError(path, reason, kind="damaged")
    if reading.channels is None:
        return DecodedImage(values=_native(values), channels=values.ndim == 3)
    if raster.palette is not None:
        values = raster.palette[indices]
    else:
        values = _without_alpha(values, raster)
        if values.dtype.kind == "b":
            values = values * np.uint8(255)
    colours = raster.palette is not None or raster.colours is not None
    if raster.colours not in (None, "RGB"):
        values = _rgb(values, raster.colours, path)
    values = _native(turned(values, raster.orientation))
    image = DecodedImage(values=values, channels=values.ndim == 3)
    return with_channels(image, path, reading, colours=colours)


def turned(values: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """Turn a picture upright by its EXIF orientation, 1 to 8; others leave it as it is."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _without_alpha(values: np.ndarray[Any, Any], raster: Raster) -> np.ndarray[Any, Any]:
    """Drop the alpha channel, and undo premultiplication by it."""
    import numpy as np

    if raster.alpha is None:
        return values
    place = COUNTS[raster.colours]
    alpha, kept = values[..., place : place + 1], np.delete(values, place, axis=-1)
    if raster.alpha == "premultiplied":
        if values.dtype.kind == "f":
            whole = np.where(alpha == 0, 1, alpha).astype(values.dtype)
            kept[..., :place] = kept[..., :place] / whole
        else:  # rounded down and cut off at white, as Pillow does
            top = int(np.iinfo(values.dtype).max)
            wide = kept[..., :place].astype(object if top >> 32 else np.uint64) * top
            whole = np.where(alpha == 0, top, alpha).astype(wide.dtype)
            kept[..., :place] = np.minimum(wide // whole, top)
    return kept[..., 0] if kept.shape[-1] == 1 else kept


def _rgb(
    values: np.ndarray[Any, Any], colours: Colours | None, path: str | os.PathLike[str]
) -> np.ndarray[Any, Any]:
    """RGB of 8 bits, by Pillow's formulas."""
    import numpy as np
    from PIL import Image

    channels = values.shape[-1]
    if values.dtype != np.uint8 or (colours, channels) not in (("CMYK", 4), ("YCbCr", 3)):
        raise UnreadableImageError(
            path,
            f"has {channels} channels of {colours} colours as {values.dtype.name}, which can't be "
            "converted",
            "Save it as a grey or RGB image.",
        )
    size = values.shape[1], values.shape[0]
    return np.array(Image.frombytes(str(colours), size, values.tobytes()).convert("RGB"))


def _native(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values that the caller may change, in this machine's byte order: torch takes no other."""
    import numpy as np

    copied = None if values.flags.writeable and values.flags.c_contiguous else True
    return np.array(values, dtype=values.dtype.newbyteorder("="), order="C", copy=copied)
