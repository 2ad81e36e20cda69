"""Read labels that are images: the masks of a segmentation.

NumPy is imported inside functions.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.segmentation import is_segmentation, read_segments
from medpipe.data.readers.label_grid import mismatch, resampled
from medpipe.data.readers.label_segments import of_segments
from medpipe.data.readers.label_values import (
    belongs,
    channels,
    colour_numbers,
    indices,
    whole_numbers,
)
from medpipe.data.readers.reader import (
    decode_content,
    file_bytes,
    image_files,
    read_sample_image,
    recognises,
    source_of,
)
from medpipe.data.readers.unreadable import HEAD
from medpipe.errors import DataError
from medpipe.steps import DecodedImage, Reading
from medpipe.system.text import counted
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from medpipe.data.readers.dicom.segmentation import Segments
    from medpipe.steps import LabelImage


@attrs.frozen(kw_only=True)
class ReadLabel:
    """A label as it was read.

    Attributes:
        mask: See `read_label`.
        resampled: Whether a file of it lay on another grid and was put onto its image's.
    """

    mask: DecodedImage
    resampled: bool = False


def read_label(
    label: LabelImage, image: DecodedImage | None, reading: Reading, *, of: Any = None
) -> DecodedImage:
    """Decode the mask of a sample, and give the indices of the task's names.

    Its values stay what they are stored as: no window, no conversion of channels, palettes as
    their indices. Whole numbers may be stored as floats. Where its values are colours, palettes are
    resolved and alpha is left out. Of a DICOM segmentation the numbers of segments, or their
    labels, are the values; its frames are put where they lie in the image.

    Args:
        label: The mask, or several, one for each name.
        image: The sample's image as it was decoded, whose grid the mask must have; None: the grid
            is not compared.
        reading: How the data set's files are read; of it the readers are used.
        of: As `Sample.image`: read where `image` is None and the mask can't be put onto the image's
            grid without it.

    Returns:
        Values of uint8 and of shape (height, width) or (height, width, depth): 0 is the background,
        1 the first name and so on, 255 counts nowhere. Where names may overlap, there is a last
        axis with a channel of 0, 1 or 255 for each name.

    Raises:
        DataError: A file can't be read, has colours, fractions or values that are not named, or
            lies on another grid than the image; or masks of structures that must not overlap do.
    """
    return read_noted(label, image, reading, of=of).mask


def read_noted(
    label: LabelImage, image: DecodedImage | None, reading: Reading, *, of: Any = None
) -> ReadLabel:
    """As `read_label`, with what was done to the mask."""
    import numpy as np

    plain = Reading(padding="keep", readers=reading.readers)
    place = _Place(decoded=image, image=of, reading=reading)
    if isinstance(label.image, tuple):
        return _several(label, place, plain)
    if label.absent:
        mask = _nothing(label.image, reading)
        shape = (
            mask.values.shape if label.channels is None else (*mask.values.shape, label.channels)
        )
        return ReadLabel(
            mask=attrs.evolve(
                mask, values=np.zeros(shape, np.uint8), channels=label.channels is not None
            )
        )
    title = _title(label.image)
    found = _stored(label.image, label, plain, place)
    mask = found if isinstance(found, DecodedImage) else found.image
    wrong = place.wrong(mask, label, title)
    if not isinstance(found, DecodedImage):
        values = of_segments(found, label, title)
    else:
        values = (indices if label.channels is None else channels)(mask.values, label, title)
    mask = attrs.evolve(mask, values=values, channels=label.channels is not None)
    return ReadLabel(mask=place.put(mask, title) if wrong else mask, resampled=wrong)


@attrs.define(kw_only=True, eq=False, slots=False)
class _Place:
    """Where a sample's image lies.

    Attributes:
        decoded: The image, with which masks are compared.
        image: As `Sample.image`: what is read where there is no other way to put a mask.
        reading: How it is read.
    """

    decoded: DecodedImage | None
    image: Any
    reading: Reading

    @cached_property
    def grid(self) -> DecodedImage | None:
        """The image, read where it was not."""
        if self.decoded is not None or self.image is None:
            return self.decoded
        first = self.image[0] if isinstance(self.image, tuple) else self.image
        return read_sample_image(first, self.reading)

    def wrong(
        self,
        mask: DecodedImage,
        label: LabelImage,
        title: str,
        first: DecodedImage | None = None,
    ) -> bool:
        """Whether a mask is to be resampled.

        Args:
            mask: With one value for each pixel.
            label: Of which it is.
            title: Its file.
            first: Another mask of the label, with which it is compared where there is no image.

        Raises:
            DataError: It lies on another grid, and is not to be.
        """
        resample = label.on_mismatch == "resample"
        image = (self.grid if resample else self.decoded) or first
        error = None if image is None else mismatch(mask, image, title)
        if error is None:
            return False
        if not resample or self.grid is None or mask.affine is None or self.grid.affine is None:
            raise error
        return True

    def put(self, mask: DecodedImage, title: str) -> DecodedImage:
        """A mask on the image's grid."""
        assert self.grid is not None
        values = resampled(mask, self.grid, title)
        return attrs.evolve(
            mask,
            values=values,
            affine=self.grid.affine,
            spacing=self.grid.spacing,
            spacing_of=self.grid.spacing_of,
        )


def _several(label: LabelImage, place: _Place, reading: Reading) -> ReadLabel:
    """One mask for each name; what is not 0 belongs to the name."""
    import numpy as np

    files: tuple[Any, ...] = label.image
    if label.texts:
        raise DataError(
            "Of several masks, one for each structure, what is not 0 is the structure: "
            f"{label.texts[0]!r} can't be looked for. Give numbers in dataset.ignore."
        )
    alone = attrs.evolve(label, values=None)
    masks: list[DecodedImage | None] = []
    moved = False
    for number, file in enumerate(files):
        if file is None:
            masks.append(None)
            continue
        title = _title(file)
        if number in label.absent:
            mask = _nothing(file, reading)
        else:
            found = _stored(file, alone, reading, place)
            mask = found if isinstance(found, DecodedImage) else _numbers(found)
        first = next((one for one in masks if one is not None), None)
        wrong = place.wrong(mask, label, title, first)
        mask = attrs.evolve(mask, values=belongs(mask.values, label, title))
        masks.append(place.put(mask, title) if wrong else mask)
        moved |= wrong
    known = [(number, mask) for number, mask in enumerate(masks) if mask is not None]
    if not known:
        raise DataError("A sample names no mask. Leave the sample out.")
    first = known[0][1]
    if label.channels is not None:
        every = np.full((*first.values.shape, len(files)), IGNORED, np.uint8)
        for number, mask in known:
            every[..., number] = mask.values
        return ReadLabel(mask=attrs.evolve(first, values=every, channels=True), resampled=moved)
    single = np.zeros(first.values.shape, np.uint8)
    for number, mask in known:
        single[(mask.values == IGNORED) & (single == 0)] = IGNORED
        both = (mask.values == 1) & (single > 0) & (single < IGNORED)
        if both.any():
            other = files[int(single[both][0]) - 1]
            raise DataError(
                f"The masks {_title(other)} and {_title(files[number])} overlap in "
                f"{counted(int(both.sum()), 'pixel')}. Set overlapping = true in [dataset.task], "
                "if they may."
            )
        single[mask.values == 1] = number + 1
    if len(known) < len(files):  # what has no other name may be one that is not annotated
        single[single == 0] = IGNORED
    return ReadLabel(mask=attrs.evolve(first, values=single, channels=False), resampled=moved)


def _nothing(image: Any, reading: Reading) -> DecodedImage:
    """A mask of nothing on the grid of an image."""
    import numpy as np

    decoded = read_sample_image(image, reading)
    sides = decoded.values.shape[: decoded.values.ndim - decoded.channels]
    return attrs.evolve(decoded, values=np.zeros(sides, np.uint8), channels=False)


def _stored(
    image: Any, label: LabelImage, reading: Reading, place: _Place
) -> DecodedImage | Segments:
    """A mask with one number for each pixel, its value or its colour; or segments."""
    title = _title(image)
    if label.colours:
        reading = attrs.evolve(reading, channels=3)
    if not isinstance(image, (str, os.PathLike)):
        decoded = read_sample_image(image, reading)
    else:
        content, path = file_bytes(image), os.fspath(image)
        name = os.path.basename(path).lower()  # noqa: PTH119  (many files)
        own = any(recognises(reader, content[:HEAD], name) for reader in reading.readers)
        if not own and not label.colours and is_segmentation(content):
            own_grid = label.on_mismatch == "resample"
            return read_segments(content, path, place.grid, own_grid=own_grid)
        decoded = decode_content(content, path, reading)
    if label.colours:
        values = colour_numbers(decoded, title)
    elif label.texts:
        raise DataError(
            f"The mask {title} has numbers, and dataset.labels names segments "
            f"({label.texts[0]!r}), which DICOM segmentations alone have. Give the number of each "
            "structure, or its colour, such as '#ff0000'."
        )
    else:
        values = whole_numbers(decoded, title, [value for value, _ in label.values or ()])
    return attrs.evolve(decoded, values=values, channels=False)


def _numbers(found: Segments) -> DecodedImage:
    """The number of a segment at each voxel; of those that lie together the lowest."""
    import numpy as np

    table = np.array([min(numbers, default=0) for numbers in found.sets])
    return attrs.evolve(found.image, values=table[found.image.values])


def _title(image: Any) -> str:
    found = source_of(image) if image_files(image) is not None else None
    return found or "in memory"
