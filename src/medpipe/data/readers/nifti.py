"""Decode NIfTI by nibabel."""

from __future__ import annotations

import gzip
from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.bombs import refuse_bomb
from medpipe.data.readers.colours import with_channels
from medpipe.data.readers.marks import GZIP, NIFTI, NIFTI_PAIR, is_analyze, nifti_mark
from medpipe.data.readers.nifti_header import HeaderError, check_header, placed, scaling
from medpipe.data.readers.quiet import quiet_decoders
from medpipe.data.readers.unreadable import UnreadableImageError, damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    import numpy as np

    from medpipe.steps import Reading


HEADER = 540
"""Bytes of the longest header, that of NIfTI-2."""
CHUNK = 1 << 20


def decode_nifti(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of a NIfTI file; `path` is for errors alone.

    Raises:
        DataError: See `medpipe.plugin.read_image`.
    """
    quiet_decoders()
    try:
        image = _decoded(content, path)
    except HeaderError as error:
        raise UnreadableImageError(path, str(error), error.remedy, kind="damaged") from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error
    colours = image.values.dtype.names is not None
    if colours:
        image = _resolved(image, path)
    return with_channels(image, path, reading, colours=colours)


def _decoded(content: bytes, path: str | os.PathLike[str]) -> DecodedImage:
    import nibabel
    import numpy as np

    head = _start(content)
    mark = nifti_mark(head)
    if mark in NIFTI_PAIR or is_analyze(head):
        kind_of_pair = "a NIfTI pair" if mark in NIFTI_PAIR else "an Analyze 7.5 pair"
        raise UnreadableImageError(
            path,
            f"is the header of {kind_of_pair}, whose values are in another file",
            "Save the two as one .nii file.",
        )
    if mark not in NIFTI:
        raise UnreadableImageError(
            path,
            "is gzipped but holds no NIfTI image",
            "Convert it to NIfTI, or leave it out.",
            kind="not_an_image",
        )
    kind: Any = nibabel.Nifti1Image if mark == NIFTI[0] else nibabel.Nifti2Image
    header = kind.header_class.from_fileobj(BytesIO(head), check=False)
    check_header(header)
    shape, number_type = header.get_data_shape(), header.get_data_dtype()
    length = (
        int(header.get_data_offset()) + int(np.prod(shape, dtype=object)) * number_type.itemsize
    )
    if content.startswith(GZIP):
        refuse_bomb(path, length)
    whole, found = _whole(content, length)
    if found != length:
        cut = found < length
        said = "is truncated: it" if cut else "contradicts its header, by which it"
        raise UnreadableImageError(
            path,
            f"{said} should hold {length} bytes, not {found}",
            kind="truncated" if cut else "damaged",
        )
    values = _values(whole, header)
    if values.dtype.kind == "c":
        raise UnreadableImageError(
            path, "holds complex numbers", "Save their magnitude, or real and imaginary parts."
        )
    while values.ndim > 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 5 and values.shape[3] == 1:
        values = values[..., 0, :]  # the standard's place for vectors
    if values.ndim not in (2, 3, 4):
        raise UnreadableImageError(
            path,
            f"has the shape {values.shape}, which is not an image of 2 or 3 dimensions with "
            "channels",
            "Save each time point as a file of its own.",
        )
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not values.flags.writeable:
        values = values.copy()
    affine, spacing = placed(header, min(values.ndim, 3))
    # NIfTI has the column first, then the row: (x, y, z) becomes (row, column, slice).
    return DecodedImage(
        values=values.swapaxes(0, 1),
        channels=values.ndim == 4,
        affine=affine,
        spacing=spacing,
        spacing_of="unknown" if spacing is None else "patient",
    )


def _values(content: bytes, header: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    scaled = scaling(header)
    shape = header.get_data_shape()
    # Not by nibabel's image class, which takes longer than a small file's decoding.
    stored = memoryview(content)[int(header.get_data_offset()) :]
    values: np.ndarray[Any, Any] = np.ndarray(shape, header.get_data_dtype(), stored, order="F")
    if scaled is None or values.dtype.names is not None or values.dtype.kind == "c":
        return values
    slope, intercept = scaled
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float32)
    numbers = values.astype(np.result_type(np.float64, kind)) * slope + intercept
    return numbers.astype(kind.newbyteorder("="))


def _start(content: bytes) -> bytes:
    if not content.startswith(GZIP):
        return content[:HEADER]
    with gzip.GzipFile(fileobj=BytesIO(content)) as file:  # it may have several members
        return file.read(HEADER)


def _whole(content: bytes, length: int) -> tuple[bytes, int]:
    """The first `length` bytes, and how many there are in all, to the check sum of gzip."""
    if not content.startswith(GZIP):
        return content, len(content)
    with gzip.GzipFile(fileobj=BytesIO(content)) as file:
        whole = file.read(length)
        found = len(whole)
        while more := file.read(CHUNK):
            found += len(more)
    return whole, found


def _resolved(image: DecodedImage, path: str | os.PathLike[str]) -> DecodedImage:
    """From NIfTI's colour types, which are records, to a last axis of red, green and blue."""
    import numpy as np

    if image.channels:
        raise UnreadableImageError(
            path,
            f"has colours and the shape {image.values.shape}",
            "Save each time point as a file of its own.",
        )
    values: np.ndarray[Any, Any] = np.stack([image.values[name] for name in "RGB"], axis=-1)
    return attrs.evolve(image, values=values, channels=True)
