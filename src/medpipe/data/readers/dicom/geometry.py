"""Position, order and spacing of the slices of a DICOM volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.spacing import lengths, pixel_size
from medpipe.data.readers.dicom.values import functional_group

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, Any]

PARALLEL = 1e-3
"""How far the parts of two unit directions may differ, and the sides of a pixel in mm."""
RAS_OF_LPS = (-1.0, -1.0, 1.0, 1.0)
"""DICOM counts to the patient's left and back, `DecodedImage.affine` to the right and front."""


@attrs.frozen(kw_only=True, eq=False)
class Plane:
    """Where an image lies in the patient, in millimetres to the left, the back and the top.

    Attributes:
        position: The middle of the first pixel.
        along_row: Unit vector from one column to the next.
        along_column: Unit vector from one row to the next.
        between_rows: Millimetres in the patient; None where the file doesn't say.
        between_columns: The same for columns.
        between_slices: What the file says of it; None where it doesn't. SliceThickness is
            another thing.
    """

    position: Array
    along_row: Array
    along_column: Array
    between_rows: float | None
    between_columns: float | None
    between_slices: float | None

    @property
    def normal(self) -> Array:
        """The unit vector on which slices are ordered."""
        import numpy as np

        return np.cross(self.along_row, self.along_column)

    @property
    def place(self) -> float:
        """How far along the normal it lies, in millimetres."""
        return float(self.position @ self.normal)

    def parallel(self, other: Plane) -> bool:
        """Whether both are oriented alike."""
        import numpy as np

        ours = np.concatenate([self.along_row, self.along_column])
        theirs = np.concatenate([other.along_row, other.along_column])
        return bool(np.abs(ours - theirs).max() <= PARALLEL)

    def same_pixels(self, other: Plane) -> bool:
        """Whether the pixels of both are as large, or both of unknown size."""
        ours, theirs = self.pixels, other.pixels
        if ours is None or theirs is None:
            return ours is theirs
        return all(abs(a - b) <= PARALLEL for a, b in zip(ours, theirs, strict=True))

    @property
    def pixels(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns; None where the file doesn't say."""
        if self.between_rows is None or self.between_columns is None:
            return None
        return self.between_rows, self.between_columns


def plane_of(dataset: Dataset, frame: int = 0) -> Plane | None:
    """Where a frame lies; None where the file doesn't say.

    Raises:
        ValueError: Its PixelSpacing is invalid.
    """
    import numpy as np

    place = functional_group(dataset, frame, "PlanePositionSequence") or dataset
    turn = functional_group(dataset, frame, "PlaneOrientationSequence") or dataset
    measures = functional_group(dataset, frame, "PixelMeasuresSequence") or dataset
    detectors = dataset.get("DetectorInformationSequence") or ()
    for detector in detectors[:1]:  # nuclear medicine
        place, turn = (detector, detector) if "ImagePositionPatient" in detector else (place, turn)
    position, orientation = place.get("ImagePositionPatient"), turn.get("ImageOrientationPatient")
    numbers = _numbers(position, orientation)
    if numbers is None:
        return None
    spacing = measures.get("PixelSpacing")
    if spacing is not None and spacing != "" and lengths(spacing) is None:
        # Not taken for 1 mm: volumes would be resampled by it.
        raise ValueError(f"its PixelSpacing is {spacing}, not two lengths above 0")
    size = pixel_size(dataset, frame)
    between = measures.get("SpacingBetweenSlices")
    plane = Plane(
        position=numbers[:3],
        along_row=numbers[3:6],
        along_column=numbers[6:],
        between_rows=size.rows if size.of == "patient" else None,
        between_columns=size.columns if size.of == "patient" else None,
        between_slices=abs(float(between))
        if isinstance(between, (int, float)) and between
        else None,
    )
    known = bool(np.isfinite(numbers).all()) and bool(np.linalg.norm(plane.normal) > 0.5)
    return plane if known else None


def _numbers(position: Any, orientation: Any) -> Array | None:
    """All numbers of both elements: damaged ones may have another number of them, or none."""
    import numpy as np

    for value, count in ((position, 3), (orientation, 6)):
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != count:
            return None
    try:
        return np.array([*position, *orientation], dtype=np.float64)
    except ValueError:  # texts, or empty ones among them
        return None


def unevenness(places: Sequence[float]) -> tuple[float, int] | None:
    """Check that ordered places are evenly spaced, up to the rounding of their numbers.

    Returns:
        None if they are; otherwise the usual distance, and the slice after which it differs.
    """
    import numpy as np

    if len(places) < 3:
        return None
    steps = np.diff(np.asarray(places))
    usual = float(np.median(steps))
    off = np.abs(steps - usual)
    worst = int(off.argmax())
    # Positions are often written with one digit after the point.
    return None if off[worst] <= min(0.1 + 0.01 * usual, 0.5 * usual) else (usual, worst)


def sideways(planes: Sequence[Plane]) -> tuple[float, int] | None:
    """Check that the first pixels of planes in order lie on one line, up to rounding.

    They may leave the normal, as those of a tilted gantry do: the affine is sheared then.

    Returns:
        None if they do; otherwise how far in mm, and which slice, is off.
    """
    import numpy as np

    if len(planes) < 3:
        return None
    positions = np.array([plane.position for plane in planes])
    places = positions @ planes[0].normal
    share = (places - places[0]) / (places[-1] - places[0])
    off = np.linalg.norm(
        positions - positions[0] - share[:, None] * (positions[-1] - positions[0]), axis=1
    )
    worst = int(off.argmax())
    step = abs(places[-1] - places[0]) / (len(planes) - 1)
    return None if off[worst] <= 0.2 + 0.02 * step else (float(off[worst]), worst)


def affine_of(planes: Sequence[Plane], *, between: float | None = None) -> Array | None:
    """From column, row and slice to millimetres (RAS+), for planes in order.

    None where the size of pixels is unknown.

    Args:
        planes: One for each slice.
        between: The distance to take where there is one slice only.
    """
    import numpy as np

    first, last = planes[0], planes[-1]
    pixels = first.pixels
    if pixels is None:
        return None
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * pixels[1]
    affine[:3, 1] = first.along_column * pixels[0]
    if len(planes) > 1:
        # Not along the normal: the slices of a tilted gantry are sheared.
        affine[:3, 2] = (last.position - first.position) / (len(planes) - 1)
    else:
        affine[:3, 2] = first.normal * (between or 1.0)
    affine[:3, 3] = first.position
    return np.diag(RAS_OF_LPS) @ affine
