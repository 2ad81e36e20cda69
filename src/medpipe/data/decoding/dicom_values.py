"""From the stored numbers of a grey DICOM image to those that it means or shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from medpipe.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, Any]

TABLES = (
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "ModalityLUTSequence",
    "VOILUTSequence",
)
RESCALE = ("RescaleSlope", "RescaleIntercept")
WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")


class WindowError(DataError):
    """A window can't be applied: the message is the end of a sentence about the file."""


def grey_header(dataset: Dataset, frame: int) -> Dataset:
    """What a frame's values go through: its own functional groups, else what holds for all.

    Enhanced multi-frame images have their rescale and windows in functional groups, which
    pydicom's look-ups don't know.
    """
    from pydicom import Dataset as Header

    rescale = functional_group(dataset, frame, "PixelValueTransformationSequence")
    window = functional_group(dataset, frame, "FrameVOILUTSequence")
    if rescale is None and window is None:
        return dataset
    header = Header()
    header.file_meta = dataset.file_meta  # its byte order, for tables
    for source, keywords in (
        (dataset, TABLES),
        (rescale or dataset, RESCALE),
        (window or dataset, WINDOW),
    ):
        for keyword in keywords:
            if keyword in source:
                header[keyword] = source[keyword]
    return header


def functional_group(dataset: Dataset, frame: int, sequence: str) -> Dataset | None:
    """A frame's functional group, its own or the shared one."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (own[frame : frame + 1], shared[:1]):
        for group in groups:
            items = group.get(sequence)
            if items:
                found: Dataset = items[0]
                return found
    return None


def grey_values(
    stored: Array, header: Dataset, window: Literal["voi", "none"] | tuple[float, float]
) -> Array:
    """Apply the modality look-up and the window, and turn MONOCHROME1 around.

    The look-ups are pydicom's: DICOM PS3.3 C.11.1 and C.11.2.

    Args:
        stored: The stored values of one frame, of shape (height, width).
        header: What `grey_header` gave for it.
        window: As `Reading.window`.

    Returns:
        float32, or the stored number type where there is nothing to apply.

    Raises:
        WindowError: The window can't be applied.
    """
    import numpy as np
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    for keyword in RESCALE:
        if keyword in header and header[keyword].value in (None, ""):
            raise ValueError(f"its {keyword} is empty")
    values = apply_modality_lut(stored, header)
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    bounds: tuple[float, float] | None = None
    if isinstance(window, str):
        if window == "voi":
            try:
                values = apply_voi_lut(values, header)
            except (ValueError, NotImplementedError, AttributeError, LookupError) as error:
                raise WindowError(f"has a window that can't be applied: {error}") from error
        if inverted:
            # Floats have no bounds: they are reflected at 0.
            bounds = (0, 0) if stored.dtype.kind == "f" else _range(header, window)
    else:
        values = windowed(values, *window)
        bounds = (0, 1)
    if inverted and bounds is not None:
        # Within what the values can be, not what they are: one law for all images.
        values = sum(bounds) - values
    if values.dtype == np.float64 and stored.dtype != np.float64:
        values = values.astype(np.float32)
    return values


def windowed(values: Array, centre: float, width: float) -> Array:
    """The standard's linear window (PS3.3 C.11.2.1.2.1) onto 0 to 1, as float32.

    Raises:
        WindowError: The width is below 1.
    """
    import numpy as np

    if not width >= 1:
        raise WindowError(f"can't be shown through a window of the width {width:g}, below 1")
    middle, span = centre - 0.5, width - 1
    numbers = values.astype(np.float64)
    if span == 0:
        return (numbers > middle).astype(np.float32)
    shown: Array = np.clip((numbers - middle) / span + 0.5, 0, 1).astype(np.float32)
    return shown


def _range(header: Dataset, window: Literal["voi", "none"]) -> tuple[float, float]:
    """The lowest and the highest value that there can be, once the look-ups are done."""
    if window == "voi":
        for item in (header.get("VOILUTSequence") or ())[:1]:
            if item.get("LUTDescriptor") is not None and item.get("LUTData") is not None:
                return 0, 2 ** item.LUTDescriptor[2] - 1
    if header.get("ModalityLUTSequence"):
        return 0, 2 ** header.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    bits = header.BitsStored
    lowest = -(2 ** (bits - 1)) if header.PixelRepresentation else 0
    highest = lowest + 2**bits - 1
    if "RescaleSlope" not in header or "RescaleIntercept" not in header:
        return lowest, highest
    slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    return lowest * slope + intercept, highest * slope + intercept
