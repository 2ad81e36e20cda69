"""Batches of kept images: looked up, ahead of time, on any device, and the same in any way."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe import DataError, Registry, RunError
from medpipe.data.cache import device_cache
from medpipe.data.cache.cache import PackedCache
from medpipe.data.cache.cached_images import CachedImages
from medpipe.data.cache.device_cache import DeviceCache
from medpipe.data.cache.writer import PackedWriter
from medpipe.data.chain import Chain
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.data.loading.collate import collate
from medpipe.data.loading.loader import Loader, make_loader
from medpipe.data.loading.sample_batches import Failure, SampleBatches
from medpipe.errors import LimitError
from medpipe.plugin import TransformStep
from medpipe.steps import Reading, Sample, Task
from support.allocated import has_mallinfo
from support.programs import python

COUNT = 23
SHAPE = (1, 6, 5)
NUMBERS = np.random.default_rng(0)
IMAGES = {f"{n:02d}": NUMBERS.integers(0, 256, SHAPE).astype(np.float32) for n in range(COUNT)}
IMAGES["03"][:] = 7  # constant
CPU = torch.device("cpu")


def kept(path: Path, images: Mapping[str, np.ndarray[Any, Any]] = IMAGES) -> CachedImages:
    with PackedWriter(path / "cache", {}) as writer:
        for id_, image in images.items():
            writer.add(id_, image, {})
    return CachedImages(cache=PackedCache(path / "cache"))


def samples(kind: str = "multiclass") -> list[Sample]:
    def extra(number: int) -> dict[str, Any]:
        some = {"site": [f"hospital {number}"]} if number % 3 else {}
        return {"age": number, "image": "not the image", **some}

    labels: dict[str, Any] = {
        "multiclass": lambda number: number % 3,
        "multilabel": lambda number: (float(number % 2), 1.0),
        "regression": lambda number: number / 2,
    }
    return [
        Sample(id=id_, image=image[0], label=labels[kind](number), extra=extra(number))
        for number, (id_, image) in enumerate(IMAGES.items())
    ]


def task(kind: str = "multiclass") -> Task:
    names = {"multiclass": ("a", "b", "c"), "multilabel": ("a", "b"), "regression": ("years",)}
    return Task(kind=kind, names=names[kind])  # type: ignore[arg-type]


def chain(*steps: TransformStep) -> Chain:
    registry = Registry.discover()
    if not steps:
        steps = tuple(registry.create(TransformStep, n) for n in ("scale_intensity", "to_tensor"))
    return Chain([(step.name, step) for step in steps], seed=5)


def batches_of(cached: CachedImages | None, *steps: TransformStep, **changes: Any) -> SampleBatches:
    given: dict[str, Any] = {"samples": samples(), "task": task(), "training": True, **changes}
    return SampleBatches(
        given.pop("samples"), chain=chain(*steps), reading=Reading(), cached=cached, **given
    )


def loader(
    batches: SampleBatches, *, workers: int = 0, seed: int | None = 3, ahead: bool = False
) -> Loader:
    order = EpochBatchSampler(count=len(batches), batch_size=4, seed=seed)
    return make_loader(batches, order, workers=workers, device=CPU, ahead=ahead)


def two_passes(loading: Loader) -> list[dict[str, Any]]:
    return [batch for _ in range(2) for batch in loading]


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    tensors = ("image", "label")
    return (
        one.keys() == other.keys()
        and all(torch.equal(one[name], other[name]) for name in tensors)
        and all(one[name].dtype == other[name].dtype for name in tensors)
        and all(one[name] == other[name] for name in one.keys() - set(tensors))
    )


def one_by_one(kind: str, places: Sequence[int]) -> dict[str, Any]:
    """A batch as it would be collated from dictionaries of its samples."""
    chosen = [samples(kind)[place] for place in places]
    given = [
        {**s.extra, "image": IMAGES[s.id], "label": s.label, "id": s.id, "reading": Reading()}
        for s in chosen
    ]
    return chain().batched_stage(collate(given, task(kind)), training=True, epoch=0)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
def test_a_batch_that_is_looked_up_is_the_collated_one(tmp_path: Path, kind: str) -> None:
    made = batches_of(kept(tmp_path), samples=samples(kind), task=task(kind))
    loading = loader(made)
    order = EpochBatchSampler(count=COUNT, batch_size=4, seed=3)
    for batch, key in zip(loading, order, strict=True):
        places = key.places.tolist()
        assert same(batch, one_by_one(kind, places))
        assert batch["id"] == [f"{place:02d}" for place in places]
        assert batch["age"] == places
        assert set(batch) - {"site"} == {"image", "label", "id", "age"}


def test_a_column_is_there_where_all_samples_of_the_batch_have_it(tmp_path: Path) -> None:
    first, second, *_ = loader(batches_of(kept(tmp_path)), seed=None)
    assert "site" not in first
    assert first["age"] == [0, 1, 2, 3]
    made = batches_of(kept(tmp_path / "again"), samples=samples()[4:6])
    (batch,) = loader(made, seed=None)
    assert batch["site"] == [["hospital 4"], ["hospital 5"]]
    assert "site" not in second


@pytest.mark.parametrize(
    ("workers", "ahead"), [(0, False), (0, True), (1, False), (2, True), (4, True)]
)
def test_workers_change_no_batch_wherever_they_begin(
    tmp_path: Path, workers: int, ahead: bool
) -> None:
    made = batches_of(kept(tmp_path))
    plain = two_passes(loader(made))
    loading = loader(made, workers=workers, ahead=ahead)
    try:
        again = two_passes(loading)
        assert all(map(same, plain, again))
        assert len(again) == len(plain) == 12
        loading.start_at((1, 4))
        assert all(map(same, plain[10:], loading))
        assert loading.position == (2, 0)
        loading.start_at((0, 6))  # the pass is over
        assert all(map(same, plain[6:], loading))
    finally:
        loading.close()


def test_the_next_batch_is_read_ahead_and_not_counted(tmp_path: Path) -> None:
    loading = loader(batches_of(kept(tmp_path)), ahead=True)
    before = threading.active_count()
    batches = iter(loading)
    assert threading.active_count() == before  # nothing before it is asked for
    first = next(batches)
    assert threading.active_count() == before + 1
    assert loading.position == (0, 1)
    del batches
    assert threading.active_count() == before
    loading.start_at((0, 0))
    assert same(next(iter(loading)), first)
    assert loading.position == (0, 1)
    second_pass = list(loading)  # an iteration that was left is a pass all the same
    loading.start_at((1, 0))
    assert all(map(same, second_pass, loading))


def test_an_error_while_reading_ahead_is_raised_in_its_turn(tmp_path: Path) -> None:
    made = batches_of(kept(tmp_path), samples=samples()[:8])
    path = tmp_path / "cache" / "values.bin"
    with path.open("r+b") as file:
        file.truncate(64 * 6)
    batches = iter(loader(made, seed=None, ahead=True))
    assert next(batches)["id"] == ["00", "01", "02", "03"]
    with pytest.raises(RunError) as caught:
        next(batches)
    assert str(caught.value) == (
        f"{path} became shorter while it was in use. Start the run again: it will be made anew."
    )


FREED = """
import torch
from medpipe.data.loading.loader import _keep_what_is_freed
from support.allocated import kept_bytes, mapped_blocks

def steps():
    mapped = 0
    for number in range(3):
        before = mapped_blocks()
        one = torch.ones(2 << 20)  # 8 MB
        held = one - 1, one + 1
        mapped += mapped_blocks() - before
        del one
        held = None
    return mapped, kept_bytes()

_keep_what_is_freed()
print(*steps())
"""


@pytest.mark.long
def test_a_batch_takes_the_memory_of_the_one_before() -> None:
    if not has_mallinfo():
        pytest.skip("needs glibc that says what it keeps")
    if any(name.startswith(("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")) for name in os.environ):
        pytest.skip("memory is allocated in another way here")
    mapped, kept = map(int, python(FREED).split())
    assert mapped == 0
    assert kept >= 24 << 20


@attrs.frozen(kw_only=True)
class Seen(TransformStep):
    """Notes in what type the images come."""

    name: ClassVar[str] = "seen"
    types: list[torch.dtype] = attrs.field(factory=list)

    def build(self) -> Any:
        return lambda sample: sample

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        self.types.append(batch["image"].dtype)
        return batch


@attrs.frozen(kw_only=True)
class SeenNarrow(Seen):
    """The same, for images as they are kept."""

    accepts_integer_images: ClassVar[bool] = True


def test_only_who_says_so_gets_narrow_images(tmp_path: Path) -> None:
    steps = SeenNarrow(), SeenNarrow(), Seen(), SeenNarrow()
    found = kept(tmp_path)
    for chosen in (steps, steps[:2], ()):
        made = batches_of(found, *chosen)
        if not chosen:
            made.chain = Chain([], seed=0)
        order = EpochBatchSampler(count=COUNT, batch_size=COUNT)
        (batch,) = make_loader(made, order, workers=0, device=CPU)
        assert batch["image"].dtype == torch.float32
        assert np.array_equal(batch["image"], np.stack([*IMAGES.values()]))
    assert steps[0].types == steps[1].types == [torch.uint8] * 2
    assert steps[2].types == steps[3].types == [torch.float32]


@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
def test_images_on_the_device_give_the_same_batches(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_cache, "CHUNK", chunk)
    found = kept(tmp_path)
    plain = two_passes(loader(batches_of(found)))
    made = batches_of(found)
    assert made.bring_to(CPU, free=3 * COUNT * 30)
    assert not made.reads
    before = set(threading.enumerate())  # a test that failed may have left one
    for one, other in zip(plain, two_passes(loader(made, ahead=True)), strict=True):
        assert same(one, other)
    started = set(threading.enumerate()) - before
    assert not [thread for thread in started if "medpipe batches" in thread.name]


CLASSES = [0] * (COUNT - 2) + [1, 2]
"""Each of the last two samples comes some seven times in a pass."""


def random_steps(*names: str) -> list[TransformStep]:
    registry = Registry.discover()
    first = registry.create(TransformStep, "ensure_channel_first", {"channel_dim": "no_channel"})
    return [first, *(registry.create(TransformStep, name, {"prob": 1.0}) for name in names)]


def drawn_balanced(
    batches: SampleBatches, batch_size: int, workers: int = 0, start: tuple[int, int] = (0, 0)
) -> dict[tuple[int, str, int], torch.Tensor]:
    """The image of each time that a sample comes, of this pass or of all of two."""
    order, keys = (
        EpochBatchSampler(count=COUNT, batch_size=batch_size, seed=3, classes=CLASSES)
        for _ in range(2)
    )
    loading = make_loader(batches, order, workers=workers, device=CPU)
    loading.start_at(start)
    keys.start = start
    found: dict[tuple[int, str, int], torch.Tensor] = {}
    try:
        for _ in range(2 - start[0]):
            for batch, key in zip(loading, keys, strict=True):
                for place, id_, image in zip(key.places, batch["id"], batch["image"], strict=True):
                    found[key.this_pass, id_, int(place) // COUNT] = image.clone()
    finally:
        loading.close()
    return found


BATCHED = ("rand_gaussian_noise",)
ONE_BY_ONE = ("rand_histogram_shift", "rand_gaussian_noise")


@cache
def balanced(names: tuple[str, ...]) -> dict[tuple[int, str, int], torch.Tensor]:
    return drawn_balanced(batches_of(None, *random_steps(*names)), 4)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> CachedImages:
    return kept(tmp_path_factory.mktemp("balanced"))


@pytest.mark.parametrize("names", [BATCHED, ONE_BY_ONE])
def test_a_sample_that_is_drawn_twice_has_draws_of_its_own_each_time(names: Any) -> None:
    images = balanced(names)
    assert len(images) == 2 * COUNT
    assert max(time for _, _, time in images) >= 4
    assert len({image.numpy().tobytes() for image in images.values()}) == len(images)


@given(
    names=st.sampled_from([BATCHED, ONE_BY_ONE]),
    batch_size=st.integers(1, COUNT),
    cached=st.booleans(),
    start=st.tuples(st.integers(0, 1), st.integers(0, 3)),
)
@settings(max_examples=20, deadline=None)
def test_what_is_drawn_for_a_time_depends_on_nothing_else(
    found: CachedImages,
    names: tuple[str, ...],
    batch_size: int,
    cached: bool,
    start: tuple[int, int],
) -> None:
    first = min(start[1], -(-COUNT // batch_size) - 1)
    made = batches_of(found if cached else None, *random_steps(*names))
    images = drawn_balanced(made, batch_size, start=(start[0], first))
    assert len(images) == (2 - start[0]) * COUNT - first * batch_size
    wrong = [key for key, image in images.items() if not image.equal(balanced(names)[key])]
    assert not wrong


def test_workers_draw_the_same_for_each_time(found: CachedImages) -> None:
    made = batches_of(found, *random_steps(*ONE_BY_ONE))
    images, expected = drawn_balanced(made, 4, workers=2), balanced(ONE_BY_ONE)
    assert images.keys() == expected.keys()
    assert all(image.equal(expected[key]) for key, image in images.items())


def test_images_stay_away_from_a_device_that_they_would_fill(tmp_path: Path) -> None:
    made = batches_of(kept(tmp_path))
    assert not made.bring_to(CPU, free=3 * COUNT * 30 - 3)
    assert made.reads
    assert device_cache.free_bytes(CPU) == 0
    assert not batches_of(None).bring_to(CPU, free=1e12)


def test_patches_are_cut_out_of_the_file_and_not_of_a_device(tmp_path: Path) -> None:
    """A device keeps whole images."""
    registry = Registry.discover()
    parameters = {"spatial_size": (3, 2)}
    cut = registry.create(TransformStep, "rand_spatial_crop_samples", parameters)
    steps = (registry.create(TransformStep, "to_tensor"), cut)
    made = batches_of(kept(tmp_path), *steps)
    assert made.looks_up
    assert not made.bring_to(CPU, free=1e12)
    assert {tuple(batch["image"].shape[1:]) for batch in loader(made)} == {(1, 3, 2)}


@pytest.mark.parametrize(
    "odd", [np.full(SHAPE, 300, np.float32), np.zeros((1, 2, 2), np.float32), np.zeros(SHAPE)]
)
def test_images_of_several_kinds_stay_where_they_are(
    tmp_path: Path, odd: np.ndarray[Any, Any]
) -> None:
    found = kept(tmp_path, {**IMAGES, "odd": odd})
    rows = found.rows([*IMAGES, "odd"])
    assert DeviceCache.of(found, rows, CPU, free=1e12) is None
    assert DeviceCache.of(found, rows[:-1], CPU, free=1e12) is not None


@pytest.mark.usefixtures("forked")
def test_worker_processes_look_nothing_up_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is forked can't use the device of the one before it."""
    made = batches_of(kept(tmp_path))
    monkeypatch.setattr("medpipe.data.loading.loader.free_bytes", lambda _: 1e12)
    brought: list[torch.device] = []

    def bring_to(device: torch.device, *, free: float) -> bool:
        brought.append(device)
        return True

    monkeypatch.setattr(made, "bring_to", bring_to)
    order = EpochBatchSampler(count=COUNT, batch_size=4)
    for workers in (2, 0):
        make_loader(made, order, workers=workers, device=torch.device("cuda"))
        assert len(brought) == (workers == 0)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        MemoryError("no room"),
        RuntimeError("Unable to open /dev/urandom"),
    ],
)
def test_a_limit_in_a_worker_is_handed_over_by_its_name(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(*_: object) -> None:
        raise error

    made = batches_of(kept(tmp_path))
    monkeypatch.setattr(made, "_images", images)
    (key,) = itertools.islice(EpochBatchSampler(count=COUNT, batch_size=4), 1)
    handed_over = made[key]
    assert isinstance(handed_over, Failure)
    assert handed_over.kind is LimitError


def test_images_of_two_shapes_are_no_batch() -> None:
    several = [
        {"image": np.zeros((1, 4, side), np.float32), "label": 0, "id": f"{side}.png"}
        for side in (4, 5)
    ]
    with pytest.raises(DataError) as caught:
        collate(several, task())
    assert str(caught.value) == (
        "The images '4.png' (1, 4, 4) and '5.png' (1, 4, 5) leave the transform chain in different "
        "shapes and can't be in one batch. Add a step such as 'resize' with spatial_size, or set "
        "loader.batch_size = 1."
    )


def test_a_batch_on_the_device_is_a_copy(tmp_path: Path) -> None:
    found = kept(tmp_path)
    there = DeviceCache.of(found, found.rows([*IMAGES]), CPU, free=1e12)
    assert there is not None
    there.stacked(np.arange(4)).zero_()
    assert np.array_equal(there.images, np.stack([*IMAGES.values()]))


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0, 1 / 3])
def test_batches_on_a_gpu_are_those_of_the_processor(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_cache, "SHARE", share)
    found = kept(tmp_path)
    order = EpochBatchSampler(count=COUNT, batch_size=4, seed=3)
    made = batches_of(found)
    on_gpu = make_loader(made, order, workers=0, device=torch.device("cuda"))
    assert made.reads == (share == 0)
    for one, other in zip(loader(batches_of(found)), on_gpu, strict=True):
        assert other["image"].is_cuda
        assert same(one, {**other, "image": other["image"].cpu()})
