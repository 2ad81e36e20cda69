"""Read labels that are images: the masks of a segmentation.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.reader import image_files, read_sample_image, source_of
from medpipe.errors import DataError
from medpipe.steps import DecodedImage, Reading
from medpipe.system.text import counted
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np

    from medpipe.steps import LabelImage

    Array = np.ndarray[Any, np.dtype[Any]]

SHIFT = 0.1
"""How far the corners of a mask may be from its image's, in voxels."""
MANY = 10
"""From so many unknown values on, a mask is likely no mask, or was saved as JPEG."""
LOSSY = (".jpg", ".jpeg")
"""Suffixes of files whose values are not those that were saved."""
PICTURES = (".png", ".tif", ".tiff", ".bmp")
"""Suffixes of files whose second or fourth channel is opacity."""
NAMED = 6
"""How many values an error names."""


def read_label(label: LabelImage, image: DecodedImage | None, reading: Reading) -> DecodedImage:
    """Decode the mask of a sample, and give the indices of the task's names.

    Its values stay what they are stored as: no window, no conversion of channels, palettes as
    their indices. Whole numbers may be stored as floats.

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
    mask = _values(label.image, plain, [value for value, _ in label.values or ()])
    _on_grid(mask, image, label.image)
    title = _title(label.image)
    if label.channels is None:
        return attrs.evolve(mask, values=_indices(mask.values, label, title), channels=False)
    return attrs.evolve(mask, values=_channels(mask.values, label, title), channels=True)


def _several(label: LabelImage, image: DecodedImage | None, reading: Reading) -> DecodedImage:
    """One mask for each name; what is not 0 belongs to the name."""
    import numpy as np

    files: tuple[Any, ...] = label.image
    masks = [
        None if file is None else (_nothing if place in label.absent else _values)(file, reading)
        for place, file in enumerate(files)
    ]
    known = [(place, mask) for place, mask in enumerate(masks) if mask is not None]
    if not known:
        raise DataError("A sample names no mask. Leave the sample out.")
    first = known[0][1]
    for place, mask in known:
        _on_grid(mask, first if image is None else image, files[place])
    if label.channels is not None:
        channels = np.full((*first.values.shape, len(files)), IGNORED, np.uint8)
        for place, mask in known:
            channels[..., place] = _belongs(mask.values, label, files[place])
        return attrs.evolve(first, values=channels, channels=True)
    indices = np.zeros(first.values.shape, np.uint8)
    for place, mask in known:
        there = _belongs(mask.values, label, files[place])
        indices[(there == IGNORED) & (indices == 0)] = IGNORED
        both = (there == 1) & (indices > 0) & (indices < IGNORED)
        if both.any():
            other = files[int(indices[both][0]) - 1]
            raise DataError(
                f"The masks {_title(other)} and {_title(files[place])} overlap in "
                f"{counted(int(both.sum()), 'pixel')}. Set overlapping = true in [dataset.task], "
                "if they may."
            )
        indices[there == 1] = place + 1
    if len(known) < len(files):  # what has no other name may be one that is not annotated
        indices[indices == 0] = IGNORED
    return attrs.evolve(first, values=indices, channels=False)


def _belongs(values: Array, label: LabelImage, source: Any) -> Array:
    """1 where a mask of one name is not 0, and 255 where it counts nowhere."""
    import numpy as np

    title = _title(source)
    if title.lower().endswith(LOSSY):
        unknown = [value for value in _found(values) if value not in (0, 255, *label.ignore)]
        _refuse(unknown, label, title)
    there: Array = (values != 0).astype(np.uint8)
    for value in label.ignore:
        there[values == value] = IGNORED
    return there


def _nothing(image: Any, reading: Reading) -> DecodedImage:
    """A mask of nothing on the grid of an image."""
    import numpy as np

    decoded = read_sample_image(image, reading)
    sides = decoded.values.shape[: decoded.values.ndim - decoded.channels]
    return attrs.evolve(decoded, values=np.zeros(sides, np.uint8), channels=False)


def _values(image: Any, reading: Reading, named: Collection[float] = ()) -> DecodedImage:
    """A mask as it is stored, with one value for each pixel.

    Args:
        image: The mask.
        reading: How files are read.
        named: The values that have a meaning.
    """
    import numpy as np

    decoded = read_sample_image(image, reading)
    values, title = decoded.values, _title(image)
    if decoded.channels:
        colours = {2: 1, 4: 3}.get(values.shape[-1]) if title.lower().endswith(PICTURES) else None
        grey = values[..., :colours]  # without alpha
        if (grey != grey[..., :1]).any():
            raise DataError(
                f"The mask {title} has {values.shape[-1]} channels of different values. Save it "
                "with one number for each pixel, or a file for each structure."
            )
        values = grey[..., 0]
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.rint(values)
        if not np.array_equal(whole, values):
            odd = values[~(whole == values)][0]
            if not np.isfinite(odd):
                raise DataError(
                    f"The mask {title} holds {odd:g}. Save it with a whole number for each pixel."
                )
            raise DataError(
                f"The mask {title} holds fractions, such as {odd:g}: it was interpolated, or holds "
                "probabilities. Save the labels themselves, resampled by nearest neighbour."
            )
        values = whole
    if values.size and values.min() >= 0 and values.max() <= 255:  # quicker to look through
        two = values.dtype.kind == "b"
        values = values.astype(np.uint8)
        if two and 1 not in named and 255 in named:  # 255 in a picture of one bit
            values *= 255
    return attrs.evolve(decoded, values=values, channels=False)


def _indices(values: Array, label: LabelImage, title: str) -> Array:
    """The index of each pixel's name."""
    import numpy as np

    result = np.full(values.shape, IGNORED, np.uint8)
    unknown = []
    table = None if label.values is None else dict(label.values)
    for value in _found(values):
        if value in label.ignore:
            continue
        if table is None:
            known = 0 <= value < IGNORED
            index = int(value) if known else 0
        else:
            known = value in table
            places = table.get(value, ())
            index = places[0] + 1 if places else 0
        if known:
            result[values == value] = index
        else:
            unknown.append(value)
    _refuse(unknown, label, title)
    return result


def _channels(values: Array, label: LabelImage, title: str) -> Array:
    """Whether each pixel belongs to each name."""
    import numpy as np

    count = label.channels or 0
    result = np.zeros((*values.shape, count), np.uint8)
    table = dict(label.values or [(0, ()), *((place + 1, (place,)) for place in range(count))])
    unknown = []
    for value in _found(values):
        if value in label.ignore:
            result[values == value] = IGNORED
        elif value in table:
            result[values == value] = [int(place in table[value]) for place in range(count)]
        else:
            unknown.append(value)
    _refuse(unknown, label, title)
    return result


def _found(values: Array) -> list[float]:
    import numpy as np

    return [value.item() for value in np.unique(values)]


def _refuse(unknown: list[float], label: LabelImage, title: str) -> None:
    """Refuse values that no name has."""
    if not unknown:
        return
    shown = ", ".join(f"{value:g}" for value in unknown[:NAMED])
    lossy = title.lower().endswith(LOSSY)
    if lossy or len(unknown) >= MANY:
        several = "a value" if len(unknown) == 1 else f"{len(unknown)} values"
        why = "is an image, or a mask that was saved as JPEG or was interpolated"
        if lossy:
            why = "was saved as JPEG, which changes values"
        raise DataError(
            f"The mask {title} has {several} that no label names, such as {shown}: it {why}. Save "
            "labels as PNG or NIfTI."
        )
    has = "the value" if len(unknown) == 1 else "the values"
    named = ", ".join(f"{value:g}" for value, _ in label.values or ())
    known = f" Named are {named}." if named else ""
    raise DataError(
        f"The mask {title} has {has} {shown}, which no label names.{known} Add to dataset.labels, "
        "or to dataset.ignore what is to count nowhere."
    )


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
