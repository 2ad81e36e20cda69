"""Read the segments of a DICOM segmentation onto the grid of an image, by highdicom.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.geometry import RAS_OF_LPS, affine_of, plane_of
from medpipe.data.readers.dicom.values import functional_group
from medpipe.data.readers.label_grid import OR_RESAMPLE, SHIFT, elsewhere, sides_of
from medpipe.data.readers.marks import is_dicom_content
from medpipe.data.readers.quiet import quiet_decoders
from medpipe.data.readers.unreadable import damaged
from medpipe.errors import DataError
from medpipe.steps import DecodedImage
from medpipe.system.distribution import install_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from medpipe.data.readers.dicom.geometry import Plane

    Array = np.ndarray[Any, np.dtype[Any]]

SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation, and Label Map Segmentation."""
_SOP_CLASS = 0x00080016


@attrs.frozen(kw_only=True, eq=False)
class Segments:
    """The segments of a file on a grid.

    Attributes:
        image: For each voxel a place in `sets`, of shape (height, width[, depth]).
        sets: The numbers of the segments that lie together; the first is of none.
        labels: The SegmentLabel of each segment, by number.
    """

    image: DecodedImage
    sets: Sequence[tuple[int, ...]]
    labels: Mapping[int, str]


def is_segmentation(content: bytes) -> bool:
    """Whether the content of a file is a DICOM segmentation."""
    from pydicom.filereader import read_partial

    if not is_dicom_content(content):
        return False
    try:
        head = read_partial(
            BytesIO(content),
            stop_when=lambda tag, _vr, _length: tag > _SOP_CLASS,
            specific_tags=[_SOP_CLASS],
        )
    except Exception:  # a damaged file is refused where it is decoded
        return False
    return head.get("SOPClassUID") in SOP_CLASSES


def read_segments(
    content: bytes, path: str, grid: DecodedImage | None, *, own_grid: bool = False
) -> Segments:
    """Put the segments of a file where its frames lie; where there is no frame, there is none.

    Args:
        content: Of the file.
        path: For errors.
        grid: The image. None: the segments' own grid.
        own_grid: Whether the segments may keep their own grid where it is not the image's.

    Raises:
        DataError: highdicom is not installed; the file is damaged, fractional, or of tiles; it does
            not say where its frames lie; or they lie on another grid than the image.
    """
    quiet_decoders()
    try:
        from highdicom.seg import Segmentation
    except ImportError as error:
        raise DataError(
            f"The mask {path} is a DICOM segmentation, which highdicom reads. Install it: "
            f"{install_command('dicomseg')}."
        ) from error
    from pydicom import dcmread

    try:
        found = Segmentation.from_dataset(dcmread(BytesIO(content)), copy=False)
    except Exception as error:  # a damaged file can make a reader fail in any way
        raise damaged(path, error) from error
    if found.SegmentationType == "FRACTIONAL":
        raise DataError(
            f"The mask {path} is a fractional DICOM segmentation: it holds probabilities or shares "
            "of voxels, and no structures. Save it as BINARY or LABELMAP, cut at the share that is "
            "to count."
        )
    if found.is_tiled:
        raise DataError(
            f"The mask {path} is a DICOM segmentation of tiles, as those of whole slides are, and "
            "can't be read. Save it as PNG or TIFF."
        )
    count = int(found.get("NumberOfFrames", 1))
    planes = [plane_of(found, frame) for frame in range(count)]
    try:
        grid, slices = _placed(found, planes, path, grid, own_grid=own_grid)
        return _together(found, slices, grid)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise damaged(path, error) from error


def _placed(
    found: Any,
    planes: Sequence[Plane | None],
    path: str,
    image: DecodedImage | None,
    *,
    own_grid: bool,
) -> tuple[DecodedImage, list[int]]:
    """The grid, and the slice of it in which each frame lies."""
    if image is not None:
        try:
            return image, _slices(found, planes, path, image)
        except DataError:
            if not own_grid or image.affine is None or None in planes:
                raise
    grid = _own_grid(found, planes, path)
    return grid, _slices(found, planes, path, grid)


def _slices(found: Any, planes: Sequence[Plane | None], path: str, grid: DecodedImage) -> list[int]:
    """The slice of a grid in which each frame lies."""
    import numpy as np

    sides = sides_of(grid)
    size = int(found.Rows), int(found.Columns)
    if size != sides[:2]:
        shapes = [" x ".join(map(str, shape)) for shape in (size, sides[:2])]
        raise DataError(
            f"The mask {path} has frames of {shapes[0]} pixels, and its image {shapes[1]}. "
            f"Resample it onto the image's grid by nearest neighbour, or {OR_RESAMPLE}."
        )
    if len(sides) == 2 and all(plane is None for plane in planes):
        return [0] * len(planes)  # of a projection, which lies nowhere
    depth = sides[2] if len(sides) == 3 else 1
    if grid.affine is None:
        raise DataError(
            f"The mask {path} is a DICOM segmentation, which belongs to where its frames lie, and "
            "its image doesn't say where it lies. Save the mask as NIfTI or PNG."
        )
    ends = np.array([[c, r, 0, 1] for c in (0, size[1] - 1) for r in (0, size[0] - 1)], float)
    to_grid = np.linalg.inv(grid.affine)
    slices, away = [], 0.0
    for plane in planes:
        affine = None if plane is None else affine_of([plane])
        if affine is None:
            raise DataError(
                f"The mask {path} doesn't say where all of its frames lie, and how large their "
                "pixels are. Write it again with the positions of its frames."
            )
        seen = (ends @ (to_grid @ affine).T)[:, :3]
        place = round(float(seen[:, 2].mean()))
        away = max(away, float(np.abs(seen - [[c, r, place] for c, r, *_ in ends]).max()))
        if not 0 <= place < depth:
            away = max(away, float(max(-place, place - depth + 1)))
        slices.append(place)
    if away > SHIFT:
        raise elsewhere(path, away)
    return slices


def _own_grid(found: Any, planes: Sequence[Plane | None], path: str) -> DecodedImage:
    """The grid on which the frames themselves lie, without values."""
    import numpy as np

    known = [plane for plane in planes if plane is not None]
    places = {round(plane.place, 3) for plane in known}
    affine, depth = None, 1
    if len(places) == 1:
        affine = affine_of(known[:1], between=known[0].between_slices)
    elif known:
        geometry = found.get_volume_geometry()
        if geometry is not None:
            depth = geometry.spatial_shape[0]
            affine = np.diag(RAS_OF_LPS) @ geometry.affine[:, [2, 1, 0, 3]]
    if affine is None:
        raise DataError(
            f"The frames of the mask {path} are no volume: they lie unevenly, or do not say where. "
            "Save the mask as NIfTI."
        )
    values = np.broadcast_to(np.uint8(0), (int(found.Rows), int(found.Columns), depth))
    return DecodedImage(values=values, affine=affine)


def _together(found: Any, slices: Sequence[int], grid: DecodedImage) -> Segments:
    """The segments of all frames, each in its slice."""
    import numpy as np

    sides = sides_of(grid)
    codes = np.zeros((*sides[:2], sides[2] if len(sides) == 3 else 1), np.uint16)
    places: dict[tuple[int, ...], int] = {(): 0}

    def add(number: int, there: Array, of_slice: Array) -> None:
        before = of_slice.copy()
        for code in np.unique(before[there]).tolist():
            together = tuple(sorted({*list(places)[code], number}))
            place = places.setdefault(together, len(places))
            of_slice[there & (before == code)] = place

    whole = found.SegmentationType == "LABELMAP"
    for frame, place in enumerate(slices):
        values = found.get_stored_frame(frame + 1)
        if whole:
            for number in np.unique(values).tolist():
                if number:
                    add(number, values == number, codes[..., place])
            continue
        named = functional_group(found, frame, "SegmentIdentificationSequence")
        if named is None:
            raise ValueError(f"frame {frame + 1} does not say of which segment it is")
        add(int(named.ReferencedSegmentNumber), values > 0, codes[..., place])
    labels = {
        int(segment.SegmentNumber): str(segment.get("SegmentLabel", ""))
        for segment in found.SegmentSequence
    }
    image = attrs.evolve(grid, values=codes.reshape(sides), channels=False, source=None)
    return Segments(image=image, sets=tuple(places), labels=labels)
