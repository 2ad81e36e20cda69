"""Pixel spacing of a DICOM image: the patient's, the detector's or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.values import functional_group, modality_of

if TYPE_CHECKING:
    from pydicom import Dataset

    from medpipe.steps import SpacingOf

PROJECTIONS = frozenset({"CR", "DX", "DG", "IO", "MG", "PX", "RF", "RG", "RTIMAGE", "XA"})
"""Projection modalities, whose image is larger on the detector than in the patient."""
CALIBRATED = ("GEOMETRY", "FIDUCIAL")
SAME = 1e-3


@attrs.frozen(kw_only=True)
class PixelSize:
    """The pixel spacing.

    Attributes:
        rows: Millimetres from one row to the next; None where `of` is ``"unknown"``.
        columns: The same for columns.
        of: As `DecodedImage.spacing_of`.
    """

    rows: float | None = None
    columns: float | None = None
    of: SpacingOf = "unknown"


def pixel_size(dataset: Dataset, frame: int = 0) -> PixelSize:
    """How large the pixels of a frame are (PS3.3 10.7.1).

    In projection images PixelSpacing is the patient's where it is calibrated, as
    PixelSpacingCalibrationType or a difference from ImagerPixelSpacing says; otherwise an estimated
    magnification converts the detector's spacing to the patient's.
    """
    measures = functional_group(dataset, frame, "PixelMeasuresSequence")
    if measures is not None and measures.get("PixelSpacing") is not None:
        found = lengths(measures.get("PixelSpacing"))
        return PixelSize() if found is None else _size(found, "patient")
    spacing = lengths(dataset.get("PixelSpacing"))
    detector = lengths(dataset.get("ImagerPixelSpacing"))
    if spacing is not None:
        projected = modality_of(dataset) in PROJECTIONS or detector is not None
        calibrated = dataset.get("PixelSpacingCalibrationType") in CALIBRATED or (
            detector is not None
            and any(abs(a - b) > SAME * b for a, b in zip(spacing, detector, strict=True))
        )
        if not projected or calibrated:
            return _size(spacing, "patient")
    magnified = lengths([dataset.get("EstimatedRadiographicMagnificationFactor")] * 2)
    if detector is not None and magnified is not None:
        return _size((detector[0] / magnified[0], detector[1] / magnified[0]), "patient")
    found = spacing or detector or lengths(dataset.get("NominalScannedPixelSpacing"))
    return PixelSize() if found is None else _size(found, "detector")


def _size(found: tuple[float, float], of: SpacingOf) -> PixelSize:
    return PixelSize(rows=found[0], columns=found[1], of=of)


def lengths(value: Any) -> tuple[float, float] | None:
    """Two lengths above 0; None where an element holds something else."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        return None
    try:
        rows, columns = (float(one) for one in value)
    except (TypeError, ValueError):
        return None
    return (rows, columns) if _length(rows) and _length(columns) else None


def _length(number: float) -> bool:
    return isfinite(number) and number > 0
