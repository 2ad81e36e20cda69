"""Matrices of rotation, shear, translation and scale for many samples, as MONAI composes them.

All are float64 on the CPU: they are small, and the results are sensitive to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]


def rotations(angles: Array, dims: int) -> Array:
    """Rotation matrices as those of MONAI's `create_rotate`.

    Args:
        angles: In radians, of shape (samples, angles). In 2-D the first is used; in 3-D they are
            about the first, second and third axis, which rotate with the image.
        dims: 2 or 3.

    Returns:
        Of shape (samples, dims, dims).

    Raises:
        ValueError: There are more angles than axes in 3-D.
    """
    import numpy as np

    if dims == 3 and angles.shape[1] > 3:
        raise ValueError(f"{angles.shape[1]} angles of rotation are too many for three axes")
    turned = np.broadcast_to(np.eye(dims), (len(angles), dims, dims))
    planes = [(0, 1)] if dims == 2 else [(1, 2), (2, 0), (0, 1)]
    for (one, other), angle in zip(planes, angles.T, strict=False):
        turn = np.tile(np.eye(dims), (len(angles), 1, 1))
        turn[:, one, one] = turn[:, other, other] = np.cos(angle)
        turn[:, other, one] = np.sin(angle)
        turn[:, one, other] = -turn[:, other, one]
        turned = turned @ turn
    return turned


def shears(factors: Array, dims: int) -> Array:
    """Shears as MONAI's `create_shear` composes them, one pair of axes after the other.

    Args:
        factors: Of shape (samples, factors): up to 2 in 2-D and 6 in 3-D.
        dims: 2 or 3.

    Returns:
        Of shape (samples, dims, dims).
    """
    import numpy as np

    sheared = np.tile(np.eye(dims), (len(factors), 1, 1))
    pairs = [(i, j) for i in range(dims) for j in range(dims) if i != j]
    for (changed, by), factor in zip(pairs, factors.T, strict=False):
        sheared[:, changed] += factor[:, None] * sheared[:, by]
    return sheared


def affine_maps(rotate: Array, shear: Array, translate: Array, scale: Array, dims: int) -> Array:
    """Affine maps from the result's voxels to the image's, as MONAI's `AffineGrid` makes them.

    Args:
        rotate: Angles in radians, of shape (samples, angles); see `rotations`.
        shear: Factors; see `shears`.
        translate: Voxels along each axis, as many as are given.
        scale: Factors along each axis, as many as are given.
        dims: 2 or 3.

    Returns:
        Of shape (samples, dims, dims + 1), for positions counted from the image's centre.
    """
    import numpy as np

    linear = rotations(rotate, dims) @ shears(shear, dims)
    shifts = np.zeros((len(linear), dims, 1))
    given = translate[:, :dims]
    shifts[:, : given.shape[1], 0] = given
    factors = np.ones((len(linear), 1, dims))
    given = scale[:, :dims]
    factors[:, 0, : given.shape[1]] = given
    return np.concatenate([linear * factors, linear @ shifts], axis=2)
