"""Which samples don't leave the chain as the rest, and when it is the chain's fault instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import pytest

from medpipe.data.chain import Chain
from medpipe.data.quality import shape_outliers
from medpipe.data.quality.shape_outliers import unfit_samples
from medpipe.data.scanning.scan import scan
from medpipe.steps import Dataset, Reading, Sample, Task, TransformStep
from support.places import without_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medpipe.errors import Fault

sent: list[str] = []
"""The samples that went through the chain."""


@attrs.frozen(kw_only=True)
class First(TransformStep):
    """Puts channels first; makes one size of all where it is told to, and may fail."""

    name: ClassVar[str] = "first"
    side: int | None = None
    fails_from: int = 1000
    gives: str = "an image"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Give the function."""

        def change(sample: dict[str, Any]) -> dict[str, Any]:
            sent.append(sample["id"])
            values = sample["image"]
            if values.shape[0] >= self.fails_from:
                raise ValueError("too high")
            if self.gives != "an image":
                left = {key: value for key, value in sample.items() if key != "image"}
                return {
                    **left,
                    **{"text": {"image": "x"}, "None": {"image": None}}.get(self.gives, {}),
                }
            values = np.moveaxis(values if values.ndim == 3 else values[..., None], -1, 0)
            if self.side is not None:
                values = np.zeros((len(values), self.side, self.side))
            return {**sample, "image": values}

        return change


def dataset(shapes: Sequence[tuple[int, ...]]) -> Dataset:
    random = np.random.default_rng(0)
    samples = [
        Sample(id=f"s{n:03}", image=random.integers(0, 256, shape, dtype=np.uint8), label=0)
        for n, shape in enumerate(shapes)
    ]
    return Dataset(samples=samples, task=Task(names=("a", "b")), reading=Reading())


def unfit(shapes: Sequence[tuple[int, ...]], batch: int = 8, **step: Any) -> Sequence[Fault]:
    sent.clear()
    data = dataset(shapes)
    chain = Chain([("the step", First(**step))], seed=0)
    return unfit_samples(chain, data, scan(data, workers=1), batched=batch > 1)


def test_images_of_one_shape_are_not_even_tried() -> None:
    assert unfit([(8, 8)] * 20) == []
    assert sent == []


def test_the_odd_ones_are_named() -> None:
    shapes = [(8, 8)] * 40 + [(8, 9), (9, 9), (8, 8, 3)]
    found = unfit(shapes)
    assert [(fault.sample, fault.kind) for fault in found] == [
        ("s040", "size"),
        ("s041", "size"),
        ("s042", "channels"),
    ]
    assert found[0].message == (
        "The image of the sample 's040' leaves the chain as (1, 8, 9), but 40 of 43 images as "
        "(1, 8, 8)."
    )
    assert [fault.sample for fault in unfit(shapes, batch=1)] == ["s042"]
    assert [fault.sample for fault in unfit(shapes, side=4)] == ["s042"]
    assert unfit(shapes[:-1], side=4) == []


def test_a_step_that_fails_on_few_is_their_fault_and_on_many_its_own() -> None:
    found = unfit([(8, 8)] * 40 + [(20, 8)], fails_from=20)
    assert [(fault.sample, fault.kind) for fault in found] == [("s040", "transform")]
    assert without_place(found[0].message) == (
        "The image of the sample 's040' makes the chain fail: the step failed on the sample "
        "'s040': ValueError: too high"
    )
    found = unfit([(20, 8)] * 40 + [(8, 8)], fails_from=20)
    assert [(fault.sample, fault.kind) for fault in found] == [("", "transform")]


@pytest.mark.parametrize("gives", ["nothing", "text", "None"])
def test_a_chain_that_gives_no_image_is_no_fault_of_a_sample(gives: str) -> None:
    (found,) = unfit([(8, 8)] * 5 + [(8, 9)] * 5, gives=gives)
    assert (found.sample, found.kind) == ("", "transform")
    assert found.message == "The chain gives no image tensor."


@pytest.mark.parametrize("count", [4, 120])
def test_where_all_differ_the_chain_lacks_a_step(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_outliers, "MANY", 100)
    (found,) = unfit([(8 + n, 8) for n in range(count)] * 2)
    assert (found.sample, found.kind) == ("", "size")
    assert found.message.startswith(
        "Images leave the chain in shapes that do not batch: (1, 8, 8) as 's000' (2), "
    )
    assert found.remedy == (
        "Add a step such as 'resize' with spatial_size, or set loader.batch_size = 1."
    )
    assert len(set(sent)) == count if count == 4 else len(set(sent)) < 30
    assert unfit([(8 + n, 8) for n in range(count)], side=4) == []
    assert len(set(sent)) < 30  # a few tell


def test_of_many_kinds_the_rare_ones_are_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_outliers, "MANY", 10)
    shapes = [(8, 8)] * 400 + [(9 + n, 8) for n in range(40)]
    assert [fault.sample for fault in unfit(shapes)] == [f"s{n}" for n in range(400, 440)]


def test_half_grey_and_half_colour_is_no_fault_of_a_sample() -> None:
    (found,) = unfit([(8, 8)] * 5 + [(8, 8, 3)] * 5)
    assert (found.sample, found.kind) == ("", "channels")
    assert str(found) == (
        "Images leave the chain in shapes that do not batch: (1, 8, 8) as 's000' (5), (3, 8, 8) "
        "as 's005' (5). Set dataset.channels = 1 or 3, if the dataset step has this parameter."
    )
