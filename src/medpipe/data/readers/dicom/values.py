"""From stored values to grey values: rescale, modality and VOI look-up, window, MONOCHROME1."""

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
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""The first is the default."""

MEASURED = frozenset({"BMD", "CT", "MR", "NM", "PT", "RTDOSE"})
"""Modalities whose values are measurements, such as Hounsfield units: MONOCHROME1 says how to show
them, not what they are."""
MEASURED_CLASSES = ("CT ", "MR ", "Positron", "PET", "Nuclear", "RT Dose", "Parametric Map")
"""How the names of their SOP classes begin, for files without a Modality."""


class WindowError(DataError):
    """A window can't be applied: the message is the end of a sentence about the file."""


def grey_header(dataset: Dataset, frame: int) -> Dataset:
    """The header for a frame's values: its own functional groups, else what holds for all frames.

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


def modality_of(dataset: Dataset) -> str:
    """The Modality; empty where it isn't said, or is several."""
    found = dataset.get("Modality")
    return found if isinstance(found, str) else ""


def dose_scale(dataset: Dataset) -> float | None:
    """The factor from the values of a dose to Gray; None if the file is no dose.

    Raises:
        ValueError: It is no number above 0.
    """
    from math import isfinite

    if "DoseGridScaling" not in dataset:
        return None
    value = dataset["DoseGridScaling"].value
    if not isinstance(value, (int, float)) or not isfinite(value) or value <= 0:
        told = "empty" if value is None or value == "" else value
        raise ValueError(f"its DoseGridScaling is {told}, not one number above 0")
    return float(value)


def is_measured(dataset: Dataset) -> bool:
    """Whether the values are measurements, which are the same however they are shown."""
    modality = modality_of(dataset)
    kind = dataset.get("SOPClassUID")
    named = getattr(kind, "name", "").removeprefix("Enhanced ").removeprefix("Legacy Converted ")
    if named.startswith("Parametric Map"):
        return True
    if modality:
        return modality in MEASURED
    return str(named.removeprefix("Enhanced ")).startswith(MEASURED_CLASSES)


def grey_values(
    stored: Array,
    header: Dataset,
    window: Literal["voi", "none"] | tuple[float, float],
    *,
    measured: bool = False,
) -> Array:
    """Apply the modality look-up and the window, and invert MONOCHROME1.

    The rescale and windows are pydicom's: DICOM PS3.3 C.11.1 and C.11.2.

    Args:
        stored: The stored values of one frame, of shape (height, width).
        header: What `grey_header` gave for it.
        window: As `Reading.window`.
        measured: Whether `is_measured`: then only ``"voi"``, which is for display, inverts.

    Returns:
        float32, or the stored number type where there is nothing to apply.

    Raises:
        ValueError: The rescale is invalid.
        WindowError: The window can't be applied.
    """
    import numpy as np
    from pydicom.pixels.processing import apply_modality_lut

    check_rescale(header)
    tables = header.get("ModalityLUTSequence")
    # pydicom's table takes 8 and 16 bits alone.
    values = looked_up(stored, tables[0], header) if tables else apply_modality_lut(stored, header)
    inverted = header.PhotometricInterpretation == "MONOCHROME1" and (
        window == "voi" or not measured
    )
    bounds: tuple[float, float] | None = None
    if isinstance(window, str):
        if window == "voi":
            try:
                values = _shown(values, header)
            except (ValueError, NotImplementedError, AttributeError, LookupError) as error:
                raise WindowError(f"has a window that can't be applied: {error}") from error
        if inverted:
            # Floats have no bounds: they are reflected at 0.
            bounds = (0, 0) if stored.dtype.kind == "f" else _range(header, window)
    else:
        values = windowed(values, *window)
        bounds = (0, 1)
    if inverted and bounds is not None:
        # Within the possible values, not the image's own: the same mapping for all images.
        values = sum(bounds) - values
    if values.dtype == np.float64 and stored.dtype != np.float64:
        values = values.astype(np.float32)
    return values


def _shown(values: Array, header: Dataset) -> Array:
    """Values through the file's first look-up table or, without one, its first window.

    Raises:
        ValueError: The table or the window contradicts itself.
    """
    from pydicom import Dataset as Header
    from pydicom.pixels.processing import apply_windowing

    for item in (header.get("VOILUTSequence") or ())[:1]:
        if item.get("LUTDescriptor") is not None and item.get("LUTData") is not None:
            check_table(item, "VOILUTSequence")
            # pydicom's look-up counts in a table's own type: one of 8 bits ends at 255 for it.
            # Floats have no bits stored, and any value.
            negative = "BitsStored" not in header or min(_range(header, "none")) < 0
            return looked_up(values, item, header, negative=negative)
    if not has_window(header):
        return values
    function = header.get("VOILUTFunction") or FUNCTIONS[0]
    if function not in FUNCTIONS:
        raise ValueError(f"its VOILUTFunction is {function}, none of {', '.join(FUNCTIONS)}")
    header = Header(header)
    header.VOILUTFunction = function
    return apply_windowing(values, header)


def has_window(header: Dataset) -> bool:
    """Whether there is a window: its two halves may both be absent or empty.

    Raises:
        ValueError: One half is missing, or is no number.
    """
    from collections.abc import Sequence
    from math import isfinite

    first: dict[str, Any] = {}
    for keyword in WINDOW[:2]:
        value = header.get(keyword)
        if value is None or value == "":
            continue
        several = isinstance(value, Sequence) and not isinstance(value, str)
        first[keyword] = value[0] if several and value else value
    for keyword, value in first.items():
        if not isinstance(value, (int, float)) or not isfinite(value):
            raise ValueError(f"its {keyword} is {header[keyword].value}, not a number")
    if len(first) == 1:
        other = next(keyword for keyword in WINDOW[:2] if keyword not in first)
        raise ValueError(f"it has a {next(iter(first))} but no {other}")
    return bool(first)


def check_rescale(header: Dataset) -> None:
    """Check the rescale of stored values.

    Raises:
        ValueError: One half is missing, or not one finite number; or it contradicts a table.
    """
    from math import isfinite

    there = [keyword for keyword in RESCALE if keyword in header]
    for keyword in there:
        value = header[keyword].value
        if value is None or value == "":
            raise ValueError(f"its {keyword} is empty")
        if not isinstance(value, (int, float)) or not isfinite(value):
            raise ValueError(f"its {keyword} is {value}, not one number")
        if keyword == "RescaleSlope" and value == 0:
            raise ValueError("its RescaleSlope is 0, which makes all values one")
    if len(there) == 1:
        other = next(keyword for keyword in RESCALE if keyword not in there)
        raise ValueError(f"it has a {there[0]} but no {other}")
    tables = header.get("ModalityLUTSequence")
    if not tables:
        return
    if there and (float(header.RescaleSlope), float(header.RescaleIntercept)) != (1, 0):
        raise ValueError("it has both a ModalityLUTSequence and a rescale")
    check_table(tables[0], "ModalityLUTSequence")


def rescaled(header: Dataset) -> bool | None:
    """Whether the header changes stored values; None: it has no rescale and no modality table."""
    if header.get("ModalityLUTSequence"):
        return True
    if RESCALE[0] not in header:
        return None
    return (header[RESCALE[0]].value, header[RESCALE[1]].value) != (1, 0)


def check_table(item: Dataset, name: str) -> None:
    """Check that a look-up table has as many entries as its descriptor says.

    Raises:
        ValueError: It has not.
    """
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or isinstance(descriptor, int) or len(descriptor) != 3 or data is None:
        raise ValueError(f"its {name} has no LUTDescriptor of three numbers, or no LUTData")
    entries, bits = int(descriptor[0]) or 1 << 16, int(descriptor[2])
    found = 1 if isinstance(data, int) else len(data)
    if isinstance(data, bytes):
        found //= 2
    if found != entries or bits not in range(8, 17):
        raise ValueError(f"its {name} has {found} entries of {bits} bits, but says {entries}")


def looked_up(stored: Array, item: Dataset, header: Dataset, *, negative: bool = False) -> Array:
    """Values through a table of `check_table`: uint8 or uint16.

    What lies below its first value or above its last gets the first or the last entry.

    Args:
        stored: The values.
        item: The table.
        header: Of the file, for its byte order.
        negative: Whether values may be below 0. Then the first one that the table maps is signed
            (PS3.3 C.11.2.1.1), though without VRs a file's PixelRepresentation says otherwise.
    """
    import numpy as np

    first, bits = int(item.LUTDescriptor[1]), int(item.LUTDescriptor[2])
    if negative and first >= 1 << 15:
        first -= 1 << 16
    data: Any = item.LUTData
    if isinstance(data, bytes):
        little = header.file_meta.TransferSyntaxUID.is_little_endian
        data = np.frombuffer(data, "<u2" if little else ">u2")
    table = np.atleast_1d(np.asarray(data)).astype(np.uint8 if bits == 8 else np.uint16)
    whole = np.floor(stored) if stored.dtype.kind == "f" else stored
    found: Array = table[np.clip(whole.astype(np.int64) - first, 0, len(table) - 1)]
    return found


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
