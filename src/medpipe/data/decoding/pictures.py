"""Decode PNG, JPEG, TIFF and BMP by Pillow, and plain JPEG by a shorter way."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from medpipe.data.decoding.bombs import bomb
from medpipe.data.decoding.fast_jpeg import decode_jpeg, jpeg_header
from medpipe.data.decoding.quiet import quiet_decoders
from medpipe.data.decoding.unreadable import UnreadableImageError, damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    import numpy as np
    from PIL import Image

    from medpipe.steps import Reading


FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
GREY_MODES = frozenset({"L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
"""Pillow's modes of one channel whose values are kept as they are, whatever their width."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
LARGER = "If it is genuine, raise PIL.Image.MAX_IMAGE_PIXELS."


def decode_picture(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of a picture; `path` is for errors alone.

    Raises:
        DataError: See `medpipe.plugin.read_image`.
    """
    from PIL import Image

    header = jpeg_header(content)
    if header is not None and header.bare:
        most = Image.MAX_IMAGE_PIXELS
        if most is None or header.height * header.width <= most:
            pixels = decode_jpeg(content, header)
            if pixels is not None:
                return _decoded(_with_channels(pixels, reading))

    # Importing the four plugins keeps Pillow from loading its forty others, one of which runs
    # a program for PostScript. The file is in memory, so that no handle is shared by threads.
    from PIL import (
        BmpImagePlugin,  # noqa: F401
        JpegImagePlugin,  # noqa: F401
        PngImagePlugin,  # noqa: F401
        TiffImagePlugin,  # noqa: F401
        UnidentifiedImageError,
    )

    quiet_decoders()
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _refuse_bombs(image, path)
            _refuse_pages(image, path)
            pixels = decode_jpeg(content, header) if header and image.format == "JPEG" else None
            if pixels is None:
                image.load()
                values = _values(image, path, reading)
            else:
                values = _with_channels(_turned(pixels, image, reading), reading)
    except UnidentifiedImageError as error:
        reason = "is not a PNG, JPEG, TIFF, BMP, NIfTI or DICOM image"
        raise UnreadableImageError(path, reason, kind="not_an_image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise bomb(path, str(error).rstrip("."), LARGER) from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error
    return _decoded(values)


def _decoded(values: np.ndarray[Any, Any]) -> DecodedImage:
    return DecodedImage(values=values, channels=values.ndim == 3)


def _values(
    image: Image.Image, path: str | os.PathLike[str], reading: Reading
) -> np.ndarray[Any, Any]:
    import numpy as np

    if reading.channels is None:
        return _native(np.array(image))
    image = _upright(image)
    if image.mode == "1" or image.mode in {"LA", "La"}:
        image = image.convert("L")
    elif image.mode not in GREY_MODES:
        image = _rgb(image, path)
    return _with_channels(_native(np.array(image)), reading)


def _with_channels(pixels: np.ndarray[Any, Any], reading: Reading) -> np.ndarray[Any, Any]:
    """Grey or RGB values as the reading wants them."""
    if reading.channels not in (1, 3):
        return pixels
    import numpy as np
    from PIL import Image

    if reading.channels == 1 and pixels.ndim == 3:
        return np.array(Image.fromarray(pixels).convert("L"))
    if reading.channels == 3 and pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    return pixels


def _turned(
    pixels: np.ndarray[Any, Any], image: Image.Image, reading: Reading
) -> np.ndarray[Any, Any]:
    """The pixels of an image as `_upright` turns it."""
    import numpy as np
    from PIL import Image as pillow  # noqa: N813

    turn = None if reading.channels is None else _turn(image)
    return pixels if turn is None else np.array(pillow.fromarray(pixels).transpose(turn))


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF data say; Pillow itself has done so for TIFF."""
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    from PIL import Image as pillow  # noqa: N813

    turn = pillow.Transpose
    turns: dict[Any, Image.Transpose] = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    try:
        return turns.get(image.getexif().get(ORIENTATION))
    except Exception:  # damaged EXIF data: the pixels are none the worse
        return None


def _rgb(image: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    if image.mode == "RGB":
        return image
    # Alpha is dropped, not blended; without this Pillow warns of each palette that has some.
    image.info.pop("transparency", None)
    if image.mode in {"PA", "RGBa"}:
        image = image.convert("RGBA")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise UnreadableImageError(
            path,
            f"has colours of the kind {image.mode}, which can't be converted",
            "Save it as a grey or RGB image.",
        ) from error


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers in this machine's byte order: torch takes no other."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _refuse_bombs(image: Image.Image, path: str | os.PathLike[str]) -> None:
    # Pillow only warns up to twice its limit, and to turn warnings into errors isn't safe in
    # threads.
    from PIL import Image as pillow  # noqa: N813

    limit = pillow.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        pixels = image.width * image.height
        raise bomb(path, f"it has {pixels} pixels, more than Pillow's limit of {limit}", LARGER)


def _refuse_pages(image: Image.Image, path: str | os.PathLike[str]) -> None:
    # A JPEG of several pictures (MPO) holds the image and its previews: its first is meant.
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":
        raise UnreadableImageError(
            path,
            f"has {pages} pages, of which only the first would be read",
            "Save each page as a file of its own.",
        )
