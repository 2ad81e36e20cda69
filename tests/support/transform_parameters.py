"""Parameters with which each transform of the table can be made, for images of side 32."""

from __future__ import annotations

from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.builtin.transforms.transform_table import Transform

STEPS = {step.name: step for step in TRANSFORMS}

# What must be given, with values that suit an image of side 32.
REQUIRED = {
    "repeat_channel": {"repeats": 3},
    "remove_repeated_channel": {"repeats": 2},
    "add_coordinate_channels": {"spatial_dims": (0, 1)},
    "spacing": {"pixdim": 2.0},
    "rotate": {"angle": 0.3},
    "zoom": {"zoom": 1.5},
    "center_spatial_crop": {"roi_size": 16},
    "center_scale_crop": {"roi_scale": 0.5},
    "spatial_pad": {"spatial_size": 40},
    "border_pad": {"spatial_border": 2},
    "divisible_pad": {"k": 5},
    "resize_with_pad_or_crop": {"spatial_size": 24},
    "spatial_crop": {"roi_start": (1, 1), "roi_end": (5, 5)},
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
ONE_DIMENSION_ONLY = {"rand_2d_elastic": 2, "rand_3d_elastic": 3}


def required(entry: Transform, dims: int) -> dict[str, object]:
    given_values: dict[str, object] = dict(REQUIRED.get(entry.name, {}))
    if entry.name == "transpose":
        given_values["indices"] = tuple(reversed(range(dims + 1)))
    if entry.name == "resize":
        given_values["spatial_size"] = (16,) * dims
    if entry.name.startswith("rand_smooth_field"):
        given_values |= {"spatial_size": (32,) * dims, "rand_size": (8,) * dims}
    if entry.name == "rand_simulate_low_resolution" and dims == 2:
        given_values["upsample_mode"] = "bilinear"
    if entry.random and "prob" in entry.parameters:
        given_values["prob"] = 1.0
    return given_values
