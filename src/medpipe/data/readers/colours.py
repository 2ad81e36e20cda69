"""Convert grey to RGB and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os

    import numpy as np

    from medpipe.steps import DecodedImage, Reading


def with_channels(
    image: DecodedImage, path: str | os.PathLike[str], reading: Reading, *, colours: bool
) -> DecodedImage:
    """Give the channels that the reading asks for; None and ``"auto"`` take what there is.

    Args:
        image: As the file has it.
        path: The file, for errors.
        reading: Which channels to give.
        colours: Whether three channels are red, green and blue, not three measurements.

    Raises:
        DataError: There is no conversion between these channels.
    """
    wanted = reading.channels
    have = image.values.shape[-1] if image.channels else 1
    if wanted in (None, "auto") or (wanted == have and image.channels == (have == 3)):
        return image
    if have == 1:
        import numpy as np

        values = image.values[..., 0] if image.channels else image.values
        if wanted == 1:
            return attrs.evolve(image, values=values, channels=False)
        repeated = np.repeat(values[..., None], 3, axis=-1)
        return attrs.evolve(image, values=repeated, channels=True, stored_channels=1)
    if colours and have == 3:
        grey = _grey(image.values)
        return attrs.evolve(image, values=grey, channels=False, stored_channels=3)
    raise UnreadableImageError(
        path,
        f"has {have} channels, which can't be converted to {wanted}",
        'Set dataset.channels = "auto".',
        kind="channels",
    )


def _grey(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """ITU-R 601-2 luma in whole numbers, to the digit what Pillow gives for 8 bits."""
    import numpy as np

    if values.dtype == np.uint8 and values.ndim == 3:  # several times faster
        from PIL import Image

        return np.array(Image.fromarray(np.ascontiguousarray(values)).convert("L"))
    if values.dtype.kind not in "iu":
        blended: np.ndarray[Any, Any] = values @ np.array([0.299, 0.587, 0.114])
        return blended.astype(values.dtype)
    # Numbers of 64 bits times the weights overflow 64 bits.
    wide = values.astype(object if values.dtype.itemsize > 4 else np.int64)
    red, green, blue = np.moveaxis(wide, -1, 0)
    luma: np.ndarray[Any, Any] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.astype(values.dtype)
