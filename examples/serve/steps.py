"""The steps of a contract's `before.steps` that can be done with NumPy alone.

Each function takes a step's parameters and gives what it does, on arrays of shape
(channels, ...); it refuses parameters that it can't follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from refused import Refused

Apply = Callable[[np.ndarray], np.ndarray]


def load_image(*, axes: str = "wh") -> Apply:
    """The axes of a file's values: (height, width[, channels]), or the width first."""
    swapped = {"wh": True, "hw": False}[axes]
    return lambda values: (values.swapaxes(0, 1) if swapped else values).astype(np.float32)


def ensure_channel_first(*, strict_check: bool = True, channel_dim: Any = None) -> Apply:
    """The channels to the front, or one more axis."""
    if channel_dim is not None:
        raise Refused("a channel_dim is not known")
    return lambda values: values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def to_tensor(*, track_meta: bool | None = None) -> Apply:
    """Nothing, for arrays."""
    return lambda values: values


def cast_to_type(*, dtype: str = "float32") -> Apply:
    """Nothing, for float32."""
    if dtype != "float32":
        raise Refused(f"the dtype {dtype} is not known, only float32")
    return lambda values: values


def scale_intensity(*, minv: float = 0, maxv: float = 1, channel_wise: bool = False) -> Apply:
    """From `minv` to `maxv`; a constant image is multiplied by `minv`."""

    def apply(values: np.ndarray) -> np.ndarray:
        low, high = values.min(), values.max()
        if low == high:
            return values * np.float32(minv)
        scaled: np.ndarray = (values - low) / (high - low)
        return scaled * np.float32(maxv - minv) + np.float32(minv)

    return _each(apply, channel_wise)


def scale_intensity_range(
    *,
    a_min: float,
    a_max: float,
    b_min: float | None = None,
    b_max: float | None = None,
    clip: bool = False,
) -> Apply:
    """From `a_min` and `a_max` to `b_min` and `b_max`."""

    def apply(values: np.ndarray) -> np.ndarray:
        if a_min == a_max:
            return values - np.float32(a_min) + np.float32(b_min or 0)
        values = (values - np.float32(a_min)) / np.float32(a_max - a_min)
        if b_min is not None and b_max is not None:
            values = values * np.float32(b_max - b_min) + np.float32(b_min)
        return np.clip(values, b_min, b_max) if clip and (b_min, b_max) != (None, None) else values

    return apply


def scale_intensity_range_percentiles(
    *,
    lower: float,
    upper: float,
    b_min: float,
    b_max: float,
    clip: bool = False,
    relative: bool = False,
    channel_wise: bool = False,
) -> Apply:
    """From two of the image's percentiles to `b_min` and `b_max`."""
    if relative:
        raise Refused("relative is not known")

    def apply(values: np.ndarray) -> np.ndarray:
        a_min, a_max = (float(np.percentile(values, share)) for share in (lower, upper))
        given = {"a_min": a_min, "a_max": a_max, "b_min": b_min, "b_max": b_max}
        return scale_intensity_range(**given, clip=clip)(values)

    return _each(apply, channel_wise)


def normalize_intensity(
    *,
    subtrahend: float | None = None,
    divisor: float | None = None,
    nonzero: bool = False,
    channel_wise: bool = False,
) -> Apply:
    """By the image's mean and deviation, or by given numbers."""
    if nonzero or not all(one is None or _is_number(one) for one in (subtrahend, divisor)):
        raise Refused("nonzero, and numbers for each channel, are not known")

    def apply(values: np.ndarray) -> np.ndarray:
        less = values.mean() if subtrahend is None else subtrahend
        by = values.std() if divisor is None else divisor
        return (values - np.float32(less)) / np.float32(by or 1)

    return _each(apply, channel_wise)


def center_spatial_crop(*, roi_size: int | Sequence[int]) -> Apply:
    """A size around the centre; a side that is not above 0 stays."""

    def apply(values: np.ndarray) -> np.ndarray:
        for axis, own in enumerate(values.shape[1:]):
            side = roi_size if isinstance(roi_size, int) else roi_size[axis]
            if side > 0:
                start = max(own // 2 - side // 2, 0)
                values = values.take(range(start, min(start + side, own)), axis=axis + 1)
        return values

    return apply


def _each(apply: Apply, channel_wise: bool) -> Apply:
    """For each channel by itself, where that is wanted."""
    if not channel_wise:
        return apply
    return lambda values: np.stack([apply(channel) for channel in values])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


STEPS: Mapping[str, Callable[..., Apply]] = {
    made.__name__: made
    for made in (
        load_image,
        ensure_channel_first,
        to_tensor,
        cast_to_type,
        scale_intensity,
        scale_intensity_range,
        scale_intensity_range_percentiles,
        normalize_intensity,
        center_spatial_crop,
    )
}


def made_steps(given: Sequence[Mapping[str, Any]]) -> tuple[list[Apply], list[str]]:
    """What `before.steps` do, and which of them can't be done here, and why."""
    made, problems = [], []
    for one in given:
        parameters = dict(one)
        name = parameters.pop("step")
        if name not in STEPS:
            problems.append(f"the step {name} must be done before the model, and is not known here")
            continue
        try:
            made.append(STEPS[name](**parameters))
        except (Refused, TypeError, KeyError) as error:
            problems.append(f"the step {name}: {error}")
    if [one.get("step") for one in given[:2]] != ["load_image", "ensure_channel_first"]:
        problems.append("before.steps must begin with load_image and ensure_channel_first")
    return made, problems
