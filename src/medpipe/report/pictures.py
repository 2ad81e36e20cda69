"""Images of a data set as small pictures: upright, with square pixels, as data URIs.

NumPy and Pillow are imported inside functions.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from medpipe.steps import DecodedImage

    Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 144
"""The longer side of a picture in pixels."""
QUALITY = 78
"""Of the JPEG files."""


def plane(image: DecodedImage, depth: int | None = None) -> Array:
    """An image, or a slice of a volume, as a viewer shows it.

    Volumes with an affine are turned as radiologists look at them: the patient's head, or face,
    is above, and the patient's left side, or back, to the right.

    Args:
        image: As its file decodes.
        depth: Which slice of a volume; None: the one in the middle.

    Returns:
        Of shape (height, width) or (height, width, channels).
    """
    values = image.values
    spatial = values.ndim - image.channels
    if spatial == 3:
        values = values[:, :, values.shape[2] // 2 if depth is None else depth]
    return upright(values, image.affine if spatial == 3 else None)


def upright(values: Array, affine: Array | None) -> Array:
    """Turn a slice of shape (rows, columns, ...) of a volume with this affine upright.

    Args:
        values: The slice.
        affine: Of `DecodedImage.affine`; None: it stays as it is.
    """
    # Columns are the affine's first axis, rows its second.
    return values if affine is None else turned(values, affine[:3, 0], affine[:3, 1])


def turned(values: Array, across: Array, down: Array) -> Array:
    """Turn a plane of a volume upright.

    Args:
        values: Of shape (height, width, ...).
        across: From one column to the next: to the right, the front and the top of the patient.
        down: The same from one row to the next.
    """
    import numpy as np

    towards_across, towards_down = int(np.abs(across).argmax()), int(np.abs(down).argmax())
    if towards_across == towards_down:
        return values  # oblique beyond what has a name
    if across[towards_across] > 0:
        values = values[:, ::-1]
    if down[towards_down] > 0:
        values = values[::-1]
    # Of right, front and above, the later axis is the vertical one.
    return values if towards_down > towards_across else np.swapaxes(values, 0, 1)


def aspect(image: DecodedImage) -> float:
    """Height of a pixel over its width, as `plane` turns it; 1 where that is not known."""
    import numpy as np

    if image.spacing is None or min(image.spacing[:2]) <= 0:
        return 1.0
    rows, columns = image.spacing[:2]
    turned = upright(np.zeros((2, 1)), image.affine if len(image.spacing) == 3 else None)
    return float(rows / columns if turned.shape == (2, 1) else columns / rows)


def grey(values: Array, low: float | None = None, high: float | None = None) -> Array:
    """Values from 0 to 1, between the 0.5th and the 99.5th percentile where nothing else is said.

    Bytes stay as they are.
    """
    import numpy as np

    if values.dtype == np.uint8 and low is None:
        return np.asarray(values / 255.0)
    found = np.asarray(values, dtype=np.float64)
    finite = found[np.isfinite(found)]
    if not finite.size:
        return np.zeros(found.shape)
    if low is None or high is None:
        low, high = (float(end) for end in np.percentile(finite, [0.5, 99.5]))
    scaled = (found - low) / (high - low) if high > low else np.zeros(found.shape)
    return np.clip(np.nan_to_num(scaled), 0, 1)


def overlaid(image: Array, heat: Array) -> Array:
    """A map over an image, as colours.

    Args:
        image: From 0 to 1, of shape (height, width) or (height, width, channels).
        heat: From 0 to 1, of shape (height, width).

    Returns:
        From 0 to 1, of shape (height, width, 3).
    """
    import matplotlib as mpl
    import numpy as np

    colours = image if image.ndim == 3 and image.shape[2] == 3 else _one(image)[..., None]
    strength = 0.6 * heat[..., None]
    painted = mpl.colormaps["inferno"](0.15 + 0.85 * heat)[..., :3]
    return np.asarray(colours * (1 - strength) + painted * strength)


def data_uri(values: Array, ratio: float = 1.0, side: int = SIDE) -> str:
    """A picture as a data URI.

    Args:
        values: From 0 to 1, of shape (height, width) or (height, width, channels); of other
            numbers of channels than 3 the first is shown.
        ratio: Height of a pixel over its width.
        side: The longer side of the picture in pixels.
    """
    import numpy as np
    from PIL import Image

    shown = values if values.ndim == 3 and values.shape[2] == 3 else _one(values)
    picture = Image.fromarray(np.round(shown * 255).astype(np.uint8))
    height, width = picture.height * ratio, float(picture.width)
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    content = io.BytesIO()
    picture.resize(size, smooth).save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def picture(image: DecodedImage, depth: int | None = None) -> str:
    """An image, or a slice of a volume, as a data URI; see `plane`."""
    return data_uri(grey(plane(image, depth)), aspect(image))


def _one(values: Array) -> Array:
    return values[..., 0] if values.ndim == 3 else values
