"""The stretches of a chain give together what the whole chain gives, kept or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import kstest

from medpipe import PipelineBuilder, Registry, StepError
from medpipe.data.chain import Chain, sample_dictionary
from medpipe.data.loading.collate import collate
from medpipe.plugin import TransformStep
from support.examples import examples
from support.folders import image_folder, phantom
from support.places import without_place

TRANSFORMS = Registry.discover().transforms
BATCHED: list[tuple[str, dict[str, Any]]] = [
    ("scale_intensity", {}),
    ("scale_intensity", {"minv": -1.0, "maxv": 3.0}),
    ("scale_intensity", {"minv": 0.5, "channel_wise": True}),
    ("scale_intensity_range", {"a_min": 10.0, "a_max": 200.0}),
    ("scale_intensity_range", {"a_min": 0, "a_max": 7, "b_min": -1, "b_max": 1, "clip": True}),
    ("scale_intensity_range", {"a_min": 3.0, "a_max": 90.0, "clip": False, "b_min": 0.1}),
    ("to_tensor", {}),
]


def made(name: str, parameters: dict[str, Any]) -> TransformStep:
    return Registry.discover().create(TransformStep, name, parameters)


@pytest.mark.parametrize(("name", "parameters"), BATCHED)
@settings(max_examples=examples(30), deadline=None)
@given(
    images=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
        elements=st.floats(-1000, 1000, width=32),
    )
)
def test_a_batch_has_the_values_of_its_samples(
    name: str, parameters: dict[str, Any], images: np.ndarray
) -> None:
    step = made(name, parameters)
    assert step.batched
    transform = step.build()
    alone = [np.asarray(transform({"image": torch.from_numpy(image)})["image"]) for image in images]
    batch = {"image": torch.from_numpy(images.copy()), "id": ["x"] * len(images)}
    together = step.apply_batch(batch, [{}] * len(images))["image"].numpy()
    np.testing.assert_array_equal(together, np.stack(alone))
    assert together.dtype == np.float32


SCALES = [(name, parameters) for name, parameters in BATCHED if name.startswith("scale")]
SCALES += [("scale_intensity", {"minv": 1.0, "maxv": 0.0}), ("scale_intensity", {"maxv": -2.0})]


@pytest.mark.parametrize(("name", "parameters"), SCALES)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32, np.float64, np.int64])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_narrow_images_are_scaled_to_the_bit(
    name: str, parameters: dict[str, Any], kind: Any, data: st.DataObject
) -> None:
    whole = np.issubdtype(kind, np.integer)
    limits = np.iinfo(kind if np.dtype(kind).itemsize < 4 else np.int32) if whole else None
    elements: Any = (
        st.integers(int(limits.min), int(limits.max))
        if limits is not None
        else st.floats(-1000, 1000, width=32) | st.sampled_from([np.nan, np.inf, -0.0])
    )
    shape = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.integers(1, 4))
    images = data.draw(arrays.arrays(kind, shape, elements=elements))
    # Which of two zeros is the least, 0.0 or -0.0, is left to each reduction.
    assume(len(set(np.signbit(images[images == 0]))) < 2)
    step = made(name, parameters)
    assert step.accepts_integer_images
    narrow = kind in (np.uint8, np.uint16, np.int16)  # what stands for float32
    floats = images.astype(np.float32) if narrow else images
    transform = step.build()
    alone = [np.asarray(transform({"image": torch.from_numpy(image)})["image"]) for image in floats]
    given_ = torch.from_numpy(images.copy())
    batch = {"image": given_, "id": ["x"] * len(images)}
    together = step.apply_batch(batch, [{}] * len(images))["image"].numpy()
    assert together.dtype == np.float32
    expected = np.stack(alone)
    missing = np.isnan(expected)
    assert (np.isnan(together) == missing).all()
    assert (together.view(np.int32) == expected.view(np.int32))[~missing].all()
    assert given_.numpy().tobytes() == images.tobytes()  # as they were


CHAINS: list[list[tuple[str, dict[str, Any]]]] = [
    [("load_image", {}), ("ensure_channel_first", {}), ("scale_intensity", {}), ("to_tensor", {})],
    [
        ("load_image", {}),
        ("ensure_channel_first", {}),
        ("rand_flip", {"prob": 0.5}),
        ("rand_gaussian_noise", {"prob": 0.5}),
        ("scale_intensity", {}),
    ],
    [("load_image", {}), ("ensure_channel_first", {}), ("scale_intensity", {}), ("rand_zoom", {})],
    [
        ("load_image", {}),
        ("ensure_channel_first", {}),
        ("rand_rotate", {"range_x": 0.4, "prob": 0.5}),
        ("rand_flip", {"prob": 0.5, "spatial_axis": 0}),
        ("gaussian_smooth", {"sigma": 0.7}),
        ("rand_affine", {"scale_range": 0.3, "rotate_range": 0.1, "prob": 0.5}),
        ("rand_zoom", {"prob": 0.5}),
        ("scale_intensity", {}),
        ("rand_adjust_contrast", {"prob": 0.5}),
        ("repeat_channel", {"repeats": 3}),
    ],
    [("load_image", {"axes": "hw"}), ("ensure_channel_first", {}), ("resize", {"spatial_size": 9})],
    [("load_image", {})],
]


@pytest.mark.parametrize("steps", CHAINS)
@pytest.mark.parametrize("training", [True, False])
def test_the_stretches_are_the_chain(
    steps: list[tuple[str, dict[str, Any]]], training: bool
) -> None:
    if steps[-1][0] == "resize":
        steps = [*steps[:-1], ("resize", {"spatial_size": (9, 9)})]
    chain = Chain([(name, made(name, parameters)) for name, parameters in steps], seed=3)
    dataset = phantom(12, size=32)
    given_ = [sample_dictionary(sample, dataset.reading) for sample in dataset.samples]
    whole = [chain(sample, training=training, epoch=2) for sample in given_]
    parts = [
        chain.per_sample_stage(chain.cached_stage(s), training=training, epoch=2) for s in given_
    ]
    batch = chain.batched_stage(collate(parts, dataset.task), training=training, epoch=2)
    expected = collate(whole, dataset.task)
    assert torch.equal(batch["image"], expected["image"])
    assert batch.keys() == expected.keys()


@attrs.frozen(kw_only=True)
class Shift(TransformStep):
    """A random step in both forms."""

    name: ClassVar[str] = "shift"
    random: ClassVar[bool] = True

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        return {"by": float(rng.integers(-9, 9))}

    def apply(self, sample: dict[str, Any], draw: Mapping[str, Any]) -> dict[str, Any]:
        return {**sample, "image": sample["image"] + draw["by"]}

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        by = batch["image"].new_tensor([draw["by"] for draw in draws])
        return {**batch, "image": batch["image"] + by.reshape(-1, 1, 1, 1)}


@pytest.mark.parametrize("size", [1, 5, 12])
def test_random_steps_for_batches_draw_for_each_sample(size: int) -> None:
    names = ("load_image", "ensure_channel_first", "rand_flip")
    steps: list[TransformStep] = [made(name, {}) for name in names]
    chain = Chain([(s.name, s) for s in [*steps, Shift(), made("to_tensor", {})]], seed=1)
    dataset = phantom(12, size=32)
    given_ = [sample_dictionary(sample, dataset.reading) for sample in dataset.samples]
    whole = collate([chain(s, training=True, epoch=1) for s in given_], dataset.task)["image"]
    parts = [chain.per_sample_stage(chain.cached_stage(s), training=True, epoch=1) for s in given_]
    cut = [
        chain.batched_stage(
            collate(parts[start : start + size], dataset.task), training=True, epoch=1
        )
        for start in range(0, 12, size)
    ]
    assert torch.equal(torch.cat([batch["image"] for batch in cut]), whole)
    for_test = chain.batched_stage(collate(parts, dataset.task), training=False, epoch=1)["image"]
    assert not torch.equal(for_test, whole)


def test_a_batched_step_that_fails_is_named() -> None:
    class Broken(Shift):
        def apply_batch(
            self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
        ) -> dict[str, Any]:
            raise ValueError("no")

    chain = Chain([("the step 'broken'", Broken())], seed=1)
    with pytest.raises(StepError) as caught:
        chain.batched_stage(
            {"image": torch.zeros(2, 1, 3, 3), "id": ["a", "b"]}, training=True, epoch=0
        )
    assert without_place(caught.value) == (
        "the step 'broken' failed on the batch of the sample 'a': ValueError: no"
    )


def test_a_draw_that_fails_is_named_with_its_sample() -> None:
    class Broken(Shift):
        def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
            raise ValueError("no")

    chain = Chain([("the step 'broken'", Broken())], seed=1)
    message = "the step 'broken' failed on the sample 'a': ValueError: no"
    with pytest.raises(StepError) as caught:
        chain.batched_stage(
            {"image": torch.zeros(2, 1, 3, 3), "id": ["a", "b"]}, training=True, epoch=0
        )
    assert without_place(caught.value) == message
    with pytest.raises(StepError) as caught:
        chain({"image": torch.zeros(1, 3, 3), "id": "a"}, training=True)
    assert without_place(caught.value) == message


@attrs.frozen(kw_only=True)
class Many(Shift):
    """A step that draws a number for which half of what the generator makes is enough."""

    name: ClassVar[str] = "many"

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        return {"by": float(rng.integers(2**23))}


def drawn_by(chain: Chain, ids: list[str], epoch: int) -> list[float]:
    batch = {"image": torch.zeros(len(ids), 1, 1, 1), "id": ids}
    return chain.batched_stage(batch, training=True, epoch=epoch)["image"].flatten().tolist()


def test_what_is_drawn_depends_on_seed_pass_sample_and_place_alone() -> None:
    ids = [f"ward/{number}.png" for number in range(200)]
    chain = Chain([("a step", Many())], seed=1)
    numbers = drawn_by(chain, ids, 0)
    assert len(set(numbers)) == 200
    assert kstest(np.array(numbers) / 2**23, "uniform").pvalue > 0.01
    assert drawn_by(chain, ids[::-1], 0) == numbers[::-1]
    assert [drawn_by(chain, [one], 0)[0] for one in ids] == numbers
    assert set(drawn_by(chain, ids, 1)).isdisjoint(numbers)
    other = Chain([("a step", Many())], seed=2)
    assert set(drawn_by(other, ids, 0)).isdisjoint(numbers)
    twice = Chain([("a step", Many()), ("a step", Many())], seed=1)
    assert set(drawn_by(twice, ids, 0)).isdisjoint(2 * number for number in numbers)


def test_threads_do_not_disturb_each_other_s_draws() -> None:
    ids = [str(number) for number in range(300)]
    chain = Chain([("a step", Many())], seed=1)
    numbers = drawn_by(chain, ids, 0)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: drawn_by(chain, ids, 0), range(16)):
            assert found == numbers


@attrs.frozen(kw_only=True)
class Both(Shift):
    """A step with both forms, which has one for batches only where it is asked for it."""

    name: ClassVar[str] = "both"
    fast: bool = True

    @property
    def batched(self) -> bool:
        return self.fast

    def build(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda sample: {**sample, "image": sample["image"] + 1000}


def test_a_step_with_both_forms_is_drawn_where_batches_can_be() -> None:
    sample = {"image": torch.zeros(1, 2, 2), "id": "a"}
    fast = Chain([("both", Both())], seed=1)
    assert not fast.has_per_sample_stage(training=True)
    assert fast(sample, training=True)["image"].max() < 10
    slow = Chain([("both", Both(fast=False))], seed=1)
    assert slow.has_per_sample_stage(training=True)
    assert slow(sample, training=True)["image"].min() == 1000
    assert slow(sample, training=False)["image"].max() == 0


def builder(root: Path, **loader: Any) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset("image_folder", root=root, channels=1)
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .trainer("supervised", max_epochs=2, learning_rate=3e-3)
        .loader(batch_size=8, **{"workers": 0, **loader})
        .split(validation=0.2, test=0.2)
    )


def batches(pipeline: Any) -> list[dict[str, Any]]:
    loaders = pipeline.build().build_loaders()
    return [
        batch
        for loader in (loaders.training, loaders.validation, loaders.test)
        for _ in range(2)
        for batch in loader
    ]


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_kept_changes_no_batch(tmp_path: Path, augmented: bool, workers: int) -> None:
    image_folder(tmp_path / "data", samples=48)
    some = builder(tmp_path / "data", workers=workers)
    if augmented:
        some = some.transform("rand_flip", prob=0.5, before="scale_intensity")
        some = some.transform("rand_zoom", prob=0.5)
    plain = batches(some.loader(cache="off"))
    for _ in range(2):  # made, then opened
        kept = batches(some)
        for one, other in zip(plain, kept, strict=True):
            assert one["id"] == other["id"]
            assert torch.equal(one["label"], other["label"])
            assert torch.equal(one["image"], other["image"])


def test_kept_images_serve_a_run_and_its_next(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=48)
    off = builder(root, cache="off").build().run(tmp_path / "off")
    first = builder(root).build().run(tmp_path / "first")
    again = builder(root).build().run(tmp_path / "again")
    for run in (first, again):
        assert run.metrics == off.metrics


def test_another_parameter_or_file_is_made_anew(tmp_path: Path) -> None:
    from medpipe.system.cache_folder import cache_directory

    root = image_folder(tmp_path / "data", samples=48)

    def kept() -> int:
        return len([p for p in (cache_directory() / "packed").iterdir() if p.is_dir()])

    builder(root).build().build_loaders()
    builder(root).loader(batch_size=4).build().build_loaders()
    assert kept() == 1
    builder(root).transforms(
        "load_image", "ensure_channel_first", "scale_intensity", "to_tensor"
    ).build().build_loaders()
    assert kept() == 1
    from medpipe import step

    builder(root).transforms(
        step("load_image", axes="hw"), "ensure_channel_first", "scale_intensity", "to_tensor"
    ).build().build_loaders()
    assert kept() == 2
    next(root.rglob("*.png")).unlink()
    builder(root).build().build_loaders()
    assert kept() == 3
