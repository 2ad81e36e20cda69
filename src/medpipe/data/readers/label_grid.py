"""The grid of a mask: compared with that of its image, or resampled onto it.

NumPy and SciPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from medpipe.steps import DecodedImage

    Array = np.ndarray[Any, np.dtype[Any]]

SHIFT = 0.1
"""How far the corners of a mask may be from its image's, in voxels."""
OR_RESAMPLE = 'set dataset.on_mismatch = "resample"'


def mismatch(mask: DecodedImage, image: DecodedImage, title: str) -> DataError | None:
    """The error for a mask that lies on another grid than its image; None where it does not.

    Args:
        mask: With one value for each pixel.
        image: With channels or without.
        title: The mask's file.
    """
    import numpy as np

    sides = sides_of(image)
    placed = mask.affine is not None and image.affine is not None
    if mask.values.shape != sides:
        shapes = [" x ".join(map(str, shape)) for shape in (mask.values.shape, sides)]
        turned = " It is turned." if mask.values.shape[:2] == sides[1::-1] != sides[:2] else ""
        same_axes = mask.values.ndim == len(sides)
        remedy = f", or {OR_RESAMPLE}" if placed and same_axes else ""
        return DataError(
            f"The mask {title} has {shapes[0]} pixels, and its image {shapes[1]}.{turned} "
            f"Resample it onto the image's grid, by nearest neighbour{remedy}."
        )
    if not placed:
        return None
    corners = _corners(sides)
    seen = np.c_[corners, np.ones(len(corners))] @ _between(image, mask).T
    away = float(np.abs(seen[:, :3] - corners).max())
    return None if away <= SHIFT else elsewhere(title, away)


def elsewhere(title: str, away: float) -> DataError:
    """The error for a mask whose corners are so many voxels from its image's."""
    return DataError(
        f"The mask {title} lies up to {away:.1f} voxels from its image, as the two affines "
        "say. Resample it onto the image's grid by nearest neighbour, correct the affine "
        f"that is wrong, or {OR_RESAMPLE}."
    )


def resampled(mask: DecodedImage, image: DecodedImage, title: str) -> Array:
    """The values of a mask at the voxels of its image, by nearest neighbour.

    Args:
        mask: uint8, with channels or without; 0 is the background.
        image: On the other grid.
        title: The mask's file.

    Returns:
        uint8 of the image's shape, with the mask's channels; 0 outside of the mask.

    Raises:
        DataError: One of them has no affine or another number of axes, or nothing of what the mask
            holds lies in the image.
    """
    import numpy as np
    from scipy.ndimage import affine_transform

    sides, own = sides_of(image), sides_of(mask)
    if mask.affine is None or image.affine is None or len(sides) != len(own):
        raise DataError(
            f"The mask {title} can't be resampled onto its image's grid: "
            + (
                "one is an image and the other a volume."
                if len(sides) != len(own)
                else "one of the two does not say where it lies. Save it with an affine."
            )
        )
    whole = (*sides, *(1,) * (3 - len(sides)))
    order = [1, 0, 2, 3]  # affines have the column first, arrays the row
    there = np.linalg.inv(_between(image, mask))[order][:, order]
    values = mask.values if mask.channels else mask.values[..., None]
    parts = [
        affine_transform(
            values[..., place].reshape((*own, *(1,) * (3 - len(own)))),
            there[:3, :3],
            there[:3, 3],
            output_shape=whole,
            order=0,
            mode="grid-constant",
            cval=0,
        ).reshape(sides)
        for place in range(values.shape[-1])
    ]
    found = np.stack(parts, -1) if mask.channels else parts[0]
    if mask.values.any() and not found.any():
        raise DataError(
            f"Nothing of what the mask {title} holds lies in its image, as the two affines say. "
            "Correct the affine that is wrong, or leave the sample out."
        )
    return found


def sides_of(image: DecodedImage) -> tuple[int, ...]:
    """The shape without channels."""
    return tuple(image.values.shape[: image.values.ndim - image.channels])


def _between(image: DecodedImage, mask: DecodedImage) -> Array:
    """From voxels of the mask to those of the image: column, row, slice."""
    import numpy as np

    assert image.affine is not None
    assert mask.affine is not None
    found: Array = np.linalg.inv(image.affine) @ mask.affine
    return found


def _corners(sides: tuple[int, ...]) -> Array:
    """The columns, rows and slices of an image's corners, of shape (8, 3)."""
    import numpy as np

    ends = [[0, side - 1] for side in (*sides[1::-1], *sides[2:], *(1,) * (3 - len(sides)))]
    return np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
