"""With which parameters the gallery shows each transform, and why some have no picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

Steps = tuple[tuple[str, Mapping[str, Any]], ...]
ALWAYS = {"prob": 1.0}


@attrs.frozen
class Example:
    """How a transform is shown.

    Attributes:
        parameters: What changes the drawn image so that it can be seen.
        first: Steps in front of it, which the image before has been through as well.
        dims: 2 for an image; 3 for a volume, of which three planes are shown.
        own_range: Whether what comes out is shown from its own lowest to its own highest value:
            of steps that give another range. Others are shown in the range of the image before.
        seed: The seed of the run, where that of the others draws thrice alike.
    """

    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    first: Steps = attrs.field(default=(), kw_only=True)
    dims: int = attrs.field(default=2, kw_only=True)
    own_range: bool = attrs.field(default=False, kw_only=True)
    seed: int = attrs.field(default=0, kw_only=True)

    @property
    def before(self) -> str:
        """The name of the picture of the image before: one for all that begin alike."""
        return "-".join(["before", *(name for name, _ in self.first), *["3d"] * (self.dims == 3)])


_THRESHOLD: Steps = (("threshold_intensity", {"threshold": 0.6}),)
_FIELD = {"spatial_size": (56, 56), "rand_size": (5, 5), "mode": "bilinear", **ALWAYS}

EXAMPLES: Mapping[str, Example] = {
    # One image, pixels moved.
    "affine": Example({"rotate_params": 0.4, "shear_params": (0.3, 0.0), "scale_params": 1.2}),
    "border_pad": Example({"spatial_border": (4, 10)}),
    "center_scale_crop": Example({"roi_scale": 0.7}),
    "center_spatial_crop": Example({"roi_size": (44, 32)}),
    "crop_foreground": Example({"margin": 2}, first=_THRESHOLD),
    "divisible_pad": Example({"k": 24}),
    "flip": Example({"spatial_axis": 0}),
    "orientation": Example({"axcodes": "LPS"}, dims=3),
    "resize": Example({"spatial_size": (28, 42)}),
    "resize_with_pad_or_crop": Example({"spatial_size": (40, 72)}),
    "rotate": Example({"angle": 0.4}),
    "rotate90": Example({"k": 1}),
    "spacing": Example({"pixdim": (2.0, 1.0)}),
    "spatial_crop": Example({"roi_start": (4, 16), "roi_end": (44, 52)}),
    "spatial_pad": Example({"spatial_size": 72}),
    "transpose": Example({"indices": (0, 2, 1)}),
    "zoom": Example({"zoom": 1.5}),
    # One image, values changed.
    "add_coordinate_channels": Example({"spatial_dims": (0, 1)}),
    "adjust_contrast": Example({"gamma": 2.0}),
    "clip_intensity_percentiles": Example({"lower": 30.0, "upper": 85.0}),
    "gaussian_sharpen": Example({"sigma1": 0.6, "sigma2": 1.0, "alpha": 3.0}),
    "gaussian_smooth": Example({"sigma": 1.5}),
    "gibbs_noise": Example({"alpha": 0.7}),
    "histogram_normalize": Example(own_range=True),
    "median_smooth": Example({"radius": 2}),
    "normalize_intensity": Example(own_range=True),
    "scale_intensity": Example(own_range=True),
    "scale_intensity_range": Example(
        {"a_min": 0.0, "a_max": 1.5, "b_min": 0.0, "b_max": 1.0, "clip": True}, own_range=True
    ),
    "scale_intensity_range_percentiles": Example(
        {"lower": 5.0, "upper": 95.0, "b_min": 0.0, "b_max": 1.0, "clip": True}, own_range=True
    ),
    "shift_intensity": Example({"offset": 0.5}),
    "std_shift_intensity": Example({"factor": 1.0}),
    "threshold_intensity": Example({"threshold": 0.6}),
    # Three draws, pixels moved.
    "augment": Example({"prob": 1.0, "scale_range": 0.2, "elastic_range": 0.3, "flip_axes": (0,)}),
    "rand_2d_elastic": Example({"spacing": 16.0, "magnitude_range": (2.0, 4.0), **ALWAYS}),
    "rand_3d_elastic": Example(
        {"sigma_range": (4.0, 5.0), "magnitude_range": (100.0, 200.0), **ALWAYS}, dims=3
    ),
    "rand_affine": Example(
        {"rotate_range": 0.4, "translate_range": 8.0, "scale_range": 0.2, **ALWAYS}
    ),
    "rand_axis_flip": Example(ALWAYS, seed=1),
    "rand_flip": Example({"prob": 0.5, "spatial_axis": 0}, seed=1),
    "rand_grid_distortion": Example({"distort_limit": (-0.2, 0.2), **ALWAYS}),
    "rand_rotate": Example({"range_x": 0.6, **ALWAYS}, seed=1),
    "rand_rotate90": Example(ALWAYS),
    "rand_scale_crop": Example({"roi_scale": 0.5, "max_roi_scale": 0.9, "random_size": True}),
    "rand_spatial_crop": Example({"roi_size": (40, 40)}),
    "rand_zoom": Example({"min_zoom": 0.7, "max_zoom": 1.4, **ALWAYS}),
    # Three patches.
    "rand_crop_by_label_classes": Example({"spatial_size": (32, 32), "ratios": (0.0, 1.0, 3.0)}),
    "rand_crop_by_pos_neg_label": Example({"spatial_size": (32, 32), "pos": 2.0, "neg": 1.0}),
    "rand_spatial_crop_samples": Example({"spatial_size": (40, 40)}),
    # Three draws, values changed.
    "rand_adjust_contrast": Example({"gamma": (0.5, 2.5), **ALWAYS}, seed=1),
    "rand_bias_field": Example({"coeff_range": (0.0, 0.3), **ALWAYS}),
    "rand_coarse_dropout": Example({"holes": 4, "spatial_size": 12, **ALWAYS}),
    "rand_coarse_shuffle": Example({"holes": 4, "spatial_size": 12, **ALWAYS}),
    "rand_gaussian_noise": Example({"std": 0.5, **ALWAYS}),
    "rand_gaussian_sharpen": Example({"alpha": (1.0, 4.0), **ALWAYS}),
    "rand_gaussian_smooth": Example({"sigma_x": (0.5, 3.0), "sigma_y": (0.5, 3.0), **ALWAYS}),
    "rand_gibbs_noise": Example({"alpha": (0.5, 0.9), **ALWAYS}),
    "rand_histogram_shift": Example({"num_control_points": 5, **ALWAYS}),
    "rand_k_space_spike_noise": Example({"intensity_range": (7.0, 8.0), **ALWAYS}),
    "rand_rician_noise": Example({"std": 0.6, **ALWAYS}),
    "rand_scale_intensity": Example({"factors": 0.5, **ALWAYS}, seed=1),
    "rand_scale_intensity_fixed_mean": Example({"factors": 0.5, **ALWAYS}),
    "rand_shift_intensity": Example({"offsets": 0.6, **ALWAYS}, seed=1),
    "rand_simulate_low_resolution": Example(
        {"zoom_range": (0.2, 0.5), "upsample_mode": "bilinear", **ALWAYS}
    ),
    "rand_smooth_field_adjust_contrast": Example({**_FIELD, "gamma": (0.5, 2.5)}),
    "rand_smooth_field_adjust_intensity": Example(_FIELD),
    "rand_std_shift_intensity": Example({"factors": 1.0, **ALWAYS}),
}
"""By the step's name."""

WITHOUT: Mapping[str, str] = {
    "cast_to_type": "The type of the values changes, and the picture stays what it is.",
    "ensure_channel_first": "56 x 56 becomes 1 x 56 x 56. Every picture here has been through it.",
    "load_image": "It reads the file. Every picture here has been through it.",
    "remove_repeated_channel": "Channels that are copies of others go: 2 x 56 x 56 becomes "
    "1 x 56 x 56.",
    "repeat_channel": "Each channel comes again: 1 x 56 x 56 becomes 3 x 56 x 56, for networks "
    "that take colours.",
    "signal_fill_empty": "It changes values that are not a number, and nothing else.",
    "squeeze_dim": "A dimension of one pixel goes: 1 x 56 x 56 x 1 becomes 1 x 56 x 56.",
    "to_tensor": "An array becomes a tensor of the same values.",
}
"""Why a step has no picture, by its name."""
