"""The built-in transforms: the table against MONAI, and the tutorial's chain value for value."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
import types
import typing
from enum import Enum

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai import transforms as of_monai
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, RandomizableTrait
from PIL import Image

from medpipe.builtin.transforms import monai_transforms
from medpipe.builtin.transforms.monai_transforms import TRANSFORMS, LoadImage
from medpipe.builtin.transforms.transform_table import TABLE, Transform
from medpipe.plugin import DataError, DecodedImage, Reading
from support.examples import examples
from support.transform_parameters import ONE_DIMENSION_ONLY, STEPS, required

OTHER_DEFAULTS = {"rand_simulate_low_resolution": {"downsample_mode": "nearest"}}
"""MONAI's defaults that are not medpipe's, by step."""
TUTORIAL = ("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")


def image(dims: int, channels: int = 1) -> MetaTensor:
    return MetaTensor(torch.rand(channels, *[32] * dims, generator=torch.manual_seed(0)))


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_the_table_fits_monai(entry: Transform) -> None:
    monai_class = getattr(of_monai, entry.monai)
    assert issubclass(monai_class, MapTransform)
    assert issubclass(monai_class, RandomizableTrait) is entry.random
    signature = inspect.signature(monai_class.__init__).parameters
    for name, parameter in entry.parameters.items():
        theirs = signature[name]
        expected = theirs.default.value if isinstance(theirs.default, Enum) else theirs.default
        if theirs.default is theirs.empty:
            expected = attrs.NOTHING
        if name in OTHER_DEFAULTS.get(entry.name, {}):
            assert expected == OTHER_DEFAULTS[entry.name][name] != parameter.default
            continue
        assert parameter.default == expected, name
        assert type(parameter.default) is type(expected), name
    assert set(entry.fixed) <= set(signature)
    assert not set(entry.own) & set(signature)
    free = set(entry.parameters) | set(entry.fixed) | {"keys"}
    assert {
        n for n, p in signature.items() if p.default is p.empty and p.kind in (1, 3)
    } - free <= {"self"}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_each_does_what_monai_does(entry: Transform, dims: int) -> None:
    if ONE_DIMENSION_ONLY.get(entry.name, dims) != dims:
        pytest.skip(f"{entry.name} is for {ONE_DIMENSION_ONLY[entry.name]}-D")
    values = {**OTHER_DEFAULTS.get(entry.name, {}), **required(entry, dims)}
    channels = 2 if entry.name == "remove_repeated_channel" else 1
    ours = STEPS[entry.name](**values).build()
    theirs = getattr(of_monai, entry.monai)(keys="image", **entry.fixed, **values)
    for transform in (ours, theirs):
        if entry.random:
            transform.set_random_state(seed=3)  # type: ignore[attr-defined]
    given_image = image(dims, channels)
    if entry.name == "ensure_channel_first":
        given_image.meta["original_channel_dim"] = 0
    result = ours({"image": given_image.clone(), "label": 1})
    expected = theirs({"image": given_image.clone(), "label": 1})
    torch.testing.assert_close(result["image"], expected["image"], rtol=0, atol=0, equal_nan=True)
    assert list(result) == ["image", "label"]
    if entry.random:
        assert result["image"].shape != given_image.shape or bool(
            (result["image"] != given_image).any()
        )


@pytest.mark.parametrize("step", TRANSFORMS, ids=lambda step: step.name)
def test_each_is_a_well_made_step(step: type) -> None:
    entry = getattr(step, "entry", None)
    values = {} if entry is None else required(entry, 2)
    made = step(**values)
    assert "__attrs_attrs__" in step.__dict__
    assert made == step(**values)
    assert pickle.loads(pickle.dumps(made)) == made
    assert getattr(monai_transforms, step.__name__) is step
    assert repr(made).startswith(f"{step.__name__}(")
    assert "MONAI's `" in step.__doc__
    for field in attrs.fields(attrs.resolve_types(step)):
        assert not isinstance(field.type, str)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(made, field.name, 1)
    with pytest.raises(TypeError):
        step(1)


def _leaves(kind: object) -> typing.Iterator[object]:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        yield from (type(word) for word in typing.get_args(kind))
    elif origin in (typing.Union, types.UnionType, tuple):
        for part in typing.get_args(kind):
            yield from _leaves(part)
    elif kind is not Ellipsis:
        yield kind


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_no_parameter_takes_a_free_string_or_what_toml_cannot_say(entry: Transform) -> None:
    scalars = {bool, int, float, types.NoneType}
    for name, parameter in {**entry.parameters, **entry.own}.items():
        arguments = typing.get_args(parameter.type) or (parameter.type,)
        free = [p for p in arguments if typing.get_origin(p) is not typing.Literal]
        if typing.get_origin(parameter.type) is not typing.Literal:
            assert {leaf for part in free for leaf in _leaves(part)} <= scalars, name
        if types.NoneType in arguments:
            assert parameter.default is None, name


def test_nothing_that_reads_writes_or_looks_up_names_is_offered() -> None:
    forbidden = {
        "reader",
        "writer",
        "keys",
        "allow_missing_keys",
        "device",
        "lazy",
        "func",
        "kernel",
    }
    for step in TRANSFORMS:
        assert not {field.name for field in attrs.fields(step)} & forbidden
    classes = {entry.monai for entry in TABLE}
    assert not classes & {"LoadImaged", "SaveImaged", "Lambdad", "TorchVisiond", "ImageFilterd"}
    assert len(STEPS) == len(TRANSFORMS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rand_flip", {"prob": 1.1}),
        ("rand_flip", {"prob": float("nan")}),
        ("rand_gaussian_noise", {"std": -0.1}),
        ("clip_intensity_percentiles", {"lower": -1.0, "upper": 99.0}),
        ("repeat_channel", {"repeats": 0}),
        ("adjust_contrast", {"gamma": 0.0}),
    ],
)
def test_impossible_numbers_are_refused(name: str, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"'{next(iter(values))}' must be"):
        STEPS[name](**values)


def test_importing_the_steps_stays_light() -> None:
    code = (
        "import sys, json\n"
        "from medpipe.builtin import losses, networks\n"
        "from medpipe.builtin.transforms import monai_transforms\n"
        "heavy = {'torch', 'monai', 'numpy', 'PIL', 'ignite', 'sklearn', 'scipy'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# --- the tutorial's chain ---------------------------------------------------------------------


def chain(*names: str) -> Compose:
    return Compose([STEPS[name]().build() for name in names])


def tutorial_of_monai() -> Compose:
    return Compose(
        [
            of_monai.LoadImaged(keys="image"),
            of_monai.EnsureChannelFirstd(keys="image"),
            of_monai.ScaleIntensityd(keys="image"),
            of_monai.ToTensord(keys="image"),
        ]
    )


def pixels(*shape: int, top: int = 256, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(kind)


FILES = {
    "grey.png": Image.fromarray(pixels(20, 30)),
    "grey.jpeg": Image.fromarray(pixels(20, 30)),
    "colour.png": Image.fromarray(pixels(20, 30, 3)),
    "colour.jpg": Image.fromarray(pixels(20, 30, 3)),
    "alpha.png": Image.fromarray(pixels(20, 30, 4)),
    "deep.png": Image.fromarray(pixels(20, 30, top=65536, kind=np.uint16)),
    "palette.png": Image.fromarray(pixels(20, 30, 3)).quantize(16),
    "bits.png": Image.fromarray(pixels(20, 30)).convert("1"),
    "grey.bmp": Image.fromarray(pixels(20, 30)),
    "column.png": Image.fromarray(pixels(20, 1)),
}


@pytest.mark.parametrize("file", FILES)
def test_load_image_gives_what_monai_gives(tmp_path, file: str) -> None:
    path = tmp_path / file
    FILES[file].save(path)
    ours = LoadImage().build()({"image": path, "label": 2})
    theirs = of_monai.LoadImaged(keys="image")({"image": path, "label": 2})["image"]
    loaded = ours["image"]
    assert isinstance(loaded, MetaTensor)
    assert ours["label"] == 2
    assert loaded.dtype == theirs.dtype == torch.float32
    assert loaded.shape == theirs.shape
    assert torch.equal(loaded.as_tensor(), theirs.as_tensor())
    assert torch.equal(loaded.affine, theirs.affine)
    assert loaded.meta["filename_or_obj"] == theirs.meta["filename_or_obj"]
    np.testing.assert_equal(
        loaded.meta["original_channel_dim"], theirs.meta["original_channel_dim"]
    )


@pytest.mark.parametrize("file", FILES)
def test_the_default_chain_is_the_tutorials(tmp_path, file: str) -> None:
    path = tmp_path / file
    FILES[file].save(path)
    ours = chain(*TUTORIAL)({"image": str(path)})["image"]
    theirs = tutorial_of_monai()({"image": str(path)})["image"]
    assert type(ours) is type(theirs)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())


@pytest.mark.parametrize("file", ["grey", "colour"])
def test_several_files_become_channels_as_with_monai(tmp_path, file: str) -> None:
    files = (tmp_path / "a.png", tmp_path / "b.png")
    FILES[f"{file}.png"].save(files[0])
    FILES[f"{file}.png"].rotate(180).save(files[1])
    ours = chain(*TUTORIAL)({"image": files})["image"]
    theirs = tutorial_of_monai()({"image": files})["image"]
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())


def test_grey_and_colour_stack_and_one_file_in_a_tuple_is_that_file(tmp_path) -> None:
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    FILES["grey.png"].save(grey)
    FILES["colour.png"].save(colour)
    load = LoadImage().build()
    both = load({"image": (grey, colour)})["image"]
    assert both.shape == (30, 20, 4)
    assert torch.equal(both[..., 0], load({"image": grey})["image"])
    assert torch.equal(both[..., 1:], load({"image": colour})["image"])
    assert torch.equal(load({"image": (grey,)})["image"], load({"image": grey})["image"])


def test_the_reading_of_the_data_set_is_used(tmp_path) -> None:
    path = tmp_path / "alpha.png"
    FILES["alpha.png"].save(path)
    for channels, shape in {1: (30, 20), 3: (30, 20, 3), "auto": (30, 20, 3)}.items():
        reading = Reading(channels=channels)
        assert LoadImage().build()({"image": path, "reading": reading})["image"].shape == shape


@given(
    st.sampled_from(["uint8", "uint16", "int32", "float32", "float64", "bool"]),
    st.sampled_from([(3, 5), (1, 4), (4, 1), (3, 5, 1), (3, 5, 3)]),
)
@settings(max_examples=examples(30), deadline=None)
def test_arrays_turn_as_files_do_and_are_never_shared(kind: str, shape: tuple[int, ...]) -> None:
    array = (pixels(*shape) % 7).astype(kind)
    before = array.copy()
    loaded = LoadImage().build()({"image": array, "id": "x"})["image"]
    assert loaded.dtype == torch.float32
    np.testing.assert_array_equal(loaded.numpy(), array.swapaxes(0, 1).astype(np.float32))
    loaded += 1
    np.testing.assert_array_equal(array, before)


def test_height_first_is_the_other_way_round(tmp_path) -> None:
    path = tmp_path / "colour.png"
    FILES["colour.png"].save(path)
    wide = LoadImage().build()({"image": path})["image"]
    high = LoadImage(axes="hw").build()({"image": path})["image"]
    assert high.shape == (20, 30, 3)
    assert torch.equal(high.as_tensor(), wide.as_tensor().swapaxes(0, 1))
    assert pickle.loads(pickle.dumps(LoadImage(axes="hw").build()))({"image": path})[
        "image"
    ].shape == (20, 30, 3)


@pytest.mark.parametrize("axes", ["wh", "hw"])
def test_volumes_in_memory_keep_their_place(axes: str) -> None:
    values = pixels(3, 5, 4)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 7, 8, 9
    image = DecodedImage(values=values, affine=affine)
    loaded = LoadImage(axes=axes).build()({"image": image, "id": "x"})["image"]
    first = chain("ensure_channel_first")({"image": loaded})["image"]
    assert first.shape == ((1, 5, 3, 4) if axes == "wh" else (1, 3, 5, 4))
    # The third column, the first row and the second slice, by either order.
    voxel = (2, 0, 1, 1) if axes == "wh" else (0, 2, 1, 1)
    assert first[0][voxel[:3]] == values[0, 2, 1]
    place = first.affine @ torch.tensor(voxel, dtype=torch.float64)
    assert place.tolist() == [2 * 2 + 7, 8, 4 + 9, 1]


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"^A sample's image is an array of shape \(2, 3, 4, 5\)"):
        LoadImage().build()({"image": np.zeros((2, 3, 4, 5)), "id": "ward/7"})


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "int64", "bool"])
def test_cast_to_type(kind: str) -> None:
    cast = STEPS["cast_to_type"](dtype=kind).build()
    assert cast({"image": image(2)})["image"].dtype == getattr(torch, kind)
