"""Decode image files: one reader for the scan, for training and for prediction."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.errors import DataError
from medpipe.steps import Reading

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
GREY_MODES = frozenset({"L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
"""Pillow's modes of one channel whose values are kept as they are, whatever their width."""


class UnreadableImageError(DataError):
    """An image file can't be decoded.

    Attributes:
        path: The file.
        reason: What is wrong with it, as the end of a sentence that begins with the file.
        remedy: What to do about it.
    """

    REMEDY: ClassVar[str] = "Remove or repair it."

    def __init__(self, path: str | os.PathLike[str], reason: str, remedy: str = REMEDY) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"The image {self.path} {reason}. {remedy}")


def read_image(
    path: str | os.PathLike[str],
    reading: Reading = Reading(),
) -> np.ndarray[Any, Any]:
    """Decode an image file: PNG, JPEG, TIFF or BMP. May be called from several threads.

    Values of 16 bits and floats are kept. Pillow itself reduces RGB of 16 bits to 8. With
    ``"auto"`` a palette becomes RGB even where all its colours are grey.

    Args:
        path: The file.
        reading: Which channels to give.

    Returns:
        An array of shape (height, width) or (height, width, channels) in the file's own number
        type, which the caller may change. With ``reading.channels`` None it holds the values of
        MONAI's ``PILReader``, which swaps the first two axes.

    Raises:
        DataError: The file is absent, empty, truncated, no image, larger than Pillow's limit, of
            several pages, or of colours that can't be converted; it names the file.
    """
    return decode(file_bytes(path), path, reading)


def read_sample_image(image: Any, reading: Reading) -> np.ndarray[Any, Any]:
    """Decode what `Sample.image` holds.

    Args:
        image: A path; several, whose channels are put one after the other on the last axis; or
            an array, which is given back as it is.
        reading: Which channels each file gives.

    Returns:
        An array of shape (height, width) or (height, width, channels).

    Raises:
        DataError: As `read_image`; or the files of one sample differ in height or width.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, reading)
    if isinstance(image, tuple):
        return stack_channels([read_image(path, reading) for path in image], image)
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise DataError(
            f"A sample's image is of the type {type(image).__name__}. "
            "Give a path, a tuple of paths or a numpy array."
        )
    return image


def image_paths(image: Any) -> tuple[str, ...]:
    """The files of a `Sample.image`; empty for an array."""
    if isinstance(image, (str, os.PathLike)):
        return (os.fspath(image),)
    return tuple(os.fspath(path) for path in image) if isinstance(image, tuple) else ()


def file_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of an image file.

    Raises:
        DataError: It can't be read, or is empty.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImageError(path, "is not there") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UnreadableImageError(path, f"can't be read: {reason}") from error
    if not content:
        raise UnreadableImageError(path, "is empty")
    return content


def decode(content: bytes, path: str | os.PathLike[str], reading: Reading) -> np.ndarray[Any, Any]:
    """Decode the content of an image file; see `read_image`. `path` is for errors alone."""
    # Importing the four plugins keeps Pillow from loading its forty others, one of which runs
    # a program for PostScript. The file is in memory, so that no handle is shared by threads.
    from PIL import (
        BmpImagePlugin,  # noqa: F401
        Image,
        JpegImagePlugin,  # noqa: F401
        PngImagePlugin,  # noqa: F401
        TiffImagePlugin,  # noqa: F401
        UnidentifiedImageError,
    )

    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _refuse_bombs(image, path)
            _refuse_pages(image, path)
            image.load()
            return _array(image, path, reading)
    except UnidentifiedImageError as error:
        raise UnreadableImageError(path, "is not a PNG, JPEG, TIFF or BMP image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(path, str(error)) from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise UnreadableImageError(path, f"is damaged: {str(error).strip(' .')}") from error


def stack_channels(
    arrays: list[np.ndarray[Any, Any]], paths: tuple[str | os.PathLike[str], ...]
) -> np.ndarray[Any, Any]:
    """Put the channels of several images one after the other on the last axis.

    Raises:
        DataError: They differ in height or width; it names two that do.
    """
    import numpy as np

    if not arrays:
        raise DataError("A sample names no image file. Give it at least one.")
    for array, path in zip(arrays, paths, strict=True):
        if array.shape[:2] != arrays[0].shape[:2]:
            raise DataError(
                f"The images {os.fspath(paths[0])} ({_size(arrays[0])}) and {os.fspath(path)} "
                f"({_size(array)}) belong to one sample but differ in size. "
                "Resample them to one size."
            )
    return np.concatenate([a[..., None] if a.ndim == 2 else a for a in arrays], axis=-1)


def _array(
    image: Image.Image, path: str | os.PathLike[str], reading: Reading
) -> np.ndarray[Any, Any]:
    import numpy as np

    if reading.channels is None:
        return _native(np.array(image))
    if image.mode == "1" or image.mode in {"LA", "La"}:
        image = image.convert("L")
    elif image.mode not in GREY_MODES:
        image = _rgb(image, path)
    if reading.channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    array = _native(np.array(image))
    if reading.channels == 3 and array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=-1)
    return array


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
        raise _bomb(path, f"it has {pixels} pixels, more than Pillow's limit of {limit}")


def _bomb(path: str | os.PathLike[str], reason: str) -> UnreadableImageError:
    return UnreadableImageError(
        path,
        f"may be a decompression bomb: {reason.rstrip('.')}",
        "If it is genuine, raise PIL.Image.MAX_IMAGE_PIXELS.",
    )


def _refuse_pages(image: Image.Image, path: str | os.PathLike[str]) -> None:
    # A JPEG of several pictures (MPO) holds the image and its previews: its first is meant.
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":
        raise UnreadableImageError(
            path,
            f"has {pages} pages, of which only the first would be read",
            "Save each page as a file of its own.",
        )


def _size(array: np.ndarray[Any, Any]) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"
