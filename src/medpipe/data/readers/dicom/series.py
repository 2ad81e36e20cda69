"""Read the files of a DICOM series as one volume."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from medpipe.data.readers.dicom.geometry import affine_of, sideways, unevenness
from medpipe.data.readers.dicom.image import NO_SPACING, UNKNOWN, DicomImage, decode_slice
from medpipe.data.readers.dicom.padding import fill
from medpipe.data.readers.unreadable import file_bytes
from medpipe.errors import DataError
from medpipe.steps import DecodedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from medpipe.data.readers.dicom.geometry import Plane
    from medpipe.steps import Reading, Series

    Array = np.ndarray[Any, Any]

ONE_PLACE = 1e-3
"""Slices that are nearer than this, in mm, lie in one place."""
APART = 'Move the others to a folder of their own, or set dataset.unit = "file"'


def read_series(series: Series, reading: Reading, heard: Callable[[bytes], object]) -> DecodedImage:
    """Decode the files and stack them in the order in which they lie in the patient.

    Args:
        series: The files, in any order.
        reading: How each is decoded.
        heard: Called with the content of each file.

    Returns:
        A volume of shape (height, width, depth), with channels where the slices have colours.

    Raises:
        DataError: A file can't be decoded, or the files don't make one volume; it names them.
    """
    import numpy as np

    if not series.files:
        raise DataError("A sample's series names no file. Give it at least one.")
    paths = sorted(series.files)
    slices: list[DicomImage] = []
    for path in paths:
        content = file_bytes(path)
        heard(content)
        slices.append(decode_slice(content, path, reading))
        del content
        _refuse_other(paths, slices)
    if slices[0].frames > 1:
        fill(slices[0].image.values, slices[0].padding)
        return slices[0].image
    planes = [one.plane for one in slices if one.plane is not None]
    if len(planes) == len(slices):
        order, affine = _by_place(paths, planes)
        if planes[0].pixels is None and reading.missing_spacing == "error":
            raise _refused(paths, f"they {NO_SPACING}", UNKNOWN)
    elif planes:
        lost = next(path for path, one in zip(paths, slices, strict=True) if one.plane is None)
        reason = f"{lost} doesn't say where in the patient it lies, but other files do"
        raise _refused(paths, reason, f"{APART}.")
    else:
        order, affine = _by_number(paths, slices), None
    values = [slices[index].image.values for index in order]
    masks = [slices[index].padding for index in order]
    channels, stored = slices[0].image.channels, slices[0].image.stored_channels
    spacing = _spacing(affine)
    # Stacked slice by slice, so that no second volume is in memory while it is filled.
    slices.clear()
    kind = np.result_type(*{part.dtype for part in values})
    volume = np.empty((len(values), *values[0].shape), dtype=kind)
    for index in range(len(values)):
        volume[index], values[index] = values[index], np.empty(0)
    if any(mask is not None for mask in masks):
        sides = volume.shape[1:3]
        fill(volume, np.stack([np.zeros(sides, bool) if m is None else m for m in masks]))
    return DecodedImage(
        values=np.moveaxis(volume, 0, 2),
        channels=channels,
        affine=affine,
        spacing=spacing,
        spacing_of="unknown" if spacing is None else "patient",
        stored_channels=stored,
    )


def _spacing(affine: Array | None) -> tuple[float, ...] | None:
    """Millimetres between rows, columns and slices."""
    import numpy as np

    if affine is None:
        return None
    columns, rows, slices = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return rows, columns, slices


def _refuse_other(paths: Sequence[str], slices: Sequence[DicomImage]) -> None:
    """Refuse the slice that came last if it doesn't fit the first."""
    first, last = slices[0], slices[-1]
    path = paths[len(slices) - 1]
    if last.frames > 1 and len(paths) > 1:
        raise _refused(paths, f"{path} has {last.frames} frames of its own", f"{APART}.")
    one, other = first.image.values.shape, last.image.values.shape
    if one != other:
        reason = f"{paths[0]} has the shape {one} and {path} {other}"
        raise _refused(paths, reason, f"{APART}.")
    said = [one.rescaled for one in slices]
    if True in said and None in said:
        reason = (
            f"{paths[said.index(True)]} has a rescale (RescaleSlope, RescaleIntercept) and "
            f"{paths[said.index(None)]} has none"
        )
        raise _refused(paths, reason, f"{APART}.")
    if first.plane is None or last.plane is None:
        return
    if not last.plane.parallel(first.plane):
        reason = f"{paths[0]} and {path} are oriented differently, as a localizer and its scan are"
        raise _refused(paths, reason, f"{APART}.")
    if not last.plane.same_pixels(first.plane):
        reason = f"the pixels of {paths[0]} and {path} differ in size"
        raise _refused(paths, reason, f"{APART}.")


def _by_place(paths: Sequence[str], planes: Sequence[Plane]) -> tuple[list[int], Array | None]:
    normal = planes[0].normal  # one for all: rounding turns each a little
    places = [float(plane.position @ normal) for plane in planes]
    order = sorted(range(len(paths)), key=lambda index: places[index])
    for one, other in pairwise(order):
        if places[other] - places[one] < ONE_PLACE:
            reason = (
                f"{paths[one]} and {paths[other]} lie in the same place, as the copies, echoes or "
                "time points of a scan do"
            )
            raise _refused(paths, reason, f"{APART}.")
    uneven = unevenness([places[index] for index in order])
    if uneven is not None:
        usual, after = uneven
        one, other = order[after], order[after + 1]
        reason = (
            f"the slices lie {usual:.4g} mm apart, but {paths[one]} and {paths[other]} "
            f"{places[other] - places[one]:.4g} mm"
        )
        raise _refused(
            paths, reason, 'Add the slices that are missing, or set dataset.unit = "file".'
        )
    sorted_planes = [planes[index] for index in order]
    shifted = sideways(sorted_planes)
    if shifted is not None:
        off, which = shifted
        reason = f"{paths[order[which]]} lies {off:.4g} mm beside the line of the others"
        raise _refused(paths, reason, f"{APART}.")
    if len(planes) == 1 and planes[0].between_slices is None:
        return order, None  # SliceThickness is no distance
    return order, affine_of(sorted_planes, between=planes[0].between_slices)


def _by_number(paths: Sequence[str], slices: Sequence[DicomImage]) -> list[int]:
    if len(paths) == 1:
        return [0]
    numbers: dict[int, str] = {}
    for path, one in zip(paths, slices, strict=True):
        if one.number is None:
            reason = f"{path} has neither a place in the patient nor an InstanceNumber"
            raise _refused(paths, reason, 'Set dataset.unit = "file".')
        if one.number in numbers:
            reason = f"{numbers[one.number]} and {path} have the same InstanceNumber, {one.number}"
            raise _refused(paths, reason, f"{APART}.")
        numbers[one.number] = path
    return sorted(range(len(paths)), key=lambda index: slices[index].number or 0)


def _refused(paths: Sequence[str], reason: str, remedy: str) -> DataError:
    folder = PurePath(paths[0]).parent
    return DataError(
        f"The {len(paths)} files of a DICOM series in {folder} are not one volume: {reason}. "
        f"{remedy}"
    )
