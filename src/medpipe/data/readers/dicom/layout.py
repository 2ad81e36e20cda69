"""The pixel layout that a DICOM header describes: rows, columns, frames, bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.codestreams import (
    FrameError,
)

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, Any]


WHOLE = "PixelData"


FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


PIXELS = (WHOLE, *FLOATS)


GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")


YBR = ("YBR_FULL", "YBR_FULL_422")


@attrs.frozen(kw_only=True)
class Layout:
    """What the header says of the pixels.

    Attributes:
        keyword: The element that holds them.
        frames: How many images.
        rows: Of each.
        columns: Of each.
        samples: 1 or 3 for each pixel.
        kind: The PhotometricInterpretation.
        allocated: The bits of a cell.
        stored: The bits of a value in it.
        high: The highest of these.
        signed: Whether values are.
    """

    keyword: str
    frames: int
    rows: int
    columns: int
    samples: int
    kind: str
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def halved(self) -> bool:
        """Whether two pixels share their colour."""
        return self.kind == "YBR_FULL_422"

    @property
    def bits(self) -> int:
        """The bits of all decompressed values together."""
        return self.frames * self.rows * self.columns * self.samples * self.allocated


def layout_of(dataset: Dataset) -> Layout:
    """Read what the header says of the pixels.

    Raises:
        FrameError: A field is missing or invalid.
    """
    keywords = [keyword for keyword in PIXELS if dataset.get(keyword)]
    if len(keywords) != 1:
        raise FrameError(f"has several elements with pixels: {', '.join(keywords)}")
    keyword = keywords[0]
    frames = whole_number(dataset, "NumberOfFrames", 1) or 1  # 0 says nothing
    rows, columns = whole_number(dataset, "Rows"), whole_number(dataset, "Columns")
    for field, number in (("NumberOfFrames", frames), ("Rows", rows), ("Columns", columns)):
        if number < 1:
            raise FrameError(f"has the {field} {number}")
    kind = str(dataset.get("PhotometricInterpretation") or "")
    if not kind:
        raise FrameError("has no PhotometricInterpretation")
    samples = whole_number(dataset, "SamplesPerPixel", 1 if kind in GREY else 3)
    if samples != (1 if kind in GREY else 3):
        raise FrameError(f"has the PhotometricInterpretation {kind} and SamplesPerPixel {samples}")
    if keyword != WHOLE:
        size = FLOATS[keyword]
        if whole_number(dataset, "BitsAllocated") != size or samples != 1:
            raise FrameError(f"has {keyword}, but not BitsAllocated {size} and SamplesPerPixel 1")
        allocated = stored = size
        high, signed = size - 1, True
    else:
        allocated, stored = (
            whole_number(dataset, "BitsAllocated"),
            whole_number(dataset, "BitsStored"),
        )
        high = whole_number(dataset, "HighBit", stored - 1)
        sign = whole_number(dataset, "PixelRepresentation")
        if allocated not in (1, 8, 16, 32, 64) or (allocated == 1 and samples != 1):
            raise FrameError(f"has the BitsAllocated {allocated}, which can't be read")
        if not (1 <= stored <= allocated and stored - 1 <= high < allocated):
            raise FrameError(
                f"has the BitsAllocated {allocated}, BitsStored {stored} and HighBit {high}, which "
                "contradict each other"
            )
        if sign not in (0, 1) or (sign and (samples > 1 or allocated == 1)):
            raise FrameError(f"has the PixelRepresentation {sign}, which its pixels can't have")
        signed = sign == 1
    if kind in YBR and (allocated, stored) != (8, 8):
        raise FrameError(f"has colours of the kind {kind} in {stored} bits, not 8")
    return Layout(
        keyword=keyword,
        frames=frames,
        rows=rows,
        columns=columns,
        samples=samples,
        kind=kind,
        allocated=allocated,
        stored=stored,
        high=high,
        signed=signed,
    )


def whole_number(dataset: Dataset, keyword: str, absent: int | None = None) -> int:
    """A whole number of the header; `absent` where it is not there.

    Raises:
        FrameError: It is not there, and has to be, or is no whole number.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        if absent is not None:
            return absent
        raise FrameError(f"has no {keyword}")
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameError(f"has the {keyword} {value!r}, which is not a whole number") from error
