"""Decode image files: one reader for the scan, for training and for prediction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.arrays import plain_array
from medpipe.data.readers.colours import with_channels
from medpipe.data.readers.formats import READERS
from medpipe.data.readers.unreadable import HEAD, UnreadableImageError, file_bytes
from medpipe.errors import DataError, MedpipeError, StepError
from medpipe.registry.failures import failures_named
from medpipe.steps import DecodedImage, Reading, Series
from medpipe.system.raised import described
from medpipe.system.resource_errors import limit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medpipe.steps import ChosenReader, ImageFile, SpacingOf

__all__ = [
    "UnreadableImageError",
    "decode_content",
    "file_bytes",
    "image_files",
    "read_heard",
    "read_image",
    "read_sample_image",
    "source_of",
    "stack_channels",
]


def read_image(image: ImageFile, reading: Reading = Reading()) -> DecodedImage:
    """Decode an image file, or the files of a series. May be called from several threads.

    The readers in ``reading.readers`` are asked first (see `ReaderStep`), then medpipe's own:
    PNG, JPEG, TIFF and BMP, NIfTI (gzipped or not) by nibabel, DICOM by pydicom, NumPy's files.
    The content decides, not the name, but for ``.npz``. The header of a file is checked against
    its data.

    - **Pictures** keep their values: 16 bits in every kind of PNG, all whole numbers and floats of
      TIFF. With ``reading.channels`` None they are as stored: those of MONAI's ``PILReader``, which
      swaps the first two axes, but never reduced to 8 bits. Otherwise they are turned as their
      EXIF data say, palettes are resolved (to RGB, even where all colours are grey) and alpha is
      dropped.
    - **NIfTI** keeps its orientation, which the affine records in millimetres, whatever its unit
      (none means millimetres). Whole numbers without a scale keep their type, scaled ones become
      float32. A fourth axis holds channels; (x, y) is an image and (x, y, 1) a volume of one
      slice. Where neither sform nor qform is set, the spacing is known and the place is not.
    - **DICOM** values go through the modality look-up (DoseGridScaling for doses) and, where
      asked for, a window (see `Reading`): float32, or the stored type where nothing is to be
      done. A window (centre, width) is the standard's linear function (PS3.3 C.11.2.1.2.1) onto
      0 to 1. Then MONOCHROME1 is inverted within the range that its bits, look-up table or
      window can take, whatever the image holds; measurements are not. YBR and palettes become
      RGB. A file of several frames that says where each lies is a volume in that order.
    - **NumPy** arrays have two axes, row and column; others only where the reader step says what
      their axes are (`NumpyReader`).
    - A **series** is a volume, ordered along the slices' normal, or by InstanceNumber where the
      slices don't say where they are.

    Args:
        image: A file, or the files of a DICOM series in any order.
        reading: Which channels and which grey values to give. Channels of NIfTI and NumPy are
            never taken for colours.

    Returns:
        The values, which the caller may change, and where the file says it their place.

    Raises:
        DataError: The file is absent, empty, damaged, of an unknown format, larger than Pillow's
            limit, of several pages, without pixels, compressed in a way that no installed
            decoder knows, or of colours that can't be converted; its header contradicts its
            pixels; or the slices of a series don't make one volume. It names the file.
    """
    return read_heard(image, reading, lambda _: None)


def read_heard(
    image: ImageFile, reading: Reading, heard: Callable[[bytes], object]
) -> DecodedImage:
    """As `read_image`; `heard` is called with the content of each file, which is read once."""
    if isinstance(image, Series):
        from medpipe.data.readers.dicom.series import read_series

        return read_series(image, reading, heard)
    content = file_bytes(image)
    heard(content)
    return decode_content(content, image, reading)


def decode_content(content: bytes, image: str | os.PathLike[str], reading: Reading) -> DecodedImage:
    """Decode the content of one file; its path is for errors and for what lies beside it."""
    head, path = content[:HEAD], os.fspath(image)
    name = os.path.basename(path).lower()  # noqa: PTH119  (many files)
    for chosen in reading.readers:
        if recognises(chosen, head, name):
            return _decoded_by(chosen, content, path, reading)
    for reader in READERS:
        if reader.recognises(head, name):
            decoded = reader.decode(content, path, reading)
            return with_channels(decoded, path, reading, colours=decoded.colours)
    raise UnreadableImageError(
        path, "is not a PNG, JPEG, TIFF, BMP, NIfTI, DICOM or NumPy image", kind="not_an_image"
    )


def recognises(chosen: ChosenReader, head: bytes, name: str) -> bool:
    """Whether a reader recognises a file.

    Raises:
        StepError: The reader failed, or answered neither yes nor no.
    """
    with failures_named(chosen.title, f"failed to recognise the file {name!r}"):
        answer = chosen.step.recognises(head, name)
    if not isinstance(answer, bool):
        raise StepError(f"{chosen.title} answered {answer!r} in recognises. Return True or False.")
    return answer


def _decoded_by(chosen: ChosenReader, content: bytes, path: str, reading: Reading) -> DecodedImage:
    """What a reader of the configuration makes of a file, checked as built-in readers check."""
    try:
        image = chosen.step.decode(content, path, reading)
    except (MedpipeError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        limit = limit_of(error)
        if limit is not None:  # nothing is wrong with the file
            raise limit from error
        reason = f"can't be decoded by {chosen.title}: {described(error).rstrip('.')}"
        raise UnreadableImageError(path, reason, kind="damaged") from error
    if not isinstance(image, DecodedImage) or not hasattr(image.values, "ndim"):
        raise StepError(
            f"{chosen.title} decoded {path} to {image!r:.200}. Return a DecodedImage with an array."
        )
    try:
        _check_axes(image)
        values = plain_array(image.values)
    except DataError as error:
        raise StepError(
            f"{chosen.title} decoded {path}, and the result can't be used: {error}"
        ) from error
    return with_channels(attrs.evolve(image, values=values), path, reading, colours=image.colours)


def read_sample_image(image: Any, reading: Reading) -> DecodedImage:
    """Decode what `Sample.image` holds: what a transform such as load_image gets.

    Args:
        image: A path or a `Series`; several of either, whose channels are put one after the
            other; an array of shape (height, width) or (height, width, channels); or a
            `DecodedImage`. The last two are given back as they are, in this machine's byte order.
        reading: How each file is decoded.

    Raises:
        DataError: As `read_image`; or the files of one sample differ in size or place; or an
            array has another number of axes, or values that are no real numbers.
    """
    if isinstance(image, DecodedImage):
        _check_axes(image)
        values = plain_array(image.values)
        return image if values is image.values else attrs.evolve(image, values=values)
    files = image_files(image)
    if files is not None:
        decoded = [read_image(file, reading) for file in files]
        return stack_channels(decoded, files)
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise DataError(
            f"A sample's image is of the type {type(image).__name__}. Give a path, a Series, "
            "a tuple of these, a numpy array or a DecodedImage."
        )
    if image.ndim not in (2, 3):
        raise DataError(
            f"A sample's image is an array of shape {image.shape}, which is neither "
            "(height, width) nor (height, width, channels). Give a volume as a DecodedImage."
        )
    return DecodedImage(values=plain_array(image), channels=image.ndim == 3)


def image_files(image: Any) -> tuple[ImageFile, ...] | None:
    """The files and series of a `Sample.image`; None for one that is in memory."""
    if isinstance(image, (str, os.PathLike, Series)):
        return (image,)
    return image if isinstance(image, tuple) else None


def source_of(image: Any) -> str | None:
    """The first file of what `Sample.image` holds; None for one that is in memory."""
    if isinstance(image, DecodedImage):
        return image.source
    files = image_files(image)
    if not files:
        return None
    first = files[0]
    return min(first.files) if isinstance(first, Series) else os.fspath(first)


def stack_channels(images: Sequence[DecodedImage], files: Sequence[ImageFile]) -> DecodedImage:
    """Put the channels of several images one after the other; a single one stays as it is.

    The affine is that of the first image that has one.

    Raises:
        DataError: There are none, or they differ in size or, as their affines say, in place; it
            names two that do.
    """
    import numpy as np

    if not images:
        raise DataError("A sample names no image file. Give it at least one.")
    if len(images) == 1:
        return images[0]
    placed: tuple[Any, ImageFile] | None = None
    for image, file in zip(images, files, strict=True):
        if _sides(image) != _sides(images[0]):
            raise DataError(
                f"The images {_title(files[0])} ({_size(images[0])}) and {_title(file)} "
                f"({_size(image)}) belong to one sample but differ in size. "
                "Resample them to one size."
            )
        if image.affine is None:
            continue
        if placed is None:
            placed = image.affine, file
        elif not np.allclose(image.affine, placed[0], atol=1e-3):
            raise DataError(
                f"The images {_title(placed[1])} and {_title(file)} belong to one sample but lie "
                "in different places, as their affines say. Resample them to one grid."
            )
    parts = [i.values if i.channels else i.values[..., None] for i in images]
    spacing, of = _common_spacing(images)
    return DecodedImage(
        values=np.concatenate(parts, axis=-1),
        channels=True,
        affine=placed[0] if placed else None,
        spacing=spacing,
        spacing_of=of,
    )


def _common_spacing(images: Sequence[DecodedImage]) -> tuple[tuple[float, ...] | None, SpacingOf]:
    """The spacing of images of one grid; None where they contradict each other."""
    import numpy as np

    known = [image for image in images if image.spacing is not None]
    if not known:
        return None, "unknown"
    first = known[0]
    for image in known:
        same = np.allclose(np.array(image.spacing), np.array(first.spacing), atol=1e-3)
        if not same or image.spacing_of != first.spacing_of:
            return None, "unknown"
    return first.spacing, first.spacing_of


def _check_axes(image: DecodedImage) -> None:
    sides = image.values.ndim - image.channels
    if sides not in (2, 3):
        raise DataError(
            f"A sample's DecodedImage has values of shape {image.values.shape} "
            f"{'with' if image.channels else 'without'} channels. Give (height, width) or "
            "(height, width, depth), and the channels last."
        )


def _sides(image: DecodedImage) -> tuple[int, ...]:
    shape: tuple[int, ...] = image.values.shape
    return shape[:-1] if image.channels else shape


def _size(image: DecodedImage) -> str:
    return " x ".join(str(side) for side in _sides(image))


def _title(file: ImageFile) -> str:
    if not isinstance(file, Series):
        return os.fspath(file)
    return f"{min(file.files, default='')} and the rest of its series"
