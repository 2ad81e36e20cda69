"""Decode PNG, JPEG, TIFF and BMP, compared with what the file says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.data.readers.colours import with_channels
from medpipe.data.readers.fast_jpeg import decode_jpeg, jpeg_header
from medpipe.data.readers.marks import JPEG, PNG, TIFF
from medpipe.data.readers.quiet import quiet_decoders
from medpipe.data.readers.raster import decoded
from medpipe.data.readers.unreadable import damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    from medpipe.data.readers.raster import Raster
    from medpipe.steps import Reading


def decode_picture(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of a picture; `path` is for errors alone.

    Raises:
        DataError: See `medpipe.plugin.read_image`.
    """
    header = jpeg_header(content)
    if header is not None and header.bare:
        from PIL import Image

        most = Image.MAX_IMAGE_PIXELS
        if most is None or header.height * header.width <= most:
            pixels = decode_jpeg(content, header)
            if pixels is not None:
                image = DecodedImage(values=pixels, channels=pixels.ndim == 3)
                if reading.channels in (None, "auto"):
                    return image
                return with_channels(image, path, reading, colours=image.channels)
    quiet_decoders()
    try:
        return decoded(_raster(content, path, reading), path, reading)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error


def _raster(content: bytes, path: str | os.PathLike[str], reading: Reading) -> Raster:
    if content.startswith(JPEG):
        from medpipe.data.readers.jpeg import jpeg_raster

        return jpeg_raster(content, path)
    if content.startswith(PNG):
        from medpipe.data.readers.png import png_raster

        return png_raster(content, path, upright=reading.channels is not None)
    if content.startswith(TIFF):
        from medpipe.data.readers.tiff.image import tiff_raster

        return tiff_raster(content, path)
    from medpipe.data.readers.bmp import bmp_raster

    return bmp_raster(content, path)
