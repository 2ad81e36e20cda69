"""Numbers of NumPy, PyTorch and pandas are numbers wherever one is taken."""

from __future__ import annotations

import json
import tomllib
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from medpipe import Dataset, MedpipeError, PipelineBuilder, Sample, Task
from medpipe.system.plain_numbers import plain, plain_number, plain_text
from medpipe.training.checkpoint import load_checkpoint, save_checkpoint

PICTURE = np.zeros((8, 8), np.uint8)


@given(some.from_dtype(np.dtype("f4")) | some.from_dtype(np.dtype("i8")) | st.booleans())
def test_a_number_is_the_same_number_of_pythons_own(value: Any) -> None:
    for given_value in (value, np.asarray(value), np.asarray([value])[0], torch.tensor(value)):
        got = plain(given_value)
        assert type(got) in (int, float, bool)
        assert got == value or (got != got and value != value)


def test_arrays_and_lists_become_tuples() -> None:
    want = (1.0, 0.0)
    for given_value in (np.array([1.0, 0.0]), torch.tensor([1.0, 0.0]), [np.float32(1), 0.0]):
        got = plain(given_value)
        assert got == want
        assert {type(item) for item in got} == {float}
    assert plain(Fraction(1, 4)) == 0.25
    assert type(plain(np.longdouble(0.5))) is float
    assert plain("a") == "a"
    assert type(plain(np.str_("a"))) is str
    assert plain_number([1]) == [1]
    array = np.zeros(2)
    assert plain_number(array) is array


def test_ids_are_text() -> None:
    assert [plain_text(value) for value in ("a", np.str_("b"), np.int64(7), 8, None)] == [
        "a",
        "b",
        "7",
        "8",
        None,
    ]
    assert plain_text(1.5) == 1.5


@pytest.mark.parametrize(
    "label",
    [np.int64(1), np.uint8(1), np.float32(1), np.bool_(True), np.array(1), torch.tensor(1)],
    ids=repr,
)
def test_a_label_may_be_any_number(label: Any) -> None:
    sample = Sample(
        id=np.str_("s"),
        image=PICTURE,
        label=label,
        group=np.int64(3),  # type: ignore[arg-type]
        split=np.str_("test"),  # type: ignore[arg-type]
        extra={"age": np.float32(40.5), "shape": (1, 2)},
    )
    assert sample.label == 1
    assert type(sample.label) in (int, float, bool)
    assert repr((sample.id, sample.group, sample.split)) == "('s', '3', 'test')"
    assert sample.extra == {"age": 40.5, "shape": (1, 2)}
    assert type(sample.extra["age"]) is float
    assert type(attrs.evolve(sample, label=np.int8(0)).label) is int


def pictures(labels: Any, task: Task) -> PipelineBuilder:
    rng = np.random.default_rng(0)
    samples = [
        Sample(id=f"s{i}", image=rng.integers(0, 200, (32, 32)).astype("u1"), label=label)
        for i, label in enumerate(labels)
    ]
    return (
        PipelineBuilder(device="cpu")
        .dataset(Dataset(samples=samples, task=task))
        .network("resnet10", widen_factor=0.0625, conv1_t_size=3)
        .loader(batch_size=np.int64(8), workers=np.int32(0))
        .split(validation=np.float64(0.2), test=np.float32(0.25))
    )


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (np.array([0, 1] * 15), Task(names=np.array(["x", "y"]))),
        (torch.tensor([0, 1] * 15), Task(names=(0, 1))),  # type: ignore[arg-type]
        (np.eye(3)[[0, 1, 2] * 10], Task(kind="multilabel", names=("a", "b", "c"))),
        (np.linspace(0, 1, 30, dtype="f4"), Task(kind="regression", names=("age",))),
        (torch.rand(30, 2), Task(kind="regression", names=("a", "b"))),
    ],
)
def test_a_data_set_of_arrays_is_checked(labels: Any, task: Task) -> None:
    report = pictures(labels, task).build().check()
    assert report.ok, str(report)
    assert report.data is not None
    assert "np." not in repr(report.data)
    json.dumps(attrs.asdict(report.data))


@pytest.mark.parametrize("label", [np.int64(2), np.float64(0.5), np.nan, np.array([0, 1])])
def test_a_label_that_is_no_class_is_refused_as_ever(label: Any) -> None:
    report = pictures([label, *[0, 1] * 15], Task(names=("x", "y"))).build().check()
    assert "np." not in str(report)
    assert "but the 2 classes (x, y) are 0 to 1" in str(report)


def test_settings_are_written_as_plain_numbers() -> None:
    builder = (
        PipelineBuilder(seed=np.uint32(7), device=np.str_("cpu"))
        .transform("resize", spatial_size=np.array([16, 16]))
        .transform("rand_flip", prob=torch.tensor(0.5))
        .network("resnet10", widen_factor=np.float32(0.0625), conv1_t_size=np.int64(3))
        .trainer(
            "supervised",
            max_epochs=np.int64(2),
            learning_rate=np.float32(1e-3),
            optimizer={"step": np.str_("adamw"), "betas": np.array([0.9, 0.99])},
            compile=np.bool_(False),
        )
        .loader(batch_size=np.int64(8), drop_last=np.bool_(True))
    )
    text = builder.to_toml()
    assert "np." not in text
    assert PipelineBuilder.from_toml(text) == builder
    trainer = tomllib.loads(text)["trainer"]
    assert trainer["learning_rate"] == float(np.float32(1e-3))
    assert trainer["optimizer"]["betas"] == [0.9, 0.99]


@pytest.mark.parametrize("size", [np.bool_(True), np.float64(8), np.array([8]), np.int64(0)])
def test_what_was_refused_of_python_is_refused_of_numpy(size: Any) -> None:
    with pytest.raises(MedpipeError) as caught:
        PipelineBuilder().loader(batch_size=size).build()
    assert "loader.batch_size: must be" in str(caught.value)
    assert "np." not in str(caught.value)


def test_a_checkpoint_holds_numbers_of_numpy(tmp_path: Any) -> None:
    class Counting:
        def state_dict(self) -> dict[Any, Any]:
            return {np.int64(1): np.float32(0.5), "best": np.bool_(True)}

    save_checkpoint(tmp_path / "c.safetensors", {"counting": Counting()}, about={"n": 1})
    states, _ = load_checkpoint(tmp_path / "c.safetensors")
    assert states["counting"] == {1: 0.5, "best": True}


@pytest.mark.parametrize("nothing", [None, "", " ", "\u200b", float("nan"), np.float64("nan")])
def test_a_group_that_says_nothing_is_none(nothing: Any) -> None:
    assert Sample(id="x", image="x", label=0, group=nothing).group is None
