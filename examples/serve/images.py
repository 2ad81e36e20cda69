"""Read PNG and DICOM files as the `before.reading` of a contract says.

A file that can't be read exactly as the run reads it is refused.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from dicom_images import dicom_values
from PIL import Image
from refused import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

PIXELS = 50_000_000
"""An image of more pixels is refused before it is decoded."""
PNG, DICOM = b"\x89PNG\r\n\x1a\n", b"DICM"
SIDE = 512
"""The longest side of the picture that is shown."""
ORIENTATION = 0x0112


def read_image(content: bytes, reading: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """Decode a file.

    Args:
        content: The whole file.
        reading: `before.reading` of the contract.

    Returns:
        The format, and the values, of shape (height, width) or (height, width, channels).

    Raises:
        Refused: It is no PNG and no DICOM file, it is damaged, or of a kind that is not read here.
    """
    if content.startswith(PNG):
        return "PNG", with_channels(_png_values(content, reading), reading)
    if content[128:132] == DICOM:
        return "DICOM", with_channels(dicom_values(content, reading, pixels=PIXELS), reading)
    raise Refused("The file is no PNG image and no DICOM file.", status=415)


def with_channels(values: np.ndarray, reading: Mapping[str, Any]) -> np.ndarray:
    """Make RGB grey, or grey RGB, where the reading asks for it."""
    wanted = reading["channels"]
    have = values.shape[-1] if values.ndim == 3 else 1
    if wanted in (None, "auto", have):
        return values
    if have == 1:
        return np.repeat(values[..., None], 3, axis=-1)
    if have != 3:
        raise Refused(f"The image has {have} channels, which can't be made {wanted}.")
    # ITU-R 601-2 luma in whole numbers, as Pillow has it.
    red, green, blue = np.moveaxis(values.astype(np.int64), -1, 0)
    luma: np.ndarray = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.astype(values.dtype)


def _png_values(content: bytes, reading: Mapping[str, Any]) -> np.ndarray:
    if content[12:16] != b"IHDR" or len(content) < 33:
        raise Refused("The PNG file is damaged: it has no header.")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    if width * height > PIXELS:
        raise Refused(f"The image has {width} x {height} pixels, more than {PIXELS} together.")
    if depth == 16 and colour != 0:
        raise Refused("Colours of 16 bits are not read here. Save the image in 8 bits.")
    _check_chunks(content)
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise Refused("The PNG file holds several pictures. Save each as its own file.")
            image.load()
            values = _as_stored(image) if reading["channels"] is None else _as_seen(image)
    except Refused:
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise Refused(f"The PNG file is damaged: {error}.") from error
    return values


def _check_chunks(content: bytes) -> None:
    """Compare the checksums, which Pillow ignores where it has all pixels, and look for the end."""
    place, name = len(PNG), b""
    while name != b"IEND":
        if len(content) < place + 12:
            raise Refused("The PNG file is damaged: it ends too early.")
        length, name = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            raise Refused("The PNG file is damaged: it ends too early.")
        if zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            raise Refused("The PNG file is damaged: a checksum is wrong.")
        place = end


def _as_stored(image: Image.Image) -> np.ndarray:
    return np.array(image)


def _as_seen(image: Image.Image) -> np.ndarray:
    """Upright, palettes resolved, without alpha."""
    if image.mode == "P":
        palette = image.palette
        most = np.array(image).max() if palette is not None else 0
        if palette is None or most >= len(palette.palette) // 3:
            raise Refused("The PNG file is damaged: a colour is beyond its palette.")
        values = np.array(image.convert("RGB"))
    elif image.mode in ("LA", "RGBA"):
        values = np.array(image)[..., :-1]
        values = values[..., 0] if image.mode == "LA" else values
    elif image.mode == "1":
        values = np.array(image) * np.uint8(255)
    else:
        values = np.array(image)
    return _upright(values, image.getexif().get(ORIENTATION, 1))


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def shown(values: np.ndarray) -> bytes:
    """A PNG of values as they were read, from the darkest to the brightest."""
    grey_or_rgb = values if values.ndim == 2 or values.shape[-1] == 3 else values[..., 0]
    numbers = grey_or_rgb.astype(np.float64)
    low, high = numbers.min(), numbers.max()
    scaled = (numbers - low) * (255 / (high - low) if high > low else 0)
    image = Image.fromarray(np.ascontiguousarray(scaled.round().astype(np.uint8)))
    image.thumbnail((SIDE, SIDE))
    target = BytesIO()
    image.save(target, "PNG")
    return target.getvalue()
