"""Steps in the form that graphs hold give what they give in the chain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medpipe import Registry
from medpipe.builtin.transforms.graph_forms import GRAPH_FORMS
from medpipe.steps import TransformStep

REGISTRY = Registry.discover()
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("to_tensor", {}),
    ("cast_to_type", {}),
    ("scale_intensity", {}),
    ("scale_intensity", {"minv": -1.0, "maxv": 3.0, "channel_wise": True}),
    ("scale_intensity_range", {"a_min": 20.0, "a_max": 90.0, "b_min": 0.0, "b_max": 1.0}),
    (
        "scale_intensity_range",
        {"a_min": 20.0, "a_max": 90.0, "b_min": -1.0, "b_max": 1.0, "clip": True},
    ),
    ("normalize_intensity", {}),
    ("normalize_intensity", {"channel_wise": True}),
    ("normalize_intensity", {"subtrahend": 40.0, "divisor": 0.0}),
    ("normalize_intensity", {"subtrahend": [40.0, 2.0], "divisor": [2.0, 9.0]}),
    ("normalize_intensity", {"divisor": 20.0}),
    ("normalize_intensity", {"subtrahend": 20.0}),
    ("shift_intensity", {"offset": -3.5}),
    ("threshold_intensity", {"threshold": 30.0, "cval": 7.0}),
    ("threshold_intensity", {"threshold": 30.0, "above": False}),
    ("repeat_channel", {"repeats": 3}),
    ("flip", {}),
    ("flip", {"spatial_axis": [1]}),
    ("flip", {"spatial_axis": 0}),
    *(
        ("resize", {"spatial_size": sides, "mode": mode})
        for sides in ([5, 31], [24, 17], [1, 2])
        for mode in ("area", "bilinear")
    ),
]


def step_of(name: str, parameters: dict[str, Any]) -> TransformStep:
    if isinstance(parameters.get("subtrahend"), list):
        parameters = {**parameters, "channel_wise": True}
    return REGISTRY.create(TransformStep, name, parameters)


def images(kind: str) -> torch.Tensor:
    numbers = np.random.default_rng(3).integers(0, 120, (3, 2, 24, 17)).astype(np.float32)
    if kind == "constant":
        numbers[0], numbers[1, 1] = 5, 0
    return torch.from_numpy(numbers)


@pytest.mark.parametrize("kind", ["drawn", "constant"])
@pytest.mark.parametrize(("name", "parameters"), STEPS)
def test_a_form_gives_what_the_step_gives(name: str, parameters: dict[str, Any], kind: str) -> None:
    step = step_of(name, parameters)
    apply, form, batch = step.build(), step.graph_form(), images(kind)
    assert form is not None
    given = form(batch)
    for image, found in zip(batch, given, strict=True):
        wanted = torch.as_tensor(apply({"image": MetaTensor(image.clone())})["image"])
        torch.testing.assert_close(found, wanted.as_subclass(torch.Tensor), rtol=1e-5, atol=1e-5)


def test_every_form_is_compared() -> None:
    assert {name for name, _ in STEPS} == {*GRAPH_FORMS, "cast_to_type"}


def test_volumes_are_resampled_along_each_axis() -> None:
    volume = torch.from_numpy(np.random.default_rng(5).random((1, 1, 12, 9, 7), np.float32))
    for mode in ("area", "trilinear"):
        step = step_of("resize", {"spatial_size": [6, 11, 7], "mode": mode})
        form = step.graph_form()
        assert form is not None
        wanted = step.build()({"image": MetaTensor(volume[0].clone())})["image"]
        found, given = form(volume)[0], torch.as_tensor(wanted).as_subclass(torch.Tensor)
        torch.testing.assert_close(found, given, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resize", {"spatial_size": [9, 9], "mode": "bicubic"}),
        ("resize", {"spatial_size": [9, 9], "anti_aliasing": True}),
        ("resize", {"spatial_size": [9, 9], "mode": "bilinear", "align_corners": True}),
        ("resize", {"spatial_size": [9, 9], "size_mode": "longest"}),
        ("resize", {"spatial_size": [9, -1]}),
        ("normalize_intensity", {"nonzero": True}),
        ("normalize_intensity", {"subtrahend": 1.0, "divisor": 2.0, "channel_wise": True}),
        ("shift_intensity", {"offset": 1.0, "safe": True}),
        ("scale_intensity_range", {"a_min": 1.0, "a_max": 1.0}),
        ("cast_to_type", {"dtype": "uint8"}),
        ("histogram_normalize", {}),
        ("load_image", {}),
        ("augment", {}),
    ],
)
def test_what_no_graph_can_hold_has_no_form(name: str, parameters: dict[str, Any]) -> None:
    assert step_of(name, parameters).graph_form() is None
