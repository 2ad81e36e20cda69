"""Decode a DICOM file by pydicom."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.colours import with_channels
from medpipe.data.readers.dicom.frames import Places, places_of
from medpipe.data.readers.dicom.geometry import affine_of, plane_of
from medpipe.data.readers.dicom.padding import fill, padded
from medpipe.data.readers.dicom.palette import resolved_palette
from medpipe.data.readers.dicom.pixels import stored_values
from medpipe.data.readers.dicom.spacing import pixel_size
from medpipe.data.readers.dicom.values import (
    WindowError,
    dose_scale,
    grey_header,
    grey_values,
    is_measured,
    rescaled,
)
from medpipe.data.readers.quiet import quiet_decoders
from medpipe.data.readers.unreadable import UnreadableImageError, damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    import os

    import numpy as np
    from pydicom import Dataset

    from medpipe.data.readers.dicom.geometry import Plane
    from medpipe.data.readers.dicom.pixels import Stored
    from medpipe.steps import Reading

FRAMES = (
    'Set dataset.frames = "volume" to stack them as they are stored, or "first" to take the first '
    "alone."
)
NO_SPACING = "say where in the patient they lie, but not how large their pixels are (PixelSpacing)"
UNKNOWN = (
    'Write PixelSpacing into the headers, or set dataset.missing_spacing = "unknown" to read such '
    "volumes with an unknown spacing."
)


@attrs.frozen(kw_only=True, eq=False)
class DicomImage:
    """A decoded file, and what it says about its place in a series.

    Attributes:
        image: Of shape (height, width), or (height, width, frames) where there are several; with
            the channels last where it has colours. The affine is None for a single frame.
        padding: Where its values are padding (`Reading.padding`), which is not yet filled.
        frames: How many.
        plane: Where the first frame lies.
        number: The InstanceNumber.
        rescaled: Whether its header rescales the stored values; None: it has no rescale.
    """

    image: DecodedImage
    padding: np.ndarray[Any, Any] | None
    frames: int
    plane: Plane | None
    number: int | None
    rescaled: bool | None


def decode_dicom(content: bytes, path: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of a DICOM file; `path` is for errors alone.

    Raises:
        DataError: See `medpipe.plugin.read_image`.
    """
    found = decode_slice(content, path, reading)
    fill(found.image.values, found.padding)
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
        found = _image(dataset, stored_values(dataset, path), path, reading)
        image = with_channels(found.image, path, reading, colours=True)
        return attrs.evolve(found, image=image)
    except InvalidDicomError as error:
        raise UnreadableImageError(path, "is not a DICOM file", kind="not_an_image") from error
    except WindowError as error:
        remedy = 'Set dataset.window = "none", or to the centre and width of a window.'
        raise UnreadableImageError(path, str(error).strip(" ."), remedy) from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise damaged(path, error) from error


def _image(
    dataset: Dataset, stored: Stored, path: str | os.PathLike[str], reading: Reading
) -> DicomImage:
    """What the stored values mean, and where they lie."""
    import numpy as np

    layout, frames = stored.layout, stored.values
    padding: np.ndarray[Any, Any] | None = None
    places: Places | str | None = None
    if layout.frames > 1:
        places = places_of(dataset, layout.frames)
        if isinstance(places, str):
            if reading.frames == "positions":
                reason = f"has {layout.frames} frames, but {places}, so they are not a volume"
                raise UnreadableImageError(path, reason, FRAMES)
            if reading.frames == "first":
                frames, places = frames[:1], None
    if layout.kind == "PALETTE COLOR":
        frames = resolved_palette(dataset, frames)
    elif layout.samples == 1:
        if reading.padding == "lowest":
            padding = padded(dataset, stored.values, stored.cells)
        measured = is_measured(dataset)
        parts = [
            grey_values(frame, grey_header(dataset, n), reading.window, measured=measured)
            for n, frame in enumerate(frames)
        ]
        frames = np.stack(parts)
        scale = dose_scale(dataset)
        if scale is not None:
            frames = (frames * np.float64(scale)).astype(np.float32)
    if not frames.flags.writeable:
        frames = frames.copy()
    colours = frames.ndim == 4
    number = dataset.get("InstanceNumber")
    found = DicomImage(
        image=DecodedImage(values=frames[0], channels=colours),
        padding=padding[0] if padding is not None else None,
        frames=1,
        plane=None,
        number=int(number) if isinstance(number, int) else None,
        rescaled=rescaled(grey_header(dataset, 0)) if layout.samples == 1 else False,
    )
    size = pixel_size(dataset)
    pixels = None if size.rows is None or size.columns is None else (size.rows, size.columns)
    if places is None:
        image = attrs.evolve(found.image, spacing=pixels, spacing_of=size.of)
        return attrs.evolve(found, image=image, plane=plane_of(dataset))
    if isinstance(places, str):
        places = Places(order=np.arange(layout.frames))
    elif places.in_patient and pixels is None and reading.missing_spacing == "error":
        raise UnreadableImageError(path, f"has frames that {NO_SPACING}", UNKNOWN)
    if padding is not None:
        padding = np.moveaxis(padding[places.order], 0, 2)
    image = DecodedImage(values=np.moveaxis(frames[places.order], 0, 2), channels=colours)
    if places.between is not None and pixels is not None:
        image = attrs.evolve(
            image,
            affine=places.affine if size.of == "patient" else None,
            spacing=(*pixels, places.between),
            spacing_of=size.of,
        )
    return attrs.evolve(found, image=image, padding=padding, frames=layout.frames)
