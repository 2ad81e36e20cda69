"""Masks as DICOM segmentations that refer to the files of their images, by highdicom.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from medpipe.data.readers.dicom.files import is_dicom
from medpipe.data.readers.dicom.frames import places_of
from medpipe.data.readers.dicom.geometry import plane_of
from medpipe.errors import DataError
from medpipe.steps import Series
from medpipe.system.distribution import install_command
from medpipe.system.versions import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, np.dtype[Any]]

DICOM = ".dcm"
SERIES_NUMBER = 900
"""Of the segmentations: no scanner counts so far."""
LONGEST = 64
"""The characters of a SegmentLabel."""
WITHOUT = (
    "Masks of DICOM files are written as NIfTI, since highdicom is not installed, which writes "
    "DICOM segmentations: {command}."
)


class NoSegmentationError(DataError):
    """No DICOM segmentation can be written, and the message says why."""


def dicom_files(image: Any) -> tuple[str, ...]:
    """The DICOM files of what `Sample.image` holds; none where it is something else."""
    if isinstance(image, Series):
        return tuple(sorted(image.files))
    if isinstance(image, (str, bytes)) or hasattr(image, "__fspath__"):
        return (str(image),) if is_dicom(image) else ()
    return ()


def segmentation(paths: Sequence[str], mask: Array, names: Sequence[str]) -> bytes:
    """The content of a segmentation with a segment for each name, numbered from 1.

    Args:
        paths: The files of the image.
        mask: uint8 of shape (1 or names, height, width[, depth]): indices, or 0 and 1 for each
            name; slices as `read_image` orders them.
        names: Of the segments.

    Raises:
        NoSegmentationError: highdicom is not installed, or the files lack what it needs.
    """
    import numpy as np

    try:
        from highdicom.seg import Segmentation
    except ImportError as error:
        raise NoSegmentationError(WITHOUT.format(command=install_command("dicomseg"))) from error
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    slices = mask if mask.ndim == 4 else mask[..., None]
    frames = np.moveaxis(slices, (3, 0), (0, 3))  # frame, row, column, name
    overlapping = len(names) > 1 and frames.shape[-1] == len(names)
    pixels = frames if overlapping else frames[..., 0]
    try:
        found = [dcmread(path, stop_before_pixels=True) for path in paths]
        headers, order = _in_order(found, len(pixels))
        _with_thickness(headers)
        stored = np.empty_like(pixels)
        stored[order] = pixels
        made = Segmentation(
            source_images=headers,
            pixel_array=stored,
            segmentation_type="BINARY",
            segment_descriptions=_described(names),
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="medpipe",
            manufacturer_model_name="medpipe",
            software_versions=versions()["medpipe"],
            device_serial_number="none",
        )
        into = BytesIO()
        made.save_as(into)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise NoSegmentationError(
            f"The mask of {paths[0]} is written as NIfTI: no DICOM segmentation can refer to the "
            f"image's files ({text})."
        ) from error
    return into.getvalue()


def _in_order(headers: Sequence[Dataset], count: int) -> tuple[Sequence[Dataset], list[int]]:
    """The files in the order of the volume's slices, and the frame of each slice.

    Raises:
        ValueError: The files have another number of frames.
    """
    frames = int(headers[0].get("NumberOfFrames") or 1)
    if len(headers) == 1 and frames > 1:
        places = places_of(headers[0], frames)
        if frames != count or isinstance(places, str):
            raise ValueError(f"{frames} frames, of which {count} were read")
        return headers, [int(frame) for frame in places.order]
    if len(headers) != count:
        raise ValueError(f"{len(headers)} files for {count} slices")
    planes = [plane_of(header) for header in headers]
    known = [plane for plane in planes if plane is not None]
    if len(known) < count:
        if count > 1:
            raise ValueError("they do not say where they lie")
        return headers, [0]
    normal = known[0].normal
    order = sorted(range(count), key=lambda place: float(known[place].position @ normal))
    return [headers[place] for place in order], list(range(count))


def _described(names: Sequence[str]) -> list[Any]:
    """What each segment is."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    by = AlgorithmIdentificationSequence(
        name="medpipe", version=versions()["medpipe"], family=codes.DCM.ArtificialIntelligence
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=name[:LONGEST],
            segmented_property_category=codes.SCT.Tissue,
            # What a structure is called is known, and no code for it.
            segmented_property_type=CodedConcept(f"{number}", "99MEDPIPE", name[:LONGEST]),
            algorithm_type="AUTOMATIC",
            algorithm_identification=by,
        )
        for number, name in enumerate(names, 1)
    ]


def _with_thickness(headers: Sequence[Dataset]) -> None:
    """Where no SliceThickness is said, which highdicom copies, take the distance of slices."""
    if len(headers) < 2 or headers[0].get("SliceThickness"):
        return
    one, other = (plane_of(header) for header in headers[:2])
    if one is not None and other is not None:
        for header in headers:
            header.SliceThickness = round(abs(other.place - one.place), 6)
