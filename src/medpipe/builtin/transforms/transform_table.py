"""MONAI's dictionary transforms that medpipe offers: names, parameters, types and defaults.

A test compares this table with the installed MONAI, and knows where a default is another. Left out
of every transform: keys (always ``image``), readers, writers, functions, devices, and every string
that MONAI would look up as a Python name, so that no configuration can cause an import. Where MONAI
takes one of a few strings, the type lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from attrs.validators import and_, ge, gt, le, optional

from medpipe.builtin.transforms.swapping import LEFT_TO_RIGHT, Pairs, are_pairs


@attrs.frozen
class Parameter:
    """A parameter of a transform, under MONAI's name for it.

    Attributes:
        type: What it takes; written in a configuration as TOML.
        default: MONAI's default; `attrs.NOTHING` where it must be given.
        validator: What its value must satisfy beyond its type.
    """

    type: Any
    default: Any = attrs.field(factory=lambda: attrs.NOTHING)
    validator: Any = None


@attrs.frozen
class Transform:
    """A transform of the table.

    Attributes:
        name: Its name in configurations.
        monai: MONAI's class.
        summary: What it does, in one sentence.
        parameters: Its parameters by name.
        own: Parameters that MONAI's transform has not, for the batched form.
        fixed: Arguments for MONAI that users can't change.
        spatial: Whether it moves pixels, and so those of a label that is an image.
        in_place: Whether MONAI's changes the image that it is given, and so gets a copy.
    """

    name: str
    monai: str
    summary: str
    parameters: Mapping[str, Parameter] = attrs.field(factory=dict)
    own: Mapping[str, Parameter] = attrs.field(factory=dict, kw_only=True)
    fixed: Mapping[str, Any] = attrs.field(factory=dict)
    spatial: bool = False
    in_place: bool = attrs.field(default=False, kw_only=True)

    @property
    def random(self) -> bool:
        """Whether it is random, and so applied to training data only."""
        return self.monai.startswith("Rand")


Interpolation = Literal[
    "nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"
]
GridInterpolation = Literal["nearest", "bilinear", "bicubic"]
GridPadding = Literal["zeros", "border", "reflection"]
# Without NumPy's "empty", whose values are undefined.
Padding = Literal[
    "constant",
    "edge",
    "linear_ramp",
    "maximum",
    "mean",
    "median",
    "minimum",
    "reflect",
    "symmetric",
    "wrap",
    "replicate",
    "circular",
]
Size = int | tuple[int, ...]
Numbers = float | tuple[float, ...]
Range = float | tuple[float, float]
Ranges = float | tuple[float | tuple[float, float], ...]


def _flips_sides(step: Any, _: object, value: Pairs) -> None:
    axes = step.spatial_axis
    given = (axes,) if isinstance(axes, int) else axes
    # Which axis a negative number names, only an image tells.
    if value and given is not None and LEFT_TO_RIGHT not in given and min(given, default=0) >= 0:
        raise ValueError("swap_labels needs a flip of left and right: let spatial_axis have 0.")


PERCENTILE = and_(ge(0), le(100))
PROB = {"prob": Parameter(float, 0.1, and_(ge(0), le(1)))}
CHANNEL_WISE = {"channel_wise": Parameter(bool, False)}
APPROX = {"approx": Parameter(Literal["erf", "sampled", "scalespace"], "erf")}
METHOD = {"method": Parameter(Literal["symmetric", "end"], "symmetric")}
PAD_MODE = {"mode": Parameter(Padding, "constant")}
GRID_BORDER = {
    "mode": Parameter(GridInterpolation, "bilinear"),
    "padding_mode": Parameter(GridPadding, "border"),
}
GRID_REFLECTION = {
    "mode": Parameter(GridInterpolation, "bilinear"),
    "padding_mode": Parameter(GridPadding, "reflection"),
}
ALIGN_CORNERS = {"align_corners": Parameter(bool, False)}
ALIGN_CORNERS_OR_NOT = {"align_corners": Parameter(bool | None, None)}
AFFINE_RANGES = {
    "rotate_range": Parameter(Ranges | None, None),
    "shear_range": Parameter(Ranges | None, None),
    "translate_range": Parameter(Ranges | None, None),
    "scale_range": Parameter(Ranges | None, None),
}
SMOOTH_FIELD = {
    "spatial_size": Parameter(tuple[int, ...]),
    "rand_size": Parameter(tuple[int, ...]),
    "pad": Parameter(int, 0, ge(0)),
    "mode": Parameter(Interpolation, "area"),
    **ALIGN_CORNERS_OR_NOT,
    **PROB,
}

SHAPE = (
    Transform(
        "ensure_channel_first",
        "EnsureChannelFirstd",
        "Moves the channels to the front, or adds one channel.",
        {
            "strict_check": Parameter(bool, True),
            "channel_dim": Parameter(int | Literal["no_channel"] | None, None),
        },
    ),
    Transform(
        "to_tensor",
        "ToTensord",
        "Turns the image into a torch tensor.",
        {"track_meta": Parameter(bool | None, None)},
    ),
    Transform(
        "repeat_channel",
        "RepeatChanneld",
        "Repeats each channel.",
        {"repeats": Parameter(int, validator=ge(1))},
    ),
    Transform(
        "remove_repeated_channel",
        "RemoveRepeatedChanneld",
        "Removes repeated channels: the inverse of repeat_channel.",
        {"repeats": Parameter(int, validator=ge(1))},
    ),
    Transform(
        "squeeze_dim",
        "SqueezeDimd",
        "Removes a dimension of length 1.",
        {"dim": Parameter(int, 0), "update_meta": Parameter(bool, True)},
    ),
    Transform(
        "transpose",
        "Transposed",
        "Permutes the dimensions, including the channels.",
        {"indices": Parameter(tuple[int, ...])},
    ),
    Transform(
        "add_coordinate_channels",
        "AddCoordinateChannelsd",
        "Adds a channel of coordinates for each named spatial dimension.",
        {"spatial_dims": Parameter(tuple[int, ...])},
    ),
)

SPATIAL = (
    Transform(
        "resize",
        "Resized",
        "Resamples the image to a size in pixels or voxels.",
        {
            "spatial_size": Parameter(Size),
            "size_mode": Parameter(Literal["all", "longest"], "all"),
            "mode": Parameter(Interpolation, "area"),
            **ALIGN_CORNERS_OR_NOT,
            "anti_aliasing": Parameter(bool, False),
            "anti_aliasing_sigma": Parameter(float | None, None, optional(ge(0))),
        },
    ),
    Transform(
        "spacing",
        "Spacingd",
        "Resamples the image to a pixel or voxel spacing, in the unit of its affine matrix.",
        {
            "pixdim": Parameter(Numbers),
            "diagonal": Parameter(bool, False),
            **GRID_BORDER,
            **ALIGN_CORNERS,
            "scale_extent": Parameter(bool, False),
            "recompute_affine": Parameter(bool, False),
            "min_pixdim": Parameter(Numbers | None, None),
            "max_pixdim": Parameter(Numbers | None, None),
        },
    ),
    Transform(
        "flip",
        "Flipd",
        "Flips the image along the given spatial axes, or along all.",
        {"spatial_axis": Parameter(Size | None, None)},
    ),
    Transform(
        "rotate",
        "Rotated",
        "Rotates the image by an angle in radians.",
        {
            "angle": Parameter(Numbers),
            "keep_size": Parameter(bool, True),
            **GRID_BORDER,
            **ALIGN_CORNERS,
        },
    ),
    Transform(
        "rotate90",
        "Rotate90d",
        "Rotates the image by 90 degrees, `k` times.",
        {"k": Parameter(int, 1), "spatial_axes": Parameter(tuple[int, int], (0, 1))},
    ),
    Transform(
        "zoom",
        "Zoomd",
        "Zooms the image by a factor.",
        {
            "zoom": Parameter(Numbers),
            "mode": Parameter(Interpolation, "area"),
            "padding_mode": Parameter(Padding, "edge"),
            **ALIGN_CORNERS_OR_NOT,
            "keep_size": Parameter(bool, True),
        },
    ),
    Transform(
        "affine",
        "Affined",
        "Rotates (radians), shears, translates (pixels) and scales the image in one resampling.",
        {
            "rotate_params": Parameter(Numbers | None, None),
            "shear_params": Parameter(Numbers | None, None),
            "translate_params": Parameter(Numbers | None, None),
            "scale_params": Parameter(Numbers | None, None),
            "spatial_size": Parameter(Size | None, None),
            **GRID_REFLECTION,
            **ALIGN_CORNERS,
        },
    ),
)

CROP_AND_PAD = (
    Transform(
        "center_spatial_crop",
        "CenterSpatialCropd",
        "Crops the image to a size around its centre.",
        {"roi_size": Parameter(Size)},
    ),
    Transform(
        "center_scale_crop",
        "CenterScaleCropd",
        "Crops the image to a fraction around its centre.",
        {"roi_scale": Parameter(Numbers)},
    ),
    Transform(
        "spatial_crop",
        "SpatialCropd",
        "Crops the image to a region given by its centre and size, or by its start and end.",
        {
            "roi_center": Parameter(Size | None, None),
            "roi_size": Parameter(Size | None, None),
            "roi_start": Parameter(Size | None, None),
            "roi_end": Parameter(Size | None, None),
        },
    ),
    Transform(
        "crop_foreground",
        "CropForegroundd",
        "Crops the image to the bounding box of its values above zero.",
        {
            "channel_indices": Parameter(Size | None, None),
            "margin": Parameter(Size, 0),
            "allow_smaller": Parameter(bool, False),
            "k_divisible": Parameter(Size, 1),
            **PAD_MODE,
        },
        # Without coordinates in the sample, which would be collated into every batch.
        {"source_key": "image", "start_coord_key": None, "end_coord_key": None},
    ),
    Transform(
        "spatial_pad",
        "SpatialPadd",
        "Pads the image to at least a size.",
        {"spatial_size": Parameter(Size), **METHOD, **PAD_MODE},
    ),
    Transform(
        "border_pad",
        "BorderPadd",
        "Adds a border to the image.",
        {"spatial_border": Parameter(Size), **PAD_MODE},
    ),
    Transform(
        "divisible_pad",
        "DivisiblePadd",
        "Pads the image until its sides are multiples of `k`.",
        {"k": Parameter(Size), **PAD_MODE, **METHOD},
    ),
    Transform(
        "resize_with_pad_or_crop",
        "ResizeWithPadOrCropd",
        "Pads or crops the image to a size, without resampling.",
        {"spatial_size": Parameter(Size), **PAD_MODE, **METHOD},
    ),
)

INTENSITY = (
    Transform(
        "scale_intensity",
        "ScaleIntensityd",
        "Scales each image's values to the range from `minv` to `maxv`.",
        {"minv": Parameter(float, 0.0), "maxv": Parameter(float, 1.0), **CHANNEL_WISE},
    ),
    Transform(
        "scale_intensity_range",
        "ScaleIntensityRanged",
        "Maps the values from `a_min` to `a_max` onto the range from `b_min` to `b_max`.",
        {
            "a_min": Parameter(float),
            "a_max": Parameter(float),
            "b_min": Parameter(float | None, None),
            "b_max": Parameter(float | None, None),
            "clip": Parameter(bool, False),
        },
    ),
    Transform(
        "scale_intensity_range_percentiles",
        "ScaleIntensityRangePercentilesd",
        "Maps the values between two of the image's percentiles onto a range.",
        {
            "lower": Parameter(float, validator=PERCENTILE),
            "upper": Parameter(float, validator=PERCENTILE),
            "b_min": Parameter(float),
            "b_max": Parameter(float),
            "clip": Parameter(bool, False),
            "relative": Parameter(bool, False),
            **CHANNEL_WISE,
        },
    ),
    Transform(
        "normalize_intensity",
        "NormalizeIntensityd",
        "Subtracts and divides: by default by the image's mean and standard deviation.",
        {
            "subtrahend": Parameter(Numbers | None, None),
            "divisor": Parameter(Numbers | None, None),
            "nonzero": Parameter(bool, False),
            **CHANNEL_WISE,
        },
    ),
    Transform(
        "threshold_intensity",
        "ThresholdIntensityd",
        "Replaces the values on one side of a threshold.",
        {
            "threshold": Parameter(float),
            "above": Parameter(bool, True),
            "cval": Parameter(float, 0.0),
        },
    ),
    Transform(
        "signal_fill_empty",
        "SignalFillEmptyd",
        "Replaces NaN by a number.",
        {"replacement": Parameter(float, 0.0)},
    ),
    Transform(
        "clip_intensity_percentiles",
        "ClipIntensityPercentilesd",
        "Clips the values to two of the image's percentiles.",
        {
            "lower": Parameter(float, validator=PERCENTILE),
            "upper": Parameter(float, validator=PERCENTILE),
            "sharpness_factor": Parameter(float | None, None, optional(gt(0))),
            **CHANNEL_WISE,
        },
    ),
    Transform(
        "adjust_contrast",
        "AdjustContrastd",
        "Changes the contrast by a gamma curve.",
        {
            "gamma": Parameter(float, validator=gt(0)),
            "invert_image": Parameter(bool, False),
            "retain_stats": Parameter(bool, False),
        },
    ),
    Transform(
        "histogram_normalize",
        "HistogramNormalized",
        "Equalizes the histogram.",
        {
            "num_bins": Parameter(int, 256, ge(1)),
            "min": Parameter(int, 0),
            "max": Parameter(int, 255),
        },
    ),
    Transform(
        "shift_intensity",
        "ShiftIntensityd",
        "Adds a number to all values.",
        {"offset": Parameter(float), "safe": Parameter(bool, False)},
    ),
    Transform(
        "std_shift_intensity",
        "StdShiftIntensityd",
        "Adds a multiple of the image's standard deviation to all values.",
        {"factor": Parameter(float), "nonzero": Parameter(bool, False), **CHANNEL_WISE},
        in_place=True,
    ),
    Transform(
        "gaussian_smooth",
        "GaussianSmoothd",
        "Smooths the image with a Gaussian; `sigma` in pixels.",
        {"sigma": Parameter(Numbers), **APPROX},
    ),
    Transform(
        "gaussian_sharpen",
        "GaussianSharpend",
        "Sharpens the image by the difference of two Gaussians.",
        {
            "sigma1": Parameter(Numbers, 3.0),
            "sigma2": Parameter(Numbers, 1.0),
            "alpha": Parameter(float, 30.0),
            **APPROX,
        },
    ),
    Transform(
        "median_smooth",
        "MedianSmoothd",
        "Applies a median filter; `radius` in pixels.",
        {"radius": Parameter(Size)},
    ),
    Transform(
        "gibbs_noise",
        "GibbsNoised",
        "Adds Gibbs ringing, as in MRI with a truncated k-space.",
        {"alpha": Parameter(float, 0.5, and_(ge(0), le(1)))},
    ),
)

RANDOM_SPATIAL = (
    Transform(
        "rand_flip",
        "RandFlipd",
        "Flips the image along the given spatial axes, or along all, at random.",
        {**PROB, "spatial_axis": Parameter(Size | None, None)},
        own={"swap_labels": Parameter(Pairs, (), and_(are_pairs, _flips_sides))},
    ),
    Transform(
        "rand_axis_flip",
        "RandAxisFlipd",
        "Flips the image along a random spatial axis.",
        {**PROB},
        own={"swap_labels": Parameter(Pairs, (), are_pairs)},
    ),
    Transform(
        "rand_rotate",
        "RandRotated",
        "Rotates the image by a random angle in radians.",
        {
            "range_x": Parameter(Range, 0.0),
            "range_y": Parameter(Range, 0.0),
            "range_z": Parameter(Range, 0.0),
            **PROB,
            "keep_size": Parameter(bool, True),
            **GRID_BORDER,
            **ALIGN_CORNERS,
        },
    ),
    Transform(
        "rand_rotate90",
        "RandRotate90d",
        "Rotates the image by 90 degrees, a random number of times.",
        {
            **PROB,
            "max_k": Parameter(int, 3, ge(1)),
            "spatial_axes": Parameter(tuple[int, int], (0, 1)),
        },
    ),
    Transform(
        "rand_zoom",
        "RandZoomd",
        "Zooms the image by a random factor.",
        {
            **PROB,
            "min_zoom": Parameter(Numbers, 0.9),
            "max_zoom": Parameter(Numbers, 1.1),
            "mode": Parameter(Interpolation, "area"),
            "padding_mode": Parameter(Padding, "edge"),
            **ALIGN_CORNERS_OR_NOT,
            "keep_size": Parameter(bool, True),
        },
    ),
    Transform(
        "rand_affine",
        "RandAffined",
        "Rotates (radians), shears, translates (pixels) and scales the image by random amounts.",
        {
            "spatial_size": Parameter(Size | None, None),
            **PROB,
            **AFFINE_RANGES,
            **GRID_REFLECTION,
            "cache_grid": Parameter(bool, False),
        },
    ),
    Transform(
        "rand_grid_distortion",
        "RandGridDistortiond",
        "Distorts the image by a random grid.",
        {
            "num_cells": Parameter(Size, 5),
            **PROB,
            "distort_limit": Parameter(Range, (-0.03, 0.03)),
            **GRID_BORDER,
        },
    ),
    Transform(
        "rand_2d_elastic",
        "Rand2DElasticd",
        "Applies a random elastic deformation and affine transform to a 2-D image.",
        {
            "spacing": Parameter(Range),
            "magnitude_range": Parameter(tuple[float, float]),
            "spatial_size": Parameter(int | tuple[int, int] | None, None),
            **PROB,
            **AFFINE_RANGES,
            **GRID_REFLECTION,
        },
    ),
    Transform(
        "rand_3d_elastic",
        "Rand3DElasticd",
        "Applies a random elastic deformation and affine transform to a 3-D image.",
        {
            "sigma_range": Parameter(tuple[float, float]),
            "magnitude_range": Parameter(tuple[float, float]),
            "spatial_size": Parameter(int | tuple[int, int, int] | None, None),
            **PROB,
            **AFFINE_RANGES,
            **GRID_REFLECTION,
        },
    ),
    Transform(
        "rand_spatial_crop",
        "RandSpatialCropd",
        "Crops the image to a random region of a given or random size.",
        {
            "roi_size": Parameter(Size),
            "max_roi_size": Parameter(Size | None, None),
            "random_center": Parameter(bool, True),
            "random_size": Parameter(bool, False),
        },
    ),
    Transform(
        "rand_scale_crop",
        "RandScaleCropd",
        "Crops the image to a random region of a given or random fraction.",
        {
            "roi_scale": Parameter(Numbers),
            "max_roi_scale": Parameter(Numbers | None, None),
            "random_center": Parameter(bool, True),
            "random_size": Parameter(bool, False),
        },
    ),
)

RANDOM_INTENSITY = (
    Transform(
        "rand_simulate_low_resolution",
        "RandSimulateLowResolutiond",
        "Downsamples the image and upsamples it again.",
        {
            **PROB,
            # MONAI's default, nearest, moves the image by up to half a pixel of the smaller one.
            "downsample_mode": Parameter(Interpolation, "nearest-exact"),
            "upsample_mode": Parameter(Interpolation, "trilinear"),
            "zoom_range": Parameter(tuple[float, float], (0.5, 1.0)),
            **ALIGN_CORNERS,
        },
    ),
    Transform(
        "rand_gaussian_noise",
        "RandGaussianNoised",
        "Adds Gaussian noise.",
        {
            **PROB,
            "mean": Parameter(float, 0.0),
            "std": Parameter(float, 0.1, ge(0)),
            "sample_std": Parameter(bool, True),
        },
    ),
    Transform(
        "rand_rician_noise",
        "RandRicianNoised",
        "Adds Rician noise, as in magnitude images of MRI.",
        {
            **PROB,
            "mean": Parameter(Numbers, 0.0),
            "std": Parameter(Numbers, 1.0),
            **CHANNEL_WISE,
            "relative": Parameter(bool, False),
            "sample_std": Parameter(bool, True),
        },
    ),
    Transform(
        "rand_gaussian_smooth",
        "RandGaussianSmoothd",
        "Smooths the image with a Gaussian of random width, in pixels.",
        {
            "sigma_x": Parameter(tuple[float, float], (0.25, 1.5)),
            "sigma_y": Parameter(tuple[float, float], (0.25, 1.5)),
            "sigma_z": Parameter(tuple[float, float], (0.25, 1.5)),
            **APPROX,
            **PROB,
        },
    ),
    Transform(
        "rand_gaussian_sharpen",
        "RandGaussianSharpend",
        "Sharpens the image by the difference of two Gaussians of random width.",
        {
            "sigma1_x": Parameter(tuple[float, float], (0.5, 1.0)),
            "sigma1_y": Parameter(tuple[float, float], (0.5, 1.0)),
            "sigma1_z": Parameter(tuple[float, float], (0.5, 1.0)),
            "sigma2_x": Parameter(Range, 0.5),
            "sigma2_y": Parameter(Range, 0.5),
            "sigma2_z": Parameter(Range, 0.5),
            "alpha": Parameter(tuple[float, float], (10.0, 30.0)),
            **APPROX,
            **PROB,
        },
    ),
    Transform(
        "rand_shift_intensity",
        "RandShiftIntensityd",
        "Adds a random number to all values.",
        {"offsets": Parameter(Range), "safe": Parameter(bool, False), **PROB, **CHANNEL_WISE},
    ),
    Transform(
        "rand_std_shift_intensity",
        "RandStdShiftIntensityd",
        "Adds a random multiple of the image's standard deviation to all values.",
        {"factors": Parameter(Range), **PROB, "nonzero": Parameter(bool, False), **CHANNEL_WISE},
        in_place=True,
    ),
    Transform(
        "rand_scale_intensity",
        "RandScaleIntensityd",
        "Multiplies all values by one plus a random factor.",
        {"factors": Parameter(Range), **PROB, **CHANNEL_WISE},
    ),
    Transform(
        "rand_scale_intensity_fixed_mean",
        "RandScaleIntensityFixedMeand",
        "Multiplies all values by one plus a random factor, and keeps the mean.",
        {
            "factors": Parameter(Range),
            "fixed_mean": Parameter(bool, True),
            "preserve_range": Parameter(bool, False),
            **PROB,
            **CHANNEL_WISE,
        },
    ),
    Transform(
        "rand_adjust_contrast",
        "RandAdjustContrastd",
        "Changes the contrast by a random gamma curve.",
        {
            **PROB,
            "gamma": Parameter(Range, (0.5, 4.5)),
            "invert_image": Parameter(bool, False),
            "retain_stats": Parameter(bool, False),
        },
    ),
    Transform(
        "rand_bias_field",
        "RandBiasFieldd",
        "Multiplies the image by a smooth random field, like the bias field of MRI.",
        {
            "degree": Parameter(int, 3, ge(1)),
            "coeff_range": Parameter(tuple[float, float], (0.0, 0.1)),
            **PROB,
        },
    ),
    Transform(
        "rand_histogram_shift",
        "RandHistogramShiftd",
        "Shifts the histogram at random control points.",
        {"num_control_points": Parameter(int | tuple[int, int], 10), **PROB},
    ),
    Transform(
        "rand_coarse_dropout",
        "RandCoarseDropoutd",
        "Fills random rectangles, or all but them.",
        {
            "holes": Parameter(int, validator=ge(1)),
            "spatial_size": Parameter(Size),
            "dropout_holes": Parameter(bool, True),
            "fill_value": Parameter(Range | None, None),
            "max_holes": Parameter(int | None, None, optional(ge(1))),
            "max_spatial_size": Parameter(Size | None, None),
            **PROB,
        },
        in_place=True,
    ),
    Transform(
        "rand_coarse_shuffle",
        "RandCoarseShuffled",
        "Shuffles the values inside random rectangles.",
        {
            "holes": Parameter(int, validator=ge(1)),
            "spatial_size": Parameter(Size),
            "max_holes": Parameter(int | None, None, optional(ge(1))),
            "max_spatial_size": Parameter(Size | None, None),
            **PROB,
        },
        in_place=True,
    ),
    Transform(
        "rand_gibbs_noise",
        "RandGibbsNoised",
        "Adds Gibbs ringing of random strength.",
        {**PROB, "alpha": Parameter(Range, (0.0, 1.0))},
    ),
    Transform(
        "rand_k_space_spike_noise",
        "RandKSpaceSpikeNoised",
        "Adds a random spike in k-space, which shows as stripes.",
        {
            **PROB,
            "intensity_range": Parameter(tuple[float | tuple[float, float], ...] | None, None),
            "channel_wise": Parameter(bool, True),
        },
    ),
    Transform(
        "rand_smooth_field_adjust_contrast",
        "RandSmoothFieldAdjustContrastd",
        "Changes the contrast by a gamma that varies smoothly over the image.",
        {**SMOOTH_FIELD, "gamma": Parameter(Range, (0.5, 4.5))},
    ),
    Transform(
        "rand_smooth_field_adjust_intensity",
        "RandSmoothFieldAdjustIntensityd",
        "Multiplies the image by a factor that varies smoothly over it.",
        {**SMOOTH_FIELD, "gamma": Parameter(Range, (0.1, 1.0))},
    ),
)

MOVING = frozenset({"squeeze_dim", "transpose"})
"""Those of `SHAPE` that move pixels."""

TABLE: tuple[Transform, ...] = (
    *(attrs.evolve(entry, spatial=entry.name in MOVING) for entry in SHAPE),
    *(attrs.evolve(entry, spatial=True) for entry in (*SPATIAL, *CROP_AND_PAD)),
    *INTENSITY,
    *(attrs.evolve(entry, spatial=True) for entry in RANDOM_SPATIAL),
    *RANDOM_INTENSITY,
)
"""All transforms."""
