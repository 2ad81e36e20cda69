"""Decode NIfTI by nibabel."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

from medpipe.data.decoding.bombs import refuse_bomb
from medpipe.data.decoding.colours import with_channels
from medpipe.data.decoding.quiet import quiet_decoders
from medpipe.data.decoding.unreadable import UnreadableImageError, damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    import numpy as np

    from medpipe.steps import Reading


GZIP = b"\x1f\x8b"
HEADER = 540
"""Bytes of the longest header, that of NIfTI-2."""
CHUNK = 1 << 20
SINGLE = (b"n+1\0", b"n+2\0")
PAIR = (b"ni1\0", b"ni2\0")
"""What a header holds whose values are in another file."""


def is_nifti(content: bytes) -> bool:
    """Whether a file that begins so is NIfTI, or is gzipped, which no other format here is."""
    return content.startswith(GZIP) or _mark(content) in SINGLE + PAIR


def decode_nifti(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of a NIfTI file; `path` is for errors alone.

    Raises:
        DataError: See `medpipe.plugin.read_image`.
    """
    quiet_decoders()
    try:
        image = _decoded(content, path)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error
    colours = image.values.dtype.names is not None
    if colours:
        image = _resolved(image, path)
    return with_channels(image, path, reading, colours=colours)


def _mark(content: bytes) -> bytes:
    first, second = content[344:348], content[4:8]
    return first if first in (b"n+1\0", b"ni1\0") else second


def _decoded(content: bytes, path: str | os.PathLike[str]) -> DecodedImage:
    import nibabel
    import numpy as np

    head = _start(content)
    mark = _mark(head)
    if mark in PAIR:
        raise UnreadableImageError(
            path,
            "is the header of a NIfTI pair, whose values are in another file",
            "Save the two as one .nii file.",
        )
    if mark not in SINGLE:
        raise UnreadableImageError(path, "is gzipped but holds no NIfTI image", kind="not_an_image")
    kind: Any = nibabel.Nifti1Image if mark == SINGLE[0] else nibabel.Nifti2Image
    header = kind.header_class.from_fileobj(BytesIO(head), check=False)
    shape, number_type = header.get_data_shape(), header.get_data_dtype()
    length = (
        int(header.get_data_offset()) + int(np.prod(shape, dtype=object)) * number_type.itemsize
    )
    if content.startswith(GZIP):
        refuse_bomb(path, length)
    whole = _whole(content, length)
    if header.get_data_offset() < header.single_vox_offset:
        raise UnreadableImageError(path, "has its values inside its header, as vox_offset says")
    if len(whole) < length:
        raise UnreadableImageError(
            path,
            f"is truncated: it should hold {length} bytes, not {len(whole)}",
            kind="truncated",
        )
    image = kind.from_bytes(whole)
    values = np.asanyarray(image.dataobj)
    if values.dtype.kind == "c":
        raise UnreadableImageError(
            path, "holds complex numbers", "Save their magnitude, or real and imaginary parts."
        )
    if values.dtype.kind == "f" and number_type.kind != "f":
        values = values.astype(np.float32)  # scaled whole numbers: nibabel gives float64
    if values.ndim == 5 and values.shape[3] == 1:
        values = values[..., 0, :]  # the standard's place for vectors
    if values.ndim not in (2, 3, 4):
        raise UnreadableImageError(
            path,
            f"has the shape {values.shape}, which is no image of 2 or 3 dimensions with channels",
            "Save each time point as a file of its own.",
        )
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not values.flags.writeable:
        values = values.copy()
    affine = None if image.affine is None else np.asarray(image.affine, dtype=np.float64)
    if affine is not None and not abs(np.linalg.det(affine)) > 0:
        raise UnreadableImageError(
            path,
            "lies nowhere: its affine (sform or qform) is not finite or can't be inverted",
            "Write a valid affine into its header.",
        )
    # NIfTI has the column first, then the row: (x, y, z) becomes (row, column, slice).
    return DecodedImage(values=values.swapaxes(0, 1), channels=values.ndim == 4, affine=affine)


def _start(content: bytes) -> bytes:
    if not content.startswith(GZIP):
        return content[:HEADER]
    return zlib.decompressobj(wbits=31).decompress(content, HEADER)


def _whole(content: bytes, length: int) -> bytes:
    """The first `length` bytes. The rest of a gzipped file is read for its check sum alone."""
    if not content.startswith(GZIP):
        return content
    with gzip.GzipFile(fileobj=BytesIO(content)) as file:
        whole = file.read(length)
        while file.read(CHUNK):
            pass
    return whole


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
    return DecodedImage(values=values, channels=True, affine=image.affine)
