"""Read labels that are images: the masks of a segmentation.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.label_values import (
    belongs,
    channels,
    colour_numbers,
    indices,
    whole_numbers,
)
from medpipe.data.readers.reader import image_files, read_sample_image, source_of
from medpipe.errors import DataError
from medpipe.steps import DecodedImage, Reading
from medpipe.system.text import counted
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from medpipe.steps import LabelImage

SHIFT = 0.1
"""How far the corners of a mask may be from its image's, in voxels."""


def read_label(label: LabelImage, image: DecodedImage | None, reading: Reading) -> DecodedImage:
    """Decode the mask of a sample, and give the indices of the task's names.

    Its values stay what they are stored as: no window, no conversion of channels, palettes as
    their indices. Whole numbers may be stored as floats. Where its values are colours, palettes are
    resolved and alpha is left out.

    Args:
        label: The mask, or several, one for each name.
        image: The sample's image as it was decoded, whose grid the mask must have; None: the grid
            is not compared.
        reading: How the data set's files are read; of it the readers are used.

    Returns:
        Values of uint8 and of shape (height, width) or (height, width, depth): 0 is the background,
        1 the first name and so on, 255 counts nowhere. Where names may overlap, there is a last
        axis with a channel of 0, 1 or 255 for each name.

    Raises:
        DataError: A file can't be read, has colours, fractions or values that are not named, or
            lies on another grid than the image; or masks of structures that must not overlap do.
    """
    import numpy as np

    plain = Reading(padding="keep", readers=reading.readers)
    if isinstance(label.image, tuple):
        return _several(label, image, plain)
    if label.absent:
        mask = _nothing(label.image, reading)
        shape = (
            mask.values.shape if label.channels is None else (*mask.values.shape, label.channels)
        )
        return attrs.evolve(
            mask, values=np.zeros(shape, np.uint8), channels=label.channels is not None
        )
    mask = _values(label.image, label, plain)
    _on_grid(mask, image, label.image)
    title = _title(label.image)
    if label.channels is None:
        return attrs.evolve(mask, values=indices(mask.values, label, title), channels=False)
    return attrs.evolve(mask, values=channels(mask.values, label, title), channels=True)


def _several(label: LabelImage, image: DecodedImage | None, reading: Reading) -> DecodedImage:
    """One mask for each name; what is not 0 belongs to the name."""
    import numpy as np

    files: tuple[Any, ...] = label.image
    if label.colours:
        raise DataError(
            "Of several masks, one for each structure, what is not 0 is the structure: their "
            "values can't be colours. Give numbers in dataset.ignore."
        )
    masks = [
        None
        if file is None
        else _nothing(file, reading)
        if place in label.absent
        else _values(file, attrs.evolve(label, values=None), reading)
        for place, file in enumerate(files)
    ]
    known = [(place, mask) for place, mask in enumerate(masks) if mask is not None]
    if not known:
        raise DataError("A sample names no mask. Leave the sample out.")
    first = known[0][1]
    for place, mask in known:
        _on_grid(mask, first if image is None else image, files[place])
    if label.channels is not None:
        every = np.full((*first.values.shape, len(files)), IGNORED, np.uint8)
        for place, mask in known:
            every[..., place] = belongs(mask.values, label, _title(files[place]))
        return attrs.evolve(first, values=every, channels=True)
    single = np.zeros(first.values.shape, np.uint8)
    for place, mask in known:
        there = belongs(mask.values, label, _title(files[place]))
        single[(there == IGNORED) & (single == 0)] = IGNORED
        both = (there == 1) & (single > 0) & (single < IGNORED)
        if both.any():
            other = files[int(single[both][0]) - 1]
            raise DataError(
                f"The masks {_title(other)} and {_title(files[place])} overlap in "
                f"{counted(int(both.sum()), 'pixel')}. Set overlapping = true in [dataset.task], "
                "if they may."
            )
        single[there == 1] = place + 1
    if len(known) < len(files):  # what has no other name may be one that is not annotated
        single[single == 0] = IGNORED
    return attrs.evolve(first, values=single, channels=False)


def _nothing(image: Any, reading: Reading) -> DecodedImage:
    """A mask of nothing on the grid of an image."""
    import numpy as np

    decoded = read_sample_image(image, reading)
    sides = decoded.values.shape[: decoded.values.ndim - decoded.channels]
    return attrs.evolve(decoded, values=np.zeros(sides, np.uint8), channels=False)


def _values(image: Any, label: LabelImage, reading: Reading) -> DecodedImage:
    """A mask with one number for each pixel, which is its value or its colour."""
    if label.colours:
        decoded = read_sample_image(image, attrs.evolve(reading, channels=3))
        values = colour_numbers(decoded, _title(image))
    else:
        decoded = read_sample_image(image, reading)
        named = [value for value, _ in label.values or ()]
        values = whole_numbers(decoded, _title(image), named)
    return attrs.evolve(decoded, values=values, channels=False)


def _on_grid(mask: DecodedImage, image: DecodedImage | None, source: Any) -> None:
    """Refuse a mask that lies on another grid than its image.

    Raises:
        DataError: It has another size, or its corners are more than `SHIFT` voxels from the
            image's.
    """
    import numpy as np

    if image is None:
        return
    sides = image.values.shape[: image.values.ndim - image.channels]
    title = _title(source)
    if mask.values.shape != sides:
        shapes = [" x ".join(map(str, shape)) for shape in (mask.values.shape, sides)]
        turned = " It is turned." if mask.values.shape[:2] == sides[1::-1] != sides[:2] else ""
        raise DataError(
            f"The mask {title} has {shapes[0]} pixels, and its image {shapes[1]}.{turned} "
            "Resample it onto the image's grid, by nearest neighbour."
        )
    if mask.affine is None or image.affine is None:
        return
    ends = np.array(
        [[0, side - 1] for side in (*sides[1::-1], *sides[2:], *(1,) * (3 - len(sides)))]
    )
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    whole = np.c_[corners, np.ones(len(corners))]
    seen = whole @ (np.linalg.inv(image.affine) @ mask.affine).T
    away = float(np.abs(seen[:, :3] - corners).max())
    if not away <= SHIFT:
        raise DataError(
            f"The mask {title} lies up to {away:.1f} voxels from its image, as the two affines "
            "say. Resample it onto the image's grid by nearest neighbour, or correct the affine "
            "that is wrong."
        )


def _title(image: Any) -> str:
    found = source_of(image) if image_files(image) is not None else None
    return found or "in memory"
