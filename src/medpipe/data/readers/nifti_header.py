"""Check the header of a NIfTI file for contradictions."""

from __future__ import annotations

from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres by the code of a length's unit: not said, metre, millimetre, micrometre. Most
programs write millimetres without a code."""
AFFINE = "Write a valid affine into its header."
HUGE = 1e12
"""A distance in millimetres that no image reaches; NaN is not below it either."""
REST = b"\r\n\x1a\n"
"""What follows the magic of NIfTI-2, to find damage by a transfer in text mode."""


class HeaderError(ValueError):
    """A header is wrong: the message is the end of a sentence about the file.

    Attributes:
        remedy: What to do about it.
    """

    def __init__(self, reason: str, remedy: str = "Remove or repair it.") -> None:
        super().__init__(reason)
        self.remedy = remedy


def check_header(header: Any) -> None:
    """Check the fields that say how the values lie.

    Args:
        header: nibabel's, of NIfTI-1 or NIfTI-2.

    Raises:
        HeaderError: A field is invalid, or two contradict each other.
    """
    two = "eol_check" in header.keys()  # noqa: SIM118  (nibabel has no other way)
    if int(header["sizeof_hdr"]) != (540 if two else 348):
        raise HeaderError(f"is damaged: its sizeof_hdr is {int(header['sizeof_hdr'])}")
    if two and header["eol_check"].tobytes() != REST:
        raise HeaderError("is damaged: its magic was changed, as by a transfer in text mode")
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise HeaderError(f"is damaged: its dim[0] is {count}, not 1 to 7")
    sides = [int(side) for side in header["dim"][1 : count + 1]]
    if min(sides) < 1:
        raise HeaderError(f"is damaged: its dim is {sides}, with a side below 1")
    code = int(header["datatype"])
    kind = header.get_data_dtype()  # raises for one that is none
    if kind.itemsize == 0 or int(header["bitpix"]) != 8 * kind.itemsize:
        raise HeaderError(
            f"is damaged: its bitpix is {int(header['bitpix'])}, but its datatype {code} has "
            f"{8 * kind.itemsize} bits"
        )
    offset, least = float(header["vox_offset"]), int(header.single_vox_offset)
    if not isfinite(offset) or offset != int(offset):
        raise HeaderError(f"is damaged: its vox_offset is {offset}")
    if offset < least:
        raise HeaderError("has its values inside its header, as vox_offset says")
    if int(header["xyzt_units"]) % 8 not in UNITS:
        raise HeaderError(
            f"is damaged: its xyzt_units is {int(header['xyzt_units'])}, which is not a unit"
        )


def scaling(header: Any) -> tuple[float, float] | None:
    """Slope and intercept; None where values are not scaled: by a slope of 0, or without one.

    Raises:
        HeaderError: They are no numbers.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (isnan(slope) and (isnan(intercept) or intercept == 0)):
        return None
    if not isfinite(slope) or not isfinite(intercept):
        raise HeaderError(f"is damaged: its scl_slope is {slope} and its scl_inter {intercept}")
    return None if (slope, intercept) == (1, 0) else (slope, intercept)


def placed(header: Any, dims: int) -> tuple[Array | None, tuple[float, ...] | None]:
    """Where the image lies, and its spacing between rows, columns and slices.

    The sform counts where its code is set, then the qform. They may name two spaces, such as an
    atlas and a scanner, but not one place in one space twice.

    Raises:
        HeaderError: They contradict each other or are invalid.
    """
    import numpy as np

    unit = UNITS[int(header["xyzt_units"]) % 8]
    if header["pixdim"][0] == 0:  # counts as 1, by the standard
        header["pixdim"][0] = 1
    codes = int(header["sform_code"]), int(header["qform_code"])
    if any(not 0 <= code <= 5 for code in codes):
        raise HeaderError(
            f"is damaged: its sform_code and qform_code are {codes[0]} and {codes[1]}"
        )
    sform = np.asarray(header.get_sform(), np.float64) if codes[0] else None
    qform = np.asarray(header.get_qform(), np.float64) if codes[1] and not codes[0] else None
    if codes[0] and codes[0] == codes[1] and sform is not None:
        other = np.asarray(header.get_qform(), np.float64)
        if not _alike(sform, other) and not _alike(_without_shears(header, sform), other):
            raise HeaderError(
                "contradicts itself: its sform and qform say two places in one space "
                f"(code {codes[0]})",
                "Set the code of the one that is wrong to 0.",
            )
    affine = sform if sform is not None else qform
    if affine is None:
        steps = [float(step) for step in header["pixdim"][1 : dims + 1]]
        if not all(isfinite(step) and step > 0 for step in steps):
            return None, None
        columns, rows, *slices = steps
        return None, tuple(unit * step for step in (rows, columns, *slices))
    largest = float(np.abs(affine).max())
    if not (largest < HUGE and abs(np.linalg.det(affine)) > 0):
        raise HeaderError(
            "has no valid affine: its sform or qform is not finite or can't be inverted",
            AFFINE,
        )
    scaled = affine.copy()
    scaled[:3] *= unit
    columns, rows, *slices = (float(side) for side in _sides(scaled)[:dims])
    return scaled, (rows, columns, *slices)


def _alike(one: Array, other: Array) -> bool:
    import numpy as np

    return np.allclose(one[:3, :3], other[:3, :3], atol=0.02 * float(_sides(other).max()))


def _without_shears(header: Any, sform: Array) -> Array:
    """The qform that is nearest to an sform, as writers choose it.

    A qform can't hold shears, which a tilted gantry has.
    """
    import numpy as np

    if not np.isfinite(sform).all() or not abs(np.linalg.det(sform)) > 0:
        return sform
    nearest = header.copy()
    nearest.set_qform(sform, strip_shears=True)
    found: Array = np.asarray(nearest.get_qform(), np.float64)
    return found


def _sides(affine: Array) -> Array:
    import numpy as np

    found: Array = np.linalg.norm(affine[:3, :3], axis=0)
    return found
