"""The forms for batches: what they do to images for given draws, against MONAI one by one."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from monai import transforms as monai_transforms
from monai.data import MetaTensor

from medpipe import ConfigError, PipelineBuilder, Registry, StepError
from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.data.chain import Chain, sample_dictionary
from medpipe.data.loading.collate import collate
from medpipe.plugin import DataError, DrawnStep, TransformStep, hookimpl
from medpipe.registry.loading import step_class_problems
from medpipe.system.random_state import random_key
from support.folders import phantom

STEPS: dict[str, Any] = {step.name: step for step in TRANSFORMS}
SHAPES = [(5, 1, 16, 16), (4, 3, 17, 24), (3, 2, 9, 12, 7)]
BORDERS = ["zeros", "border", "reflection"]


def images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.manual_seed(seed))


def drawn(step: TransformStep, count: int, seed: int = 0) -> list[Mapping[str, Any]]:
    rng = np.random.default_rng(seed)
    return [step.draw(rng) if step.random else {} for _ in range(count)]


def applied(
    step: TransformStep, given: torch.Tensor, draws: list[Mapping[str, Any]]
) -> torch.Tensor:
    untouched = given.clone()
    batch = {"image": given, "id": [str(place) for place in range(len(given))]}
    result = step.apply_batch(batch, draws)["image"]
    assert type(result) is torch.Tensor
    assert torch.equal(given, untouched)
    return result


def compare(
    step: TransformStep, shape: tuple[int, ...], theirs: Any, *, exactly: bool = False
) -> None:
    """Hold a step against MONAI's transform made for each draw."""
    assert step.batched
    given = images(shape)
    draws = drawn(step, len(given))
    ours = applied(step, given, draws)
    expected = torch.stack(
        [torch.as_tensor(theirs(draw)(image)) for image, draw in zip(given, draws, strict=True)]
    ).as_subclass(torch.Tensor)
    if getattr(step, "mode", None) == "nearest" and not exactly:
        # Where rounding moves a position over the middle between two, another value is taken.
        assert (ours != expected).float().mean() < 0.002
    else:
        torch.testing.assert_close(ours, expected, rtol=0, atol=0 if exactly else 1e-5)


# --- rotations and affine maps ----------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", BORDERS)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_rotations(shape: tuple[int, ...], padding: str, align: bool, mode: str) -> None:
    if mode == "bicubic" and len(shape) == 5:
        pytest.skip("torch has bicubic for 2-D only")
    options = {"mode": mode, "padding_mode": padding, "align_corners": align}
    step = STEPS["rand_rotate"](range_x=1.5, range_y=(-0.3, 2.0), range_z=0.7, prob=1.0, **options)

    def theirs(draw: Mapping[str, Any]) -> Any:
        angles = draw["angles"]
        angle = angles[0] if len(shape) == 4 else angles
        return monai_transforms.Rotate(angle=angle, **options)

    compare(step, shape, theirs)


AFFINE: list[dict[str, Any]] = [
    {"rotate_range": 0.5},
    {"rotate_range": (0.5, (0.1, 0.9), 0.3)},
    {"shear_range": (0.3, (0.1, 0.4))},
    {"shear_range": (0.1, 0.2, 0.1, 0.3, 0.2, 0.1)},
    {"translate_range": (3, (-5.0, -1.0))},
    {"translate_range": (2.0, 3.0, 1.0)},
    {"scale_range": 0.3},
    {"scale_range": ((-0.4, -0.1), 0.3, 0.2)},
    {
        "rotate_range": (0.4, 0.2, 0.3),
        "shear_range": (0.1, 0.2, 0.1),
        "translate_range": (3.0, 2.0, 1.0),
        "scale_range": (0.2, 0.2, 0.3),
    },
    {},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ranges", AFFINE)
def test_affine_maps(shape: tuple[int, ...], ranges: dict[str, Any]) -> None:
    for mode in ("nearest", "bilinear"):
        for padding in BORDERS:
            for size in (None, 14, -1) if mode == "bilinear" else (None,):
                options = {"mode": mode, "padding_mode": padding, "spatial_size": size}
                compare_affine(shape, {**ranges, **options})


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_affine_maps_bicubic(shape: tuple[int, ...]) -> None:
    compare_affine(shape, {**AFFINE[8], "mode": "bicubic", "padding_mode": "zeros"})


def compare_affine(shape: tuple[int, ...], values: dict[str, Any]) -> None:
    def theirs(draw: Mapping[str, Any]) -> Any:
        given = {f"{kind}_params": numbers or None for kind, numbers in draw.items()}
        options = {name: value for name, value in values.items() if not name.endswith("range")}
        affine = monai_transforms.Affine(
            **given, **options, image_only=True, dtype=np.dtype(np.float64)
        )
        return lambda image: affine(image).float()

    compare(STEPS["rand_affine"](prob=1.0, **values), shape, theirs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flip_axes", [(), (0,), (1,)])
def test_augmentation_is_monais_affine_with_translations_in_shares(
    shape: tuple[int, ...], flip_axes: tuple[int, ...]
) -> None:
    sides = shape[2:]

    def theirs(draw: Mapping[str, Any]) -> Any:
        zoom = 1 / draw["zoom"]
        scale = [-zoom if axis in draw["flips"] else zoom for axis in range(len(sides))]
        affine = monai_transforms.Affine(
            rotate_params=draw["rotate"],
            translate_params=[a * b for a, b in zip(draw["translate"], sides, strict=False)],
            scale_params=scale,
            padding_mode="border",
            image_only=True,
            dtype=np.dtype(np.float64),
        )
        return lambda image: affine(image).float()

    step = STEPS["augment"](prob=1.0, scale_range=0.2, flip_axes=flip_axes)
    compare(step, shape, theirs)


def test_augmentation_flips_half_of_all_and_leaves_a_share_as_they_are() -> None:
    given = images((400, 1, 8, 8))
    step = STEPS["augment"](
        prob=0.5, rotate_range=0.0, translate_range=0.0, scale_range=0.0, flip_axes=(1,)
    )
    result = applied(step, given, drawn(step, len(given)))
    flipped = [torch.allclose(a, b.flip(2), atol=1e-6) for a, b in zip(result, given, strict=True)]
    same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(result, given, strict=True)]
    assert all(one != other for one, other in zip(flipped, same, strict=True))
    assert 60 < sum(flipped) < 140  # a quarter
    with pytest.raises(ValueError, match="axis 2 of images of 2 axes"):
        applied(STEPS["augment"](prob=1.0, flip_axes=(2,)), given, drawn(step, len(given)))


def test_affine_changes_the_size_of_all() -> None:
    step = STEPS["rand_affine"](prob=0.5, rotate_range=0.4, spatial_size=(12, -1))
    given = images((6, 1, 16, 20))
    draws = drawn(step, 6, seed=1)
    assert 0 < sum(map(bool, draws)) < 6
    ours = applied(step, given, draws)
    assert ours.shape == (6, 1, 12, 20)
    for image, result, draw in zip(given, ours, draws, strict=True):
        if not draw:
            torch.testing.assert_close(result, image[:, 2:-2], rtol=0, atol=1e-5)


# --- zooms ------------------------------------------------------------------------------------

MODES = ["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area", "bicubic"]
COPIES = ["constant", "edge", "reflect", "symmetric", "wrap", "replicate", "circular"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("mode", "padding"), [(m, "edge") for m in MODES] + [("area", p) for p in COPIES]
)
def test_zooms(shape: tuple[int, ...], mode: str, padding: str) -> None:
    if mode == "bicubic" and len(shape) == 5:
        pytest.skip("torch has bicubic for 2-D only")
    options: dict[str, Any] = {"mode": mode, "padding_mode": padding}
    for align in (None, True) if mode.endswith(("linear", "cubic")) else (None,):
        for low, high in [(0.7, 1.6), ((0.7, 0.9), (1.0, 1.5))]:
            step = STEPS["rand_zoom"](
                prob=1.0, min_zoom=low, max_zoom=high, **options, align_corners=align
            )

            def theirs(draw: Mapping[str, Any], align: bool | None = align) -> Any:
                zoom = draw["zoom"]
                if len(zoom) == 1:
                    zoom = zoom * (len(shape) - 2)
                elif len(shape) == 5:
                    zoom = [zoom[0], *zoom]
                return monai_transforms.Zoom(zoom, **options, align_corners=align)

            compare(step, shape, theirs, exactly=True)


@pytest.mark.parametrize("padding", ["linear_ramp", "maximum", "mean", "median", "minimum"])
def test_zooms_with_other_margins_are_left_to_monai(padding: str) -> None:
    assert not STEPS["rand_zoom"](padding_mode=padding).batched


# --- flips and turns --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (-2,)])
def test_flips(shape: tuple[int, ...], axis: Any) -> None:
    flip = monai_transforms.Flip(axis)
    compare(STEPS["rand_flip"](prob=1.0, spatial_axis=axis), shape, lambda _: flip, exactly=True)
    compare(STEPS["flip"](spatial_axis=axis), shape, lambda _: flip, exactly=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_axis_flips(shape: tuple[int, ...]) -> None:
    def theirs(draw: Mapping[str, Any]) -> Any:
        return monai_transforms.Flip(int(draw["axis"] * (len(shape) - 2)))

    compare(STEPS["rand_axis_flip"](prob=1.0), shape, theirs, exactly=True)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (-1, -2)])
@pytest.mark.parametrize("most", [1, 3, 6])
def test_quarter_turns(axes: tuple[int, int], most: int) -> None:
    def theirs(draw: Mapping[str, Any]) -> Any:
        return monai_transforms.Rotate90(draw["turns"], axes)

    step = STEPS["rand_rotate90"](prob=1.0, max_k=most, spatial_axes=axes)
    compare(step, (9, 2, 12, 12), theirs, exactly=True)
    compare(step, (4, 1, 6, 6, 6), theirs, exactly=True)
    turn = monai_transforms.Rotate90(most, axes)
    compare(
        STEPS["rotate90"](k=most, spatial_axes=axes), (4, 2, 7, 12), lambda _: turn, exactly=True
    )


def test_quarter_turns_of_images_that_are_not_square() -> None:
    one = STEPS["rand_rotate90"](prob=1.0, max_k=1)
    compare(one, (3, 1, 6, 8), lambda _: monai_transforms.Rotate90(1), exactly=True)
    some = STEPS["rand_rotate90"](prob=0.5)
    with pytest.raises(DataError) as caught:
        applied(some, images((8, 1, 6, 8)), drawn(some, 8))
    assert str(caught.value) == (
        "The random step 'rand_rotate90' leaves images of the shapes (1, 6, 8) and (1, 8, 6) in "
        "one batch. Let it give all images one size, changed or not (quarter turns do where images "
        "are square, for example by 'resize' with spatial_size before), or set "
        "loader.batch_size = 1."
    )


def test_a_step_of_a_plugin_that_gives_another_size_is_named() -> None:
    @attrs.frozen(kw_only=True)
    class Halved(DrawnStep):
        name: ClassVar[str] = "halved"
        prob: float = 0.5

        def values(self, rng: np.random.Generator) -> dict[str, Any]:
            return {"half": True}

        def changed(self, some: torch.Tensor, draws: Any) -> torch.Tensor:
            return some[..., ::2]

    with pytest.raises(DataError, match=r"'halved' leaves .* \(1, 6, 4\) and \(1, 6, 8\) in one"):
        Halved().apply_batch({"image": images((2, 1, 6, 8))}, [{"half": True}, {}])


def test_a_probability_that_is_none_is_refused_though_its_step_does_not_check_it() -> None:
    @attrs.frozen(kw_only=True)
    class Darkened(DrawnStep):
        name: ClassVar[str] = "darkened"
        prob: float = 0.5

    plugin = types.SimpleNamespace(medpipe_transforms=hookimpl(lambda: [Darkened]))
    registry = Registry.discover().with_plugin(plugin, name="dark")
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder(registry=registry).transform("darkened", prob=1.5).build()
    assert [str(one) for one in caught.value.problems] == [
        "transform[4].prob: must be from 0 to 1, got 1.5."
    ]
    with pytest.raises(ValueError, match="from 0 to 1"):
        Darkened(prob=-0.1)


def test_a_drawn_step_without_a_probability_is_no_step() -> None:
    @attrs.frozen(kw_only=True)
    class Darkened(DrawnStep):
        name: ClassVar[str] = "darkened"

        def build(self) -> Any:
            return dict

    (problem,) = step_class_problems(Darkened, TransformStep)
    assert problem == "Darkened needs the parameter prob, such as prob: float = 0.5"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("resize", {"spatial_size": (4, 4), "mode": "bilinear"}),
        ("zoom", {"zoom": 1.5, "mode": "bilinear"}),
        ("rand_zoom", {"prob": 1.0, "min_zoom": 1.5, "max_zoom": 1.5, "mode": "bilinear"}),
    ],
)
def test_corners_are_not_aligned_where_there_are_masks(name: str, given: dict[str, Any]) -> None:
    sample = {"image": images((1, 6, 8)), "label": images((1, 6, 8)).byte(), "id": "a"}
    for aligned in (None, False):
        Chain([(name, STEPS[name](**given, align_corners=aligned))], seed=0)(sample, training=True)
    aligned_step = STEPS[name](**given, align_corners=True)
    Chain([(name, aligned_step)], seed=0)({**sample, "label": 1}, training=True)
    with pytest.raises(StepError, match=r"align_corners = true would move images beside their"):
        Chain([(name, aligned_step)], seed=0)(sample, training=True)


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_shifts_and_scales(shape: tuple[int, ...]) -> None:
    shift = STEPS["rand_shift_intensity"](prob=1.0, offsets=(0.1, 0.7))
    compare(shift, shape, lambda d: monai_transforms.ShiftIntensity(d["by"]), exactly=True)
    scale = STEPS["rand_scale_intensity"](prob=1.0, factors=0.4)

    def theirs(draw: Mapping[str, Any]) -> Any:
        return monai_transforms.ScaleIntensity(minv=None, maxv=None, factor=draw["by"])

    compare(scale, shape, theirs, exactly=True)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_channels_are_shifted_and_scaled_each_by_its_own(shape: tuple[int, ...]) -> None:
    given = images(shape) + 0.5
    for name, parameter in (
        ("rand_shift_intensity", "offsets"),
        ("rand_scale_intensity", "factors"),
    ):
        step = STEPS[name](prob=1.0, channel_wise=True, **{parameter: (0.2, 0.6)})
        ours = applied(step, given, drawn(step, len(given)))
        change = (ours - given if parameter == "offsets" else ours / given - 1).flatten(2)
        assert (change.amax(2) - change.amin(2)).max() < 1e-5
        numbers = change.mean(2).flatten()
        assert len(set(numbers.tolist())) == given.shape[0] * given.shape[1]
        assert 0.2 <= numbers.min() < numbers.max() <= 0.6


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_contrast(shape: tuple[int, ...], invert: bool, retain: bool) -> None:
    options = {"invert_image": invert, "retain_stats": retain}
    step = STEPS["rand_adjust_contrast"](prob=1.0, **options)
    compare(step, shape, lambda d: monai_transforms.AdjustContrast(d["gamma"], **options))


def test_integers_stay_integers_where_monai_leaves_them() -> None:
    given = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4)
    for name, values in (("rand_shift_intensity", {"offsets": (1.5, 1.5)}), ("rand_flip", {})):
        step = STEPS[name](prob=1.0, **values)
        assert applied(step, given, drawn(step, 2)).dtype == torch.uint8
    monai = monai_transforms.ShiftIntensity(1.5)
    shift = STEPS["rand_shift_intensity"](prob=1.0, offsets=(1.5, 1.5))
    compare_integers = applied(shift, given, drawn(shift, 2))
    assert torch.equal(compare_integers, torch.stack([torch.as_tensor(monai(i)) for i in given]))
    assert not STEPS["rand_shift_intensity"](offsets=1.0, safe=True).batched
    assert not STEPS["shift_intensity"](offset=1.0, safe=True).batched


PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("normalize_intensity", {"subtrahend": 0.3, "divisor": 0.7}),
    ("normalize_intensity", {"subtrahend": 1.0, "divisor": 0.0}),
    (
        "normalize_intensity",
        {"subtrahend": (0.485, 0.456, 0.406), "divisor": (0.229, 0.0, 0.225), "channel_wise": True},
    ),
    ("shift_intensity", {"offset": 0.3}),
    ("repeat_channel", {"repeats": 3}),
    ("cast_to_type", {"dtype": "float16"}),
]


@pytest.mark.parametrize(("name", "values"), PLAIN)
def test_plain_steps_give_the_values_of_their_samples(name: str, values: dict[str, Any]) -> None:
    step = STEPS[name](**values)
    assert step.batched
    given = images((4, 3, 9, 12)) - 0.3
    transform = step.build()
    alone = torch.stack([torch.as_tensor(transform({"image": i.clone()})["image"]) for i in given])
    together = applied(step, given, [{}] * 4)
    assert together.dtype == alone.dtype
    assert torch.equal(together, alone.as_subclass(torch.Tensor))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"subtrahend": 0.5},
        {"subtrahend": 0.5, "divisor": 2.0, "nonzero": True},
        {"subtrahend": 0.5, "divisor": 2.0, "channel_wise": True},
        {"subtrahend": (0.5,), "divisor": (2.0,)},
    ],
)
def test_normalizing_by_statistics_is_left_to_monai(values: dict[str, Any]) -> None:
    assert not STEPS["normalize_intensity"](**values).batched


def test_normalizing_other_channels_is_an_error() -> None:
    step = STEPS["normalize_intensity"](subtrahend=(0.5,), divisor=(2.0,), channel_wise=True)
    with pytest.raises(ValueError, match=r"^the images have 3 channels, but subtrahend has 1 num"):
        step.apply_batch({"image": images((2, 3, 4, 4))}, [])


# --- blur and low resolution -------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("approx", ["erf", "sampled"])
def test_smoothing(shape: tuple[int, ...], approx: str) -> None:
    step = STEPS["rand_gaussian_smooth"](prob=1.0, sigma_y=(1.0, 2.0), approx=approx)
    compare(
        step,
        shape,
        lambda draw: monai_transforms.GaussianSmooth(draw["sigma"][: len(shape) - 2], approx),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("align", [False, True])
def test_low_resolution(shape: tuple[int, ...], align: bool) -> None:
    mode = "bilinear" if len(shape) == 4 else "trilinear"
    options: Any = {"upsample_mode": mode, "align_corners": align}
    options["downsample_mode"] = "nearest" if align else "nearest-exact"
    step = STEPS["rand_simulate_low_resolution"](prob=1.0, zoom_range=(0.2, 0.9), **options)

    def theirs(draw: Mapping[str, Any]) -> Any:
        low = monai_transforms.RandSimulateLowResolution(prob=1.0, **options)
        low._do_transform, low.zoom_factor = True, draw["zoom"]
        return lambda image: low(image, randomize=False)

    compare(step, shape, theirs)


# --- what holds for all -----------------------------------------------------------------------

RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("rand_flip", {}),
    ("rand_axis_flip", {}),
    ("rand_rotate90", {}),
    ("rand_rotate", {"range_x": 0.5}),
    ("rand_rotate", {"range_x": 0.5, "mode": "nearest", "padding_mode": "reflection"}),
    ("rand_affine", {"rotate_range": 0.3, "translate_range": (3.0, 2.0), "scale_range": 0.2}),
    ("rand_zoom", {"min_zoom": 0.8, "max_zoom": 1.3}),
    ("rand_zoom", {"mode": "bilinear", "padding_mode": "reflect"}),
    ("rand_gaussian_noise", {"std": 0.3}),
    ("rand_gaussian_smooth", {}),
    ("rand_simulate_low_resolution", {}),
    ("rand_shift_intensity", {"offsets": 0.3}),
    ("rand_shift_intensity", {"offsets": 0.3, "channel_wise": True}),
    ("rand_scale_intensity", {"factors": 0.3}),
    ("rand_adjust_contrast", {}),
    ("rand_adjust_contrast", {"retain_stats": True}),
]


def chain_of(*steps: TransformStep) -> Chain:
    first = [STEPS["load_image"](), STEPS["ensure_channel_first"](), STEPS["scale_intensity"]()]
    return Chain([(step.name, step) for step in [*first, *steps]], seed=5)


@pytest.mark.parametrize(("name", "values"), RANDOM)
def test_a_sample_gets_the_same_alone_and_in_any_batch(name: str, values: dict[str, Any]) -> None:
    step = STEPS[name](prob=0.6, **values)
    chain = chain_of(step)
    dataset = phantom(14, size=33 if name != "rand_rotate90" else 32)
    given = [sample_dictionary(sample, dataset.reading) for sample in dataset.samples]
    parts = [chain.per_sample_stage(chain.cached_stage(s), training=True, epoch=1) for s in given]
    whole = collate([chain(s, training=True, epoch=1) for s in given], dataset.task)["image"]
    for size in (1, 4, 14):
        cut = [
            chain.batched_stage(
                collate(parts[start : start + size], dataset.task), training=True, epoch=1
            )
            for start in range(0, 14, size)
        ]
        assert torch.equal(torch.cat([batch["image"] for batch in cut]), whole)
    plain = chain.batched_stage(collate(parts, dataset.task), training=False, epoch=1)["image"]
    changed = [not torch.equal(*pair) for pair in zip(plain, whole, strict=True)]
    assert 0 < sum(changed) < 14
    # A step that follows and has no form for batches puts it in the middle; it draws the same.
    middle = chain_of(step, STEPS["gaussian_smooth"](sigma=0.0001))
    assert middle.has_per_sample_stage(training=True)
    alone = [middle.per_sample_stage(middle.cached_stage(s), training=True, epoch=1) for s in given]
    assert torch.equal(collate(alone, dataset.task)["image"], whole)
    again = collate([chain(s, training=True, epoch=2) for s in given], dataset.task)["image"]
    assert not torch.equal(again, whole)


@pytest.mark.parametrize(("name", "values"), RANDOM)
@pytest.mark.parametrize("shape", [(6, 2, 12, 12), (4, 1, 8, 8, 8)])
def test_what_chance_leaves_alone_stays_bit_for_bit(
    name: str, values: dict[str, Any], shape: tuple[int, ...]
) -> None:
    step = STEPS[name](prob=1.0, **values)
    given = images(shape)
    given[:, :, 0] = -0.0
    draws = [draw if place % 2 else {} for place, draw in enumerate(drawn(step, len(given)))]
    ours = applied(step, given, draws)
    bits = ours[::2].contiguous().view(torch.int32)
    assert torch.equal(bits, given[::2].contiguous().view(torch.int32))
    assert not torch.equal(ours[1::2], given[1::2])
    nothing = applied(step, given, [{}] * len(given))
    assert torch.equal(nothing.view(torch.int32), given.view(torch.int32))
    assert attrs.evolve(step, prob=0.0).draw(np.random.default_rng(0)) == {}


def test_a_meta_tensor_stays_one() -> None:
    step = STEPS["rand_rotate"](range_x=0.5, prob=1.0)
    image = MetaTensor(images((1, 8, 8)), meta={"spacing": 3})
    sample = step.apply({"image": image, "label": 1}, drawn(step, 1)[0])
    assert sample["label"] == 1
    assert isinstance(sample["image"], MetaTensor)
    assert sample["image"].meta["spacing"] == 3
    array = step.apply({"image": np.asarray(image)}, drawn(step, 1)[0])["image"]
    assert type(array) is torch.Tensor
    assert torch.equal(array, sample["image"].as_subclass(torch.Tensor))


NOT_BATCHED: list[tuple[str, dict[str, Any]]] = [
    ("rand_rotate", {"range_x": 0.5, "prob": 1.0, "keep_size": False}),
    (
        "rand_affine",
        {"prob": 1.0, "rotate_range": 0.5, "mode": "nearest", "spatial_size": (9, 9)},
    ),
    ("rand_zoom", {"prob": 1.0, "padding_mode": "mean", "max_zoom": 0.95}),
    ("rand_shift_intensity", {"offsets": 0.5, "prob": 1.0, "safe": True}),
]


@pytest.mark.parametrize(("name", "values"), NOT_BATCHED)
def test_what_has_no_form_for_batches_is_monai_s(name: str, values: dict[str, Any]) -> None:
    step = STEPS[name](**values)
    assert not step.batched
    chain = Chain([(name, step)], seed=2)
    assert chain.has_per_sample_stage(training=True)
    given = {"image": images((1, 12, 15)), "id": "a"}
    ours = chain(given, training=True)["image"]
    theirs = step.build()
    theirs.set_random_state(state=np.random.RandomState(random_key(2, 0, "a", 0) % 2**32))
    assert torch.equal(ours, theirs(given)["image"])


def test_parameters_that_monai_refuses_are_refused() -> None:
    create = Registry.discover().create
    step = create(TransformStep, "rand_zoom", {"min_zoom": (0.8, 0.9), "max_zoom": 1.2})
    with pytest.raises(StepError) as caught:
        Chain([("the step 'rand_zoom'", step)], seed=0)
    assert str(caught.value) == (
        "the step 'rand_zoom' can't be built: ValueError: min_zoom and max_zoom must have same "
        "length, got 2 and 1."
    )


def test_wrong_numbers_of_axes_are_an_error() -> None:
    step = STEPS["rand_zoom"](prob=1.0, min_zoom=(0.8, 0.9, 0.8), max_zoom=(1.0, 1.1, 1.1))
    chain = Chain([("the step 'rand_zoom'", step)], seed=0)
    with pytest.raises(StepError) as caught:
        chain.batched_stage(
            {"image": images((2, 1, 8, 8)), "id": ["a", "b"]}, training=True, epoch=0
        )
    assert str(caught.value) == (
        "the step 'rand_zoom' failed on the batch of the sample 'a': ValueError: min_zoom and "
        "max_zoom have 3 numbers for 2-D"
    )
    turn = STEPS["rand_affine"](prob=1.0, rotate_range=(0.1, 0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match=r"^4 angles of rotation are too many for three axes$"):
        applied(turn, images((2, 1, 5, 5, 5)), drawn(turn, 2))
