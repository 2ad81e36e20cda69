"""Multi-frame DICOM files: a volume if every frame has a position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.geometry import affine_of, plane_of, sideways, unevenness

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    from medpipe.data.readers.dicom.geometry import Plane

    Array = np.ndarray[Any, Any]

APART = 1e-3
"""Frames that are nearer than this, in mm, lie in one place."""


@attrs.frozen(kw_only=True, eq=False)
class Places:
    """How the frames of a file lie.

    Attributes:
        order: From the first along the normal to the last.
        affine: As `DecodedImage.affine`.
        between: Millimetres from one to the next; None where they are uneven.
        in_patient: Whether it is known where in the patient they lie.
    """

    order: Array
    affine: Array | None = None
    between: float | None = None
    in_patient: bool = False


def places_of(dataset: Dataset, count: int) -> Places | str:
    """Where the frames lie, or why that isn't known, as the end of a sentence about the file."""
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        planes = [plane_of(dataset, frame) for frame in range(count)]
        known = [plane for plane in planes if plane is not None]
        if len(known) < count:
            return "doesn't say where each of them lies"
        if not all(plane.parallel(known[0]) for plane in known):
            return "says that they are turned differently"
        normal = known[0].normal  # one for all: rounding turns each a little
        return _ordered([float(plane.position @ normal) for plane in known], known)
    offsets = _offsets(dataset, count)
    if offsets is None:
        return "doesn't say where each of them lies"
    first = plane_of(dataset)
    if first is None:
        return _ordered(offsets, None)
    moved = [
        attrs.evolve(first, position=first.position + offset * first.normal) for offset in offsets
    ]
    return _ordered(offsets, moved)


def _ordered(places: Sequence[float], planes: Sequence[Plane] | None) -> Places | str:
    import numpy as np

    order = np.argsort(places, kind="stable")
    ordered = [places[index] for index in order]
    steps = np.diff(ordered)
    if min(steps) < APART:
        return "says that some of them lie in one place, as time points and echoes do"
    if unevenness(ordered) is not None:
        return Places(order=order, in_patient=planes is not None)
    between = float(steps.mean())
    if planes is None:
        return Places(order=order, between=between)
    sorted_planes = [planes[index] for index in order]
    if sideways(sorted_planes) is not None:
        return Places(order=order, in_patient=True)
    affine = affine_of(sorted_planes)
    return Places(order=order, affine=affine, between=between, in_patient=True)


def _offsets(dataset: Dataset, count: int) -> list[float] | None:
    """How far each frame lies along the normal, in images without functional groups.

    That is the GridFrameOffsetVector of doses (PS3.3 C.8.8.3.2), which holds the distances from
    the first frame or the frames' z, and the SliceVector of nuclear medicine (C.8.4.8.1), which
    numbers slices that lie SpacingBetweenSlices apart.
    """
    offsets = _numbers(dataset.get("GridFrameOffsetVector"), count)
    if offsets is not None:
        return [offset - offsets[0] for offset in offsets]
    slices = _numbers(dataset.get("SliceVector"), count)
    between = dataset.get("SpacingBetweenSlices")
    if slices is None or not isinstance(between, (int, float)) or not between:
        return None
    return [(number - slices[0]) * float(between) for number in slices]


def _numbers(value: Any, count: int) -> list[float] | None:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != count:
        return None
    numbers = [float(one) for one in value]
    return numbers if all(abs(number) < 1e6 for number in numbers) else None
