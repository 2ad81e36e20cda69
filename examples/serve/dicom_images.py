"""Read DICOM files of one uncompressed image: rescale, window, padding, MONOCHROME1.

Deflated and compressed files are refused: what they unpack to, and whether they are whole, can't
be told from their length.
"""

from __future__ import annotations

from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.filereader import data_element_generator
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from refused import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
SYNTAX = 0x00020010
NOT_READ = {
    "DoseGridScaling": "doses",
    "FloatPixelData": "pixels that are floats",
    "DoubleFloatPixelData": "pixels that are floats",
    "SharedFunctionalGroupsSequence": "the enhanced kinds, with functional groups",
    "PerFrameFunctionalGroupsSequence": "the enhanced kinds, with functional groups",
    "ModalityLUTSequence": "a modality look-up table",
}
"""What is not read here, by the element that tells."""
PLACE = (
    *("SOPClassUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
)
"""What the run's reader looks at too: where it can't be read the file is damaged."""
WHOLE_NUMBERS = (
    *("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
MEASURED = ("BMD", "CT", "MR", "NM", "PT", "RTDOSE")
"""Modalities whose values are measurements, which MONOCHROME1 doesn't invert."""
MEASURED_CLASSES = ("CT ", "MR ", "Positron", "PET", "Nuclear", "RT Dose", "Parametric Map")


def dicom_values(content: bytes, reading: Mapping[str, Any], *, pixels: int) -> np.ndarray:
    """The values of shape (height, width), or (height, width, 3) of RGB.

    Args:
        content: The whole file.
        reading: `before.reading` of the contract.
        pixels: How many there may be.

    Raises:
        Refused: The file is damaged, or of a kind that is not read here.
    """
    try:
        return _values(content, reading, pixels)
    except Refused:
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise Refused(f"The DICOM file is damaged: {error}.") from error


def _values(content: bytes, reading: Mapping[str, Any], pixels: int) -> np.ndarray:
    # Before the rest is read: a deflated file would be unpacked, however large it is.
    syntax = _syntax(content)
    if syntax not in PLAIN:
        name = "no encoding at all" if syntax is None else pydicom.uid.UID(syntax).name
        raise Refused(
            f"The DICOM file names {name}; here only uncompressed files are read. Decompress it, "
            "as by `gdcmconv --raw` or `dcmdjpeg`."
        )
    dataset = pydicom.dcmread(BytesIO(content))
    for keyword, told in NOT_READ.items():
        if dataset.get(keyword):
            raise Refused(f"DICOM files of {told} are not read here.")
    if not dataset.get("PixelData"):
        raise Refused("The DICOM file has no pixels.")
    for keyword in PLACE:
        dataset.get(keyword)  # fails where it is damaged
    for keyword in WHOLE_NUMBERS:
        value = dataset.get(keyword)
        if value is not None and value != "" and not isinstance(value, int):
            raise Refused(f"The DICOM file is damaged: its {keyword} is no whole number.")
    if (dataset.get("NumberOfFrames") or 1) != 1:
        raise Refused(
            f"The DICOM file has {dataset.NumberOfFrames} frames, and the model takes one image. "
            "Save the frame as its own file."
        )
    if not 0 < dataset.Rows * dataset.Columns <= pixels:
        raise Refused(f"The image has {dataset.Columns} x {dataset.Rows} pixels, over {pixels}.")
    return _rgb(dataset) if dataset.get("SamplesPerPixel") == 3 else _grey(dataset, reading)


def _syntax(content: bytes) -> str | None:
    head = data_element_generator(
        BytesIO(content[132:]), False, True, stop_when=lambda tag, *_: tag.group != 2
    )
    for element in head:
        if element.tag == SYNTAX:
            value = element.value
            return (value.decode() if isinstance(value, bytes) else str(value)).strip("\0 ")
    return None


def _cells(dataset: pydicom.Dataset, samples: int) -> np.ndarray:
    """The cells of pixels, compared with the header."""
    bits = dataset.BitsAllocated
    if bits not in (8, 16):
        raise Refused(f"DICOM pixels of {bits} bits are not read here.")
    if not 1 <= dataset.BitsStored == dataset.HighBit + 1 <= bits:
        raise Refused("The DICOM file's BitsStored and HighBit are not read here.")
    if dataset.get("SamplesPerPixel") != samples or dataset.PixelRepresentation not in (0, 1):
        raise Refused("The DICOM file is damaged: its header contradicts itself.")
    right = dataset.Rows * dataset.Columns * samples * bits // 8
    found = len(dataset.PixelData)
    if found not in (right, right + right % 2):
        raise Refused(
            f"The DICOM file is damaged: it should hold {right} bytes of pixels, not {found}."
        )
    kind = "i" if dataset.PixelRepresentation else "u"
    return np.frombuffer(dataset.PixelData[:right], f"<{kind}{bits // 8}")


def _rgb(dataset: pydicom.Dataset) -> np.ndarray:
    kind = dataset.PhotometricInterpretation
    if kind != "RGB" or dataset.BitsStored != dataset.BitsAllocated or dataset.PixelRepresentation:
        raise Refused(f"DICOM colours of the kind {kind} are not read here, only RGB.")
    cells, sides = _cells(dataset, 3), (dataset.Rows, dataset.Columns)
    if dataset.PlanarConfiguration not in (0, 1):
        raise Refused("The DICOM file is damaged: its header contradicts itself.")
    if dataset.PlanarConfiguration:
        return np.moveaxis(cells.reshape(3, *sides), 0, -1)
    return cells.reshape(*sides, 3)


def _grey(dataset: pydicom.Dataset, reading: Mapping[str, Any]) -> np.ndarray:
    kind, window = dataset.PhotometricInterpretation, reading["window"]
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(f"DICOM files of the kind {kind} are not read here.")
    cells = _cells(dataset, 1).reshape(dataset.Rows, dataset.Columns)
    stored = _stored(dataset, cells)
    slope, intercept = _rescale(dataset)
    values: np.ndarray = stored if (slope, intercept) == (1, 0) else stored * slope + intercept
    bounds: tuple[float, float] = _bounds(dataset, slope, intercept)
    if window == "voi":
        values = _through_own_window(values, dataset)
    elif window != "none":
        values, bounds = _through_window(values, *window), (0.0, 1.0)
    if kind == "MONOCHROME1" and (window == "voi" or not _measured(dataset)):
        values = sum(bounds) - values
    values = values.astype(np.float32)
    if reading["padding"] == "lowest":
        padding = _padding(dataset, stored, cells)
        if padding.any() and not padding.all():
            values[padding] = values[~padding].min()
    return values


def _stored(dataset: pydicom.Dataset, cells: np.ndarray) -> np.ndarray:
    """The values of cells, of which other bits may only repeat the sign, or be padding."""
    spare = dataset.BitsAllocated - dataset.BitsStored
    stored = (cells << spare) >> spare  # by its type's sign
    others = cells.view(f"u{cells.dtype.itemsize}") >> dataset.BitsStored
    odd = (cells != stored) & (others != 0)
    if (odd & ~_padding(dataset, cells, cells)).any():
        raise Refused("The DICOM file has pixels with bits outside of its BitsStored.")
    return np.where(odd, cells, stored)


def _rescale(dataset: pydicom.Dataset) -> tuple[float, float]:
    given = [dataset.get(keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
    if given == [None, None]:
        return 1.0, 0.0
    if not all(isinstance(one, (int, float)) and isfinite(one) for one in given) or given[0] == 0:
        raise Refused(f"The DICOM file's rescale ({given[0]}, {given[1]}) can't be applied.")
    return float(given[0]), float(given[1])


def _bounds(dataset: pydicom.Dataset, slope: float, intercept: float) -> tuple[float, float]:
    """What the lowest and the highest value that can be stored stand for."""
    bits = dataset.BitsStored
    lowest = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    return lowest * slope + intercept, (lowest + 2**bits - 1) * slope + intercept


def _through_own_window(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """As a viewer shows them; unchanged where the file has no window."""
    if dataset.get("VOILUTSequence"):
        raise Refused("DICOM files with a VOI look-up table are not read here.")
    given = [dataset.get(keyword) for keyword in ("WindowCenter", "WindowWidth")]
    if all(one is None or one == "" for one in given):
        return values
    return np.asarray(apply_windowing(values, dataset))


def _through_window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """The standard's linear window (PS3.3 C.11.2.1.2.1) onto 0 to 1."""
    middle, span = centre - 0.5, width - 1
    numbers = values.astype(np.float64)
    if span == 0:
        return (numbers > middle).astype(np.float32)
    return np.clip((numbers - middle) / span + 0.5, 0, 1).astype(np.float32)


def _measured(dataset: pydicom.Dataset) -> bool:
    if dataset.get("Modality"):
        return dataset.Modality in MEASURED
    name = str(getattr(dataset.get("SOPClassUID"), "name", ""))
    return name.startswith(MEASURED_CLASSES)


def _padding(dataset: pydicom.Dataset, stored: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Where PixelPaddingValue, or a value from it to PixelPaddingRangeLimit, is stored."""
    ends = [dataset.get(one) for one in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    # It may be written with the other sign.
    own = [np.int64(int(one)).astype(cells.dtype) for one in ends if one is not None]
    if ends[0] is None:
        return np.zeros(stored.shape, bool)
    low, high = min(own), max(own)
    found: np.ndarray = (stored >= low) & (stored <= high) | (cells >= low) & (cells <= high)
    return found
