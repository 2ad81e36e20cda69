"""Decode ``.npy`` and ``.npz``, compared with what the file says of itself; never pickles."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

from medpipe.data.readers.bombs import refuse_bomb
from medpipe.data.readers.chosen import how_to_choose
from medpipe.data.readers.marks import ZIP
from medpipe.data.readers.unreadable import UnreadableImageError, damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import numpy as np

AXES = "yxzc"
"""The axes of a `DecodedImage` in their order: row, column, slice, channel."""
NAMED = 10
"""How many arrays of a file an error names."""
_OBJECTS = "Save it again as an array of numbers."


def decode_numpy(content: bytes, path: str, *, axes: str | None, key: str | None) -> DecodedImage:
    """Decode the content of a file.

    Args:
        content: The whole file.
        path: The file, for errors.
        axes: What the array's axes are; see `NumpyReader`.
        key: Which array of a ``.npz``; None: the only one.

    Raises:
        UnreadableImageError: The file is damaged, contradicts its header, holds what is no array
            of real numbers, several arrays of which none is chosen, or other axes.
    """
    try:
        if content.startswith(ZIP):
            content = _member(content, path, key)
        values = _array(content, path)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error
    return _placed(values, path, axes, key)


def _member(content: bytes, path: str, key: str | None) -> bytes:
    """The content of an array in a ``.npz``, compared with its checksum."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if key is None and len(members) == 1:
            key = next(iter(members))
        if key is None or key not in members:
            names = ", ".join(map(repr, sorted(members)[:NAMED])) or "none"
            more = f" and {len(members) - NAMED} more" if len(members) > NAMED else ""
            wanted = "and none is chosen" if key is None else f"but not {key!r}"
            remedy = UnreadableImageError.REMEDY
            if members:
                first = "image" if "image" in members else min(members)
                way = how_to_choose("numpy", {"key": first})
                remedy = f"Name one of them for the reader: {way}."
            raise UnreadableImageError(path, f"holds the arrays {names}{more}, {wanted}", remedy)
        refuse_bomb(path, members[key].file_size)
        return archive.read(members[key])


def _array(content: bytes, path: str) -> np.ndarray[Any, Any]:
    """The array of a ``.npy``."""
    import numpy as np

    file = BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for names of fields
        raise UnreadableImageError(path, "holds records, which are not numbers", _OBJECTS)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, columns_first, kind = read[version[0]](file)
    if kind.hasobject:
        raise UnreadableImageError(path, "holds pickled objects, which are not read", _OBJECTS)
    if kind.kind not in "biuf":
        what = "complex numbers" if kind.kind == "c" else f"values of the type {kind}"
        reason = f"holds {what}, which are not real numbers"
        raise UnreadableImageError(path, reason, _OBJECTS)
    length = file.tell() + math.prod(shape) * kind.itemsize
    if length != len(content):
        cut = len(content) < length
        said = "is truncated: it" if cut else "contradicts its header, by which it"
        raise UnreadableImageError(
            path,
            f"{said} should hold {length} bytes, not {len(content)}",
            kind="truncated" if cut else "damaged",
        )
    if not math.prod(shape):
        raise UnreadableImageError(path, f"has no pixels: its shape is {shape}", kind="empty")
    flat = np.frombuffer(content, kind, offset=file.tell())
    values = flat.reshape(shape, order="F" if columns_first else "C")
    return np.array(values, kind.newbyteorder("="), order="C")


def _placed(
    values: np.ndarray[Any, Any], path: str, axes: str | None, key: str | None
) -> DecodedImage:
    """The array with its axes in the order of a `DecodedImage`."""
    if values.ndim != len(axes or "yx"):
        expected = "has two axes" if axes is None else f"has the axes {axes!r}"
        raise UnreadableImageError(
            path,
            f"has the shape {values.shape}, where an array {expected}",
            'Say what they are, such as "zyx" for a volume or "yxc" for channels: '
            f"{how_to_choose('numpy', {'axes': 'zyx', 'key': key})}.",
        )
    axes = axes or "yx"
    order = sorted(range(values.ndim), key=lambda axis: AXES.index(axes[axis]))
    turned = values.transpose(order)
    if not turned.flags.c_contiguous:
        turned = turned.copy()
    return DecodedImage(values=turned, channels="c" in axes)
