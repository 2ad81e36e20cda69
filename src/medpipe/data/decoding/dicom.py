"""Decode a DICOM file by pydicom."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.decoding.bombs import refuse_bomb
from medpipe.data.decoding.colours import with_channels
from medpipe.data.decoding.dicom_geometry import affine_of, plane_of, unevenness
from medpipe.data.decoding.dicom_values import WindowError, grey_header, grey_values
from medpipe.data.decoding.quiet import quiet_decoders
from medpipe.data.decoding.unreadable import UnreadableImageError, damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    import numpy as np
    from pydicom import Dataset

    from medpipe.data.decoding.dicom_geometry import Plane
    from medpipe.steps import Reading

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
TRIED = "Unable to decode as exceptions were raised by all available plugins: "
NATIVE = ("RGB", "YBR_FULL", "YBR_FULL_422")
COMPRESSED = (*NATIVE, "YBR_ICT", "YBR_RCT")
"""Colours that pydicom gives as RGB; others it gives as they are."""
DECODERS = 'Install the decoders: pip install "medpipe[dicom]".'


@attrs.frozen(kw_only=True, eq=False)
class DicomImage:
    """A decoded file, and what it says about its place in a series.

    Attributes:
        image: Of shape (height, width), or (height, width, frames) where there are several; with
            the channels last where it has colours. The affine is None for a single frame.
        frames: How many.
        plane: Where the first frame lies.
        number: The InstanceNumber.
    """

    image: DecodedImage
    frames: int
    plane: Plane | None
    number: int | None


def decode_dicom(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of a DICOM file; `path` is for errors alone.

    Raises:
        DataError: See `medpipe.plugin.read_image`.
    """
    found = decode_slice(content, path, reading)
    if found.frames > 1 or found.plane is None:
        return found.image
    return attrs.evolve(found.image, affine=affine_of([found.plane]))


def decode_slice(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DicomImage:
    """Decode a file that may be one of a series; see `decode_dicom`."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    quiet_decoders()
    try:
        dataset = dcmread(BytesIO(content))
        stored = _stored(dataset, path)
        image, plane = _image(dataset, stored, reading)
        number = dataset.get("InstanceNumber")
        return DicomImage(
            image=with_channels(image, path, reading, colours=True),
            frames=_frames(dataset),
            plane=plane,
            number=int(number) if isinstance(number, int) else None,
        )
    except InvalidDicomError as error:
        raise UnreadableImageError(path, "is not a DICOM file", kind="not_an_image") from error
    except WindowError as error:
        remedy = 'Set dataset.window = "none", or to the centre and width of a window.'
        raise UnreadableImageError(path, str(error).strip(" ."), remedy) from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error


def _frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _length(dataset: Dataset) -> int:
    """The bytes of all frames when they are decompressed."""
    values = dataset.Rows * dataset.Columns * dataset.get("SamplesPerPixel", 1) * _frames(dataset)
    return int(values * dataset.get("BitsAllocated", 8) // 8)


def _stored(dataset: Dataset, path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """The stored values, decompressed, in RGB where there are colours."""
    from pydicom.pixels.decoders.base import get_decoder

    if not any(dataset.get(keyword) for keyword in PIXELS):
        kind = dataset.get("SOPClassUID")
        named = f": it is of the kind {kind.name}" if kind else ""
        raise UnreadableImageError(path, f"is a DICOM file without pixels{named}", "Leave it out.")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    kind = dataset.get("PhotometricInterpretation")
    known = COMPRESSED if syntax is not None and syntax.is_encapsulated else NATIVE
    if dataset.get("SamplesPerPixel", 1) > 1 and kind and kind not in known:
        raise UnreadableImageError(
            path,
            f"has colours of the kind {kind}, which can't be converted",
            "Save it as a grey or RGB image.",
        )
    if syntax is None or not syntax.is_encapsulated:
        stored: np.ndarray[Any, Any] = dataset.pixel_array
        return stored
    named = f"is compressed as {syntax.name} ({syntax})"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        remedy = "Convert it to another transfer syntax."
        raise UnreadableImageError(path, f"{named}, which pydicom can't decode", remedy) from error
    if not decoder.is_available:
        raise UnreadableImageError(path, f"{named}, for which no decoder is installed", DECODERS)
    refuse_bomb(path, _length(dataset))
    try:
        stored = dataset.pixel_array
    except RuntimeError as error:
        why = " ".join(str(error).split()).strip(" .").removeprefix(TRIED)
        raise UnreadableImageError(
            path,
            f"{named}, which the installed decoders ({', '.join(decoder.available_plugins)}) "
            f"can't decode: {why}",
            f"Remove or repair it. If decoders are missing: {DECODERS[0].lower()}{DECODERS[1:]}",
        ) from error
    return stored


def _image(
    dataset: Dataset, stored: np.ndarray[Any, Any], reading: Reading
) -> tuple[DecodedImage, Plane | None]:
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut

    count = _frames(dataset)
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)[..., :3]  # a fourth would be alpha
    frames = stored if count > 1 else stored[None]
    colours = frames.ndim == 4
    if not colours and kind.startswith("MONOCHROME"):
        parts = [
            grey_values(f, grey_header(dataset, n), reading.window) for n, f in enumerate(frames)
        ]
        frames = np.stack(parts)
    if not frames.dtype.isnative:
        frames = frames.astype(frames.dtype.newbyteorder("="))
    if not frames.flags.writeable:
        frames = frames.copy()
    if count == 1:
        return DecodedImage(values=frames[0], channels=colours), plane_of(dataset)
    order, affine = _places(dataset, count)
    values = np.moveaxis(frames if order is None else frames[order], 0, 2)
    return DecodedImage(values=values, channels=colours, affine=affine), None


def _places(dataset: Dataset, count: int) -> tuple[Any, np.ndarray[Any, Any] | None]:
    """The order of the frames in space, and the affine; None where the file doesn't say.

    Frames that share a place, such as the phases of a heart beat, keep the order of the file.
    """
    import numpy as np

    if not dataset.get("PerFrameFunctionalGroupsSequence"):
        return None, None
    planes: list[Plane] = []
    for frame in range(count):
        plane = plane_of(dataset, frame)
        if plane is None or (planes and not plane.parallel(planes[0])):
            return None, None
        planes.append(plane)
    normal = planes[0].normal
    places = [float(plane.position @ normal) for plane in planes]
    order = np.argsort(places, kind="stable")
    ordered = [places[index] for index in order]
    if min(np.diff(ordered)) < 1e-3:
        return None, None
    if unevenness(ordered) is not None:
        return order, None
    return order, affine_of([planes[index] for index in order])
