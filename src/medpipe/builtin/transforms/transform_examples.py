"""Parameters with which MONAI's transforms change an image of side 32, for those who try them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "repeat_channel": {"repeats": 3},
    "remove_repeated_channel": {"repeats": 2},
    "add_coordinate_channels": {"spatial_dims": (0, 1)},
    "spacing": {"pixdim": 2.0},
    "rotate": {"angle": 0.3},
    "zoom": {"zoom": 1.5},
    "affine": {"rotate_params": 0.3, "scale_params": 1.1},
    "center_spatial_crop": {"roi_size": 16},
    "center_scale_crop": {"roi_scale": 0.5},
    "spatial_crop": {"roi_start": (2, 2), "roi_end": (24, 24)},
    "spatial_pad": {"spatial_size": 40},
    "border_pad": {"spatial_border": 2},
    "divisible_pad": {"k": 5},
    "resize_with_pad_or_crop": {"spatial_size": 24},
    "scale_intensity_range": {"a_min": 0.0, "a_max": 1.0, "b_min": -1.0, "b_max": 1.0},
    "scale_intensity_range_percentiles": {
        "lower": 1.0,
        "upper": 99.0,
        "b_min": 0.0,
        "b_max": 1.0,
    },
    "threshold_intensity": {"threshold": 0.5},
    "clip_intensity_percentiles": {"lower": 1.0, "upper": 99.0},
    "adjust_contrast": {"gamma": 2.0},
    "shift_intensity": {"offset": 0.5},
    "std_shift_intensity": {"factor": 0.5},
    "gaussian_smooth": {"sigma": 1.0},
    "median_smooth": {"radius": 1},
    "rand_rotate": {"range_x": 0.3, "range_y": 0.2, "range_z": 0.2},
    "rand_affine": {"rotate_range": 0.3, "translate_range": 2.0, "scale_range": 0.1},
    "rand_2d_elastic": {"spacing": 4.0, "magnitude_range": (0.0, 1.0)},
    "rand_3d_elastic": {"sigma_range": (1.0, 2.0), "magnitude_range": (0.0, 1.0)},
    "rand_spatial_crop": {"roi_size": 16},
    "rand_scale_crop": {"roi_scale": 0.5},
    "rand_shift_intensity": {"offsets": 0.2},
    "rand_std_shift_intensity": {"factors": 0.2},
    "rand_scale_intensity": {"factors": 0.2},
    "rand_scale_intensity_fixed_mean": {"factors": 0.2},
    "rand_coarse_dropout": {"holes": 2, "spatial_size": 4},
    "rand_coarse_shuffle": {"holes": 2, "spatial_size": 4},
}
"""By the transform's name; those that are not named have defaults that change something."""
_FIELD = {dims: {"spatial_size": (32,) * dims, "rand_size": (8,) * dims} for dims in (2, 3)}
BY_AXES: Mapping[str, Mapping[int, Mapping[str, Any]]] = {
    "transpose": {2: {"indices": (2, 1, 0)}, 3: {"indices": (3, 2, 1, 0)}},
    "resize": {2: {"spatial_size": (16, 16)}, 3: {"spatial_size": (16, 16, 16)}},
    "rand_smooth_field_adjust_contrast": _FIELD,
    "rand_smooth_field_adjust_intensity": _FIELD,
    "rand_simulate_low_resolution": {2: {"upsample_mode": "bilinear"}, 3: {}},
}
"""Those that differ for images and volumes, by the number of axes."""


def parameters(name: str, dims: int) -> dict[str, Any]:
    """Parameters for a transform of images with so many axes."""
    return dict(BY_AXES[name][dims] if name in BY_AXES else EXAMPLES.get(name, {}))


def all_parameters(name: str) -> list[dict[str, Any]]:
    """Parameters for a transform: for images and for volumes, where they differ."""
    return [parameters(name, dims) for dims in ((2, 3) if name in BY_AXES else (2,))]
