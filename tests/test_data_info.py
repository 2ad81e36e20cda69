"""What is measured on the samples that leave the chain, and what does not fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from medpipe import Dataset, PipelineBuilder, Sample, Task
from medpipe.builtin.transforms.monai_transforms import LoadImage
from medpipe.checks.data_info import probes
from medpipe.data.preparation import prepare
from medpipe.plugin import DataInfo, DecodedImage
from medpipe.settings import SplitSettings
from support.broken.transforms import LosesAnAxis

if TYPE_CHECKING:
    from medpipe import CheckReport

RANDOM = np.random.default_rng(0)


def made(*shapes: tuple[int, ...], channels: int | None = None) -> Dataset:
    """Images in memory of the given shapes, over and over."""
    samples = []
    for n in range(24):
        shape = shapes[n % len(shapes)]
        values = RANDOM.integers(0, 255, shape if channels is None else (*shape, channels))
        image = DecodedImage(values=values.astype(np.uint8), channels=channels is not None)
        samples.append(Sample(id=f"{n:02}", image=image, label=n // 2 % 2))
    return Dataset(samples=samples, task=Task(names=("a", "b")))


def network(data: DataInfo) -> Any:
    from torch import nn

    pool: Any = nn.AdaptiveAvgPool2d(2) if data.spatial_dims == 2 else nn.AdaptiveAvgPool3d(2)
    return nn.Sequential(
        pool, nn.Flatten(), nn.Linear(2**data.spatial_dims * data.channels, data.outputs)
    )


def builder(dataset: Dataset) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset(dataset)
        .network(network)
        .loader(batch_size=4, workers=0)
        .split(validation=0.25, test=0.25)
    )


def check(builder: PipelineBuilder) -> CheckReport:
    return builder.build().check()


def problem(builder: PipelineBuilder) -> str:
    (found,) = check(builder).problems
    return str(found)


@pytest.mark.parametrize(
    ("shape", "channels", "axes", "expected"),
    [
        ((6, 5), None, "wh", (1, (5, 6), 2)),
        ((6, 5), 3, "hw", (3, (6, 5), 2)),
        ((6, 5, 4), None, "wh", (1, (5, 6, 4), 3)),
        ((6, 5, 4), 2, "hw", (2, (6, 5, 4), 3)),
        ((6, 5, 1), None, "wh", (1, (5, 6, 1), 3)),
    ],
)
def test_images_and_volumes(
    shape: tuple[int, ...], channels: int | None, axes: Any, expected: Any
) -> None:
    base = builder(made(shape, channels=channels))
    steps = ("ensure_channel_first", "scale_intensity", "to_tensor")
    report = check(base.transforms(LoadImage(axes=axes), *steps))
    assert report.ok, report
    assert report.data is not None
    data = report.data
    assert (data.channels, data.spatial_shape, data.spatial_dims) == expected


def test_the_smallest_and_the_largest_of_each_kind_are_tried() -> None:
    # By voxels, not by pixels of a slice: the smallest slice is not the smallest volume.
    shapes = [(6, 6, 6)] * 24
    shapes[1], shapes[11], shapes[22] = (2, 2, 90), (8, 8, 9), (5, 5, 2)
    prepared = prepare(made(*shapes), SplitSettings(), workers=1)
    tried = {sample.id for sample in probes(prepared)}
    assert {"11", "22"} <= tried
    assert len(tried) < 14


def test_the_smallest_of_the_training_and_of_each_axis_are_tried() -> None:
    # Patches are cut in training alone, and a thin image may have many voxels.
    sizes = [(6, 6, 6)] * 24
    plain = prepare(made(*sizes), SplitSettings(), workers=1)
    inside = [int(sample.id) for sample in plain.by_split["training"]]
    outside = int(plain.by_split["test"][0].id)
    sizes[outside], sizes[inside[3]], sizes[inside[5]] = (2, 2, 2), (5, 5, 5), (30, 3, 30)
    prepared = prepare(made(*sizes), SplitSettings(), workers=1)
    small = {f"{place:02}" for place in (outside, inside[3], inside[5])}
    assert small <= {s.id for s in probes(prepared)}


def test_ragged_volumes_name_the_steps_that_fit_them() -> None:
    ragged = builder(made((6, 5, 4), (6, 5, 7)))
    message = problem(ragged)
    assert message.startswith(
        "transform: images leave the chain in different sizes, which do not batch: (1, 5, 6, "
    )
    assert message.endswith(
        ". Add a step such as 'resize' or 'resize_with_pad_or_crop' with spatial_size, or set "
        "loader.batch_size = 1."
    )
    size = {"spatial_size": (5, 6, 8)}
    for step in ("resize", "resize_with_pad_or_crop"):
        report = check(ragged.transform(step, before="to_tensor", **size))
        assert report.ok, report
        assert report.data is not None
        assert report.data.spatial_shape == (5, 6, 8)
    report = check(ragged.loader(batch_size=1))
    assert report.ok, report
    assert report.data is not None
    assert report.data.spatial_shape == (5, 6, None)


MIXTURE = (
    "dataset: there are images and volumes: '00' is 6 x 5 and '01' is 6 x 5 x 4. Choose one "
    "kind: a network takes either. Slices of a DICOM series become a volume with "
    "dataset.unit = 'series'."
)


def test_images_among_volumes() -> None:
    mixed = builder(made((6, 5), (6, 5, 4)))
    assert problem(mixed) == MIXTURE
    assert problem(mixed.loader(batch_size=1)) == MIXTURE
    # A step that is set for one of them fails on the other: that isn't what is wrong.
    resized = mixed.transform("resize", before="to_tensor", spatial_size=(8, 8))
    assert problem(resized) == MIXTURE


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)])
def test_channels_that_are_not_first(shape: tuple[int, ...]) -> None:
    loaded = (shape[1], shape[0], *shape[2:])
    base = builder(made(shape)).transforms("load_image", "to_tensor")
    message = problem(base)
    assert message.startswith(
        f"transform: images must leave the chain as (channels, sides...), got {loaded} of '"
    )
    assert message.endswith("'. Add the step ensure_channel_first after load_image.")


def test_a_step_that_takes_an_axis_away_is_named() -> None:
    base = builder(made((6, 5))).transform("rand_flip", before="to_tensor")
    loses = LosesAnAxis(prob=1.0)
    for whole in (
        base.transform(loses, before="to_tensor"),
        # The step behind it fails.
        base.transform(loses, before="to_tensor").transform("augment"),
    ):
        assert problem(whole) == (
            "transform[4]: the transform step 'loses_an_axis' (not registered) takes an axis away: "
            "the image of the sample '00' has the shape (1, 5, 6) before it and (5, 6) after it. "
            "Let its changed give as many axes as it gets, (images, channels, sides...), also of "
            "one channel: squeeze and an index take them away."
        )


def test_the_last_step_that_takes_an_axis_away_is_named() -> None:
    def projected(sample: dict[str, Any]) -> dict[str, Any]:
        return {**sample, "image": sample["image"].amax(-1)}

    def squeezed(sample: dict[str, Any]) -> dict[str, Any]:
        return {**sample, "image": sample["image"].squeeze(0)}

    first = ("load_image", "ensure_channel_first", projected)
    base = builder(made((6, 5, 4)))
    assert check(base.transforms(*first, "to_tensor")).ok
    said = problem(base.transforms(*first, squeezed, "to_tensor"))
    assert said.startswith("transform[3]: the ready transform ")
    assert "squeezed takes an axis away: the image of the sample '" in said
    assert said.endswith(
        "the shape (1, 5, 6) before it and (5, 6) after it. Let it give as many axes as it gets, "
        "(channels, sides...), also of one channel: squeeze and an index take them away."
    )


def test_targets_of_the_training_split() -> None:
    missing = float("nan")
    samples = [
        attrs.evolve(sample, label=(float(n), 5.0 if n % 3 else missing))
        for n, sample in enumerate(made((6, 5)).samples)
    ]
    task = Task(kind="regression", names=("age", "dose"))
    pipeline = builder(Dataset(samples=samples, task=task)).build()
    report = pipeline.check()
    assert report.data is not None, report
    prepared = prepare(
        Dataset(samples=samples, task=task),
        SplitSettings(validation=0.25, test=0.25),
        workers=1,
    )
    ages: Any = [sample.label for sample in prepared.by_split["training"]]
    assert report.data.target_means == pytest.approx((np.mean(ages, axis=0)[0], 5))
    assert report.data.target_spreads == pytest.approx((np.std(ages, axis=0)[0], 1))
    assert report.data.class_counts is None
