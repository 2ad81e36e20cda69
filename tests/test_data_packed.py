"""The packed cache: exact values, whole or not at all, one builder, a limit."""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from faults.disks import Failing, Remembering
from medpipe.data.cache import building, folders, mapped, work
from medpipe.data.cache.building import build_or_open
from medpipe.data.cache.cache import PackedCache
from medpipe.data.cache.folders import (
    PackingError,
    cache_limit,
    folder_of,
    packed_root,
    remove_folder,
)
from medpipe.data.cache.folders import packed_folders as list_folders
from medpipe.data.cache.index import IndexMaker, PackedIndex, Piece, narrowed
from medpipe.data.cache.writer import PackedWriter
from medpipe.errors import DataError, LimitError, MedpipeError, RunError, StepError
from medpipe.system.disk import Disk
from medpipe.system.file_errors import size_text
from medpipe.system.files import through
from medpipe.system.locks import tried
from support.examples import examples

Made = Iterable[tuple[np.ndarray[Any, Any], Mapping[str, Any]]]
IDS = tuple(f"{number}.png" for number in range(40))


def image(sample_id: str) -> np.ndarray[Any, Any]:
    seed = int(sample_id.split(".", 1)[0])
    return np.random.default_rng(seed).integers(0, 256, (1, 6, 5)).astype(np.float32)


def produce(ids: Sequence[str]) -> Made:
    for sample_id in ids:
        yield image(sample_id), {"of": sample_id, "affine": np.eye(3)}


def never(ids: Sequence[str]) -> Made:
    raise AssertionError(f"{ids} are made although the cache is there")


def build(key: str = "key", ids: Sequence[str] = IDS, make: Any = produce) -> PackedCache:
    cache = build_or_open(key, {"steps": "image"}, ids, make, workers=2)
    assert cache is not None
    return cache


def parts() -> list[str]:
    return sorted(path.name for path in packed_root().rglob("*.part"))


def same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """The same shape, type and bits."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    if one.dtype.itemsize <= 8:
        return one.tobytes() == other.tobytes()
    # Long doubles hold bytes that mean nothing.
    parts = [(one.real, other.real), (one.imag, other.imag)]
    return all(
        np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))
        for a, b in parts
    )


TYPES = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?"),
    arrays_of.complex_number_dtypes(endianness="?"),
)
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def array(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = np.dtype(draw(TYPES))
    shape = draw(SHAPES)
    if draw(st.booleans()):
        return draw(arrays_of.arrays(dtype, shape))
    # Whole numbers about the limits of the narrow types, in whatever type they come.
    if dtype.kind == "f" and draw(st.booleans()):
        odd = st.sampled_from([0.0, -0.0, 1.0, 255.0, 0.5, np.inf, np.nan])
        return draw(arrays_of.arrays(dtype, shape, elements=odd, fill=st.nothing()))
    near = st.sampled_from([-32769, -32768, -1, 0, 1, 255, 256, 32767, 32768, 65535, 65536])
    values = draw(arrays_of.arrays(np.int64, shape, elements=near))
    with np.errstate(all="ignore"):
        return values.astype(dtype)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    samples=st.dictionaries(st.text(), st.tuples(array(), JSON), max_size=8),
    mapped=st.booleans(),
)
def test_round_trip(
    samples: dict[str, tuple[np.ndarray[Any, Any], Any]],
    mapped: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("packed") / "cache"
    with PackedWriter(path, {}) as writer:
        for sample_id, (values, meta) in samples.items():
            writer.add(sample_id, values, {"meta": meta})
    cache = PackedCache(path)
    with pytest.MonkeyPatch.context() as patch:
        if mapped:
            patch.delattr(os, "preadv", raising=False)
        _check_all(cache, samples)


def _check_all(cache: PackedCache, samples: dict[str, tuple[np.ndarray[Any, Any], Any]]) -> None:
    assert cache.ids == tuple(samples)
    for sample_id, (values, meta) in samples.items():
        assert same(cache.array(sample_id), values)
        assert cache.dtype(sample_id) == values.dtype
        assert cache.shape(sample_id) == values.shape
        assert cache.meta(sample_id) == {"meta": meta}
        alone = cache.stacked(cache.rows([sample_id, sample_id]))
        assert alone is not None
        assert same(alone.astype(values.dtype)[1, ...], values)
        assert cache.alike(cache.rows([sample_id, sample_id]))
        assert (cache._index.offsets % 64 == 0).all()


@given(values=array())
def test_narrowing_loses_nothing(values: np.ndarray[Any, Any]) -> None:
    narrow = narrowed(values)
    assert narrow.dtype.itemsize <= values.dtype.itemsize
    assert same(narrow.astype(values.dtype), values)


@given(values=array())
@pytest.mark.filterwarnings("error")  # of numbers that a narrow type doesn't hold
def test_narrowing_takes_the_first_type_that_holds_all(values: np.ndarray[Any, Any]) -> None:
    expected = values.dtype
    if values.size and values.dtype.kind in "iuf" and 1 < values.dtype.itemsize <= 8:
        types = [np.dtype(name) for name in ("uint8", "uint16", "int16")]
        if values.dtype == np.float64 or values.dtype.newbyteorder() == np.float64:
            types.append(np.dtype("float32"))
        fitting = (
            each for each in types if each.itemsize < values.dtype.itemsize and _holds(each, values)
        )
        expected = next(fitting, expected)
    assert narrowed(values).dtype == expected


def _holds(narrow: np.dtype[Any], values: np.ndarray[Any, Any]) -> bool:
    if values.dtype.kind in "iu":  # which would come back even from beyond the limits
        limits = np.iinfo(narrow)
        return all(limits.min <= value <= limits.max for value in values.ravel().tolist())
    with np.errstate(all="ignore"):
        back = values.astype(narrow).astype(values.dtype)
    return same(back, values)


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (np.array([0.0, 255.0], np.float32), "uint8"),
        (np.array([0.0, 256.0], np.float32), "uint16"),
        (np.array([-1.0, 256.0], np.float32), "int16"),
        (np.array([-1.0, 40000.0], np.float32), "float32"),
        (np.array([0.5, 1.0], np.float64), "float32"),
        (np.array([256.5, 1.0], np.float32), "float32"),
        (np.array([0.1, 1.0], np.float64), "float64"),
        (np.array([1e300], np.float64), "float64"),
        (np.array([-0.0, 1.0], np.float64), "float32"),
        (np.array([np.nan, 1.0], np.float64), "float32"),
        (np.array([np.inf, -np.inf, 1.0], np.float32), "float32"),
        (np.array([0, 255], np.int64), "uint8"),
        (np.array([-1, 255], np.int32), "int16"),
        (np.array([-1, 5], np.int8), "int8"),
        (np.array([70000], np.int32), "int32"),
        (np.array([3.0], np.float16), "uint8"),
        (np.array([300.0], np.float16), "float16"),
        (np.array([True]), "bool"),
    ],
)
def test_what_is_stored(values: np.ndarray[Any, Any], stored: str) -> None:
    assert narrowed(values).dtype == stored


def test_the_bits_of_nan_stay() -> None:
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    narrow = narrowed(odd)
    assert narrow.astype(np.float64).tobytes() == odd.tobytes()


def test_a_batch_in_the_type_of_the_file(tmp_path: Path) -> None:
    shapes: dict[str, np.ndarray[Any, Any]] = {
        "a": np.array([[1, 2]], np.float32),
        "b": np.array([[3, 400]], np.float32),
        "c": np.array([[5, 6]], np.float32),
        "other shape": np.array([[5], [6]], np.float32),
        "other type": np.array([[5, 6]], np.float64),
    }
    with PackedWriter(tmp_path / "cache", {}) as writer:
        for sample_id, values in shapes.items():
            writer.add(sample_id, values, {})
    cache = PackedCache(tmp_path / "cache")

    def stacked(*ids: str) -> np.ndarray[Any, Any] | None:
        return cache.stacked(cache.rows(ids))

    narrow = stacked("c", "a", "c")
    assert narrow is not None
    assert narrow.dtype == np.uint8
    assert narrow.tolist() == [[[5, 6]], [[1, 2]], [[5, 6]]]
    narrow[:] = 0
    assert cache.array("c").tolist() == [[5, 6]]  # a copy

    mixed = stacked("c", "b", "a")  # uint8 and uint16: in what they were before
    assert mixed is not None
    assert mixed.dtype == np.float32
    assert mixed.tolist() == [[[5, 6]], [[3, 400]], [[1, 2]]]

    assert stacked("a", "other shape") is None
    assert stacked("a", "other type") is None
    assert stacked() is None
    assert cache.alike(cache.rows(["c", "a"]))
    assert not cache.alike(cache.rows(["a", "b"]))


def test_metadata_are_kept_once_and_made_anew() -> None:
    cache = build()
    assert cache.meta("3.png") == {"of": "3.png", "affine": np.eye(3).tolist()}
    cache.meta("3.png")["of"] = "changed"
    assert cache.meta("3.png")["of"] == "3.png"
    other = build("other", IDS, lambda ids: [(image(i), {"affine": np.eye(3)}) for i in ids])
    assert len(other._index._meta_ends) == 1


ALMOST_EQUAL: list[Any] = [
    *(0, False, 0.0, -0.0, "0", None, [0], [0.0], [False], {"0": 0}, {"a": 0, "b": 1}),
    *({"b": 1, "a": 0}, {"tensor": [0.0], "dtype": "float32"}, float("nan"), float("inf")),
    *(np.zeros(1), np.zeros(1, int), np.zeros(1, bool), np.zeros((1, 1)), np.float32(0)),
    *(np.float64(0), np.int64(0), torch.zeros(1), torch.zeros(1, dtype=torch.int64), (0,)),
    *(np.zeros(3000), np.eye(1, 3000, 1500)[0], np.zeros(3000).tobytes().decode()),
]
"""Values that are equal, have the same bytes or the same text, and are not the same in JSON."""


def as_json(meta: Any) -> str:
    """What a sample's metadata are packed as, where it is the only one."""
    piece = Piece()
    piece.add("alone", np.zeros(1), meta)
    return piece.metas[0]


@settings(deadline=None)
@given(st.lists(st.sampled_from(ALMOST_EQUAL) | JSON, max_size=8))
def test_a_sample_has_the_metadata_that_it_has_alone(metas: list[Any]) -> None:
    piece = Piece()
    for number, meta in enumerate([*metas, *ALMOST_EQUAL, *metas]):
        piece.add(str(number), np.zeros(1), {"meta": meta})
    assert piece.metas == [as_json({"meta": meta}) for meta in [*metas, *ALMOST_EQUAL, *metas]]


def test_what_cannot_be_pickled_may_yet_be_packed() -> None:
    class Odd:
        def __reduce__(self) -> str:
            raise TypeError("no pickle")

        def tolist(self) -> list[int]:
            return [1, 2]

    assert as_json({"odd": Odd()}) == '{"odd":[1,2]}'


@given(st.lists(st.tuples(array(), JSON), max_size=8))
@settings(deadline=None)
def test_a_piece_arrives_as_it_was_sent(
    samples: list[tuple[np.ndarray[Any, Any], Any]],
) -> None:
    sent = Piece(found=[])
    for number, (values, meta) in enumerate(samples):
        sent.add(str(number), values, {"meta": meta})
        sent.found.append(number)
    arrived = pickle.loads(pickle.dumps(sent))
    columns = ("ids", "offsets", "kinds", "metas", "size", "found", "content")
    assert all(getattr(arrived, name) == getattr(sent, name) for name in columns)
    assert arrived.size == len(arrived.content)
    arrived.add("more", np.ones(3, np.uint8), {})
    assert arrived.content[arrived.offsets[-1] :] == b"\1\1\1" + bytes(61)


def piece_of(sample_id: str) -> Piece:
    piece = Piece()
    piece.add(sample_id, np.zeros(1), {})
    return piece


def test_what_cannot_be_packed_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StepError, match=r"^The sample 'a' left the chain's cached stage as an arr"),
        PackedWriter(tmp_path / "cache", {}) as writer,
    ):
        writer.add("a", np.array(["text"]), {})
    with (
        pytest.raises(StepError) as caught,
        PackedWriter(tmp_path / "cache", {}) as writer,
    ):
        writer.add("a", np.zeros(1), {"reader": object()})
    assert str(caught.value) == (
        "The metadata of the sample 'a' can't be packed: it holds an object of the type object. "
        "Let the steps give text, numbers, lists and arrays."
    )
    writer = PackedWriter(tmp_path / "cache", {})
    with writer:
        writer.add("a", np.zeros(1), {})
        with pytest.raises(DataError, match=r"^The sample 'a' was packed twice"):
            writer.append(piece_of("a"))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_built_once_then_opened() -> None:
    first = build()
    for cache in (first, build(make=never), pickle.loads(pickle.dumps(first))):
        assert all(same(cache.array(i), image(i)) for i in IDS)
    assert build(ids=IDS[::-1], make=never).ids == IDS  # the order is the file's
    about = json.loads((folder_of("key") / "about.json").read_text())
    assert about["about"] == {"steps": "image"}
    assert about["samples"] == 40
    assert about["values_bytes"] == 40 * 64  # 30 values of one byte, padded
    assert parts() == []


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("processes", [True, False])
def test_many_workers_give_the_same(processes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = build("alone")
    content = (alone.path / "values.bin").read_bytes()
    monkeypatch.setattr(work, "TRIAL_SECONDS", 0)
    monkeypatch.setattr(work, "WORTH_SECONDS", 0)
    if not processes:
        monkeypatch.setattr(sys, "platform", "darwin")
    own = os.getpid()

    def produce_elsewhere(ids: Sequence[str]) -> Made:
        return [(image(i), {"of": i, "here": os.getpid() == own}) for i in ids]

    def try_nothing(ids: Sequence[str], make: Any) -> work.Trial:
        return work.Trial(pieces=[], count=0, bytes_each=64, seconds_each=0.01)

    monkeypatch.setattr(building, "try_out", try_nothing)
    together = build("together", make=produce_elsewhere)
    assert (together.path / "values.bin").read_bytes() == content
    assert together.ids == IDS
    assert together.meta("7.png") == {"of": "7.png", "here": not processes}


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_the_error_of_a_sample_is_raised(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def try_nothing(ids: Sequence[str], make: Any) -> work.Trial:
        return work.Trial(pieces=[], count=0, bytes_each=64, seconds_each=seconds)

    monkeypatch.setattr(building, "try_out", try_nothing)

    def fail(ids: Sequence[str]) -> Made:
        for sample_id in ids:
            if sample_id == "7.png":
                raise DataError("7.png is damaged.")
            yield image(sample_id), {}

    def fail_oddly(ids: Sequence[str]) -> Made:
        raise OSError(28, "an error of a step, not of the cache")

    with pytest.raises(DataError, match=r"^7\.png is damaged\.$"):
        build(make=fail)
    with pytest.raises(StepError, match=r"OSError: .* an error of a step, not of the cache"):
        build(make=fail_oddly)
    assert not folder_of("key").exists()
    assert parts() == []


@pytest.mark.usefixtures("forked")
def test_a_killed_worker_is_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def try_nothing(ids: Sequence[str], make: Any) -> work.Trial:
        return work.Trial(pieces=[], count=0, bytes_each=64, seconds_each=10.0)

    monkeypatch.setattr(building, "try_out", try_nothing)

    def die(ids: Sequence[str]) -> Made:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    assert build_or_open("key", {}, IDS, die, workers=2) is None
    assert caplog.messages[-1] == (
        "The run has no packed cache: A process that made samples for the packed cache was "
        "killed, perhaps for lack of memory. Give the job more memory, or set loader.cache = 'off'."
    )
    assert parts() == []


DAMAGES = {
    "index.npz was changed": lambda path: _flip(path / "index.npz"),
    "values.bin has 100 bytes instead of 2560": lambda path: os.truncate(path / "values.bin", 100),
    "its format is 99, and 3 is the one known": lambda path: (path / "about.json").write_text(
        '{"format": 99}'
    ),
    "list indices must be integers": lambda path: (path / "about.json").write_text("[]"),
    "'format'": lambda path: (path / "about.json").write_text("{}"),
    "about.json": lambda path: (path / "about.json").unlink(),
    "values.bin": lambda path: (path / "values.bin").unlink(),
}


def _flip(path: Path, at: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at % len(content)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_anew(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = build().path
    DAMAGES[damage](path)
    with pytest.raises(RunError, match=r"can't be used: .* Start the run again: it will be made"):
        PackedCache(path)
    cache = build()
    assert all(same(cache.array(i), image(i)) for i in IDS)
    assert "A packed cache is made anew." in caplog.text
    assert damage in caplog.text
    assert parts() == []


@settings(deadline=None, max_examples=examples(60))
@given(at=st.integers(min_value=0))
def test_any_flipped_byte_of_the_index_is_found(
    at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("packed") / "cache"
    with PackedWriter(path, {}) as writer:
        writer.add("a", np.arange(5), {"a": 1})
    _flip(path / "index.npz", at)
    with pytest.raises(RunError, match=r"index\.npz was changed"):
        PackedCache(path)


def test_no_index_is_ever_unpickled(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (tmp_path / "run").mkdir, ()

    maker = IndexMaker()
    with np.load(io.BytesIO(maker.to_bytes(b""))) as arrays:
        columns = dict(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **{**columns, "offsets": np.array([Payload()], object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        PackedIndex.from_bytes(buffer.getvalue())
    assert not (tmp_path / "run").exists()


def test_a_cache_that_another_process_made_meanwhile_stays() -> None:
    def make() -> None:
        with building.new_cache({}, lambda: "own") as writer:
            writer.add("a", np.arange(5), {})
            folders.remove_all_leftovers()  # as another process may at any time

    make()
    first = folder_of("own").stat().st_ino
    make()
    assert folder_of("own").stat().st_ino == first
    assert [folder.key for folder in list_folders()] == ["own"]
    assert PackedCache(folder_of("own")).array("a").tolist() == [0, 1, 2, 3, 4]
    assert parts() == []


def test_a_cache_gets_its_name_under_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(source: Path, target: Path) -> None:
        with tried(folders.lock_of(target.name)) as free:
            assert not free
        raise RunError("it can't be renamed")

    monkeypatch.setattr(building, "rename", rename)
    with (
        pytest.raises(PackingError, match="it can't be renamed"),
        building.new_cache({}, lambda: "own") as writer,
    ):
        writer.add("a", np.arange(5), {})


def test_a_cache_that_is_being_made_is_not_removed() -> None:
    build()
    with tried(folders.lock_of("key")) as free:
        assert free
        assert not remove_folder("key")
    assert folder_of("key").exists()
    assert remove_folder("key")


def test_a_cache_is_removed_by_one_rename_first() -> None:
    build()
    disk = Remembering()
    with through(disk):
        assert remove_folder("key")
    assert (disk.log[0].operation, disk.log[0].source) == ("rename", folder_of("key"))
    build()
    with through(Failing(0, errno.EACCES)):  # as on Windows, where a process has it open
        assert not remove_folder("key")
    assert folder_of("key").exists()


def test_room_is_made_of_leftovers_and_not_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    build("a")
    left = packed_root() / ".b.0123456789ab.part"
    left.mkdir()
    (size,) = (folder.bytes for folder in list_folders())
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", str(size))
    folders.make_room(size, keep="a")
    assert not left.exists()
    assert folder_of("a").exists()
    folders.make_room(size, keep="b")
    assert not folder_of("a").exists()


@pytest.mark.parametrize("content", ["[]", "7", "damaged"])
def test_what_a_cache_says_of_itself_may_be_anything(content: str) -> None:
    (build().path / "about.json").write_text(content)
    (folder,) = list_folders()
    assert folder.about == {}


def test_a_change_of_pace_is_no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = mapped.Pace()
    pace.end()
    monkeypatch.setattr(mapped, "OFTEN", math.inf)
    assert [pace.begin() for _ in range(4)] == [False, False, True, True]
    monkeypatch.setattr(mapped, "OFTEN", 0)
    assert [pace.begin() for _ in range(4)] == [True, True, False, False]


def test_a_task_of_a_worker_is_not_large() -> None:
    trial = work.Trial(pieces=[], count=0, bytes_each=work.PIECE_BYTES / 2, seconds_each=0.0)
    assert {len(ids) for ids in work.portions(IDS, trial, workers=1)} == {2}


def test_too_few_samples_are_no_piece() -> None:
    with pytest.raises(StepError, match="could not be made for the packed cache"):
        work.pack(["a", "b"], lambda _: [(np.zeros(3), {})])


def test_the_values_are_on_the_disk_before_the_cache_has_its_name(tmp_path: Path) -> None:
    disk = Remembering()
    with through(disk), PackedWriter(tmp_path / "cache", {}) as writer:
        writer.add("a", np.arange(5), {})
    done = [(each.operation, each.path.name) for each in disk.log]
    assert done.index(("sync", "values.bin")) < done.index(("rename", disk.log[-2].path.name))
    for place in range(len(done)):
        path = tmp_path / str(place)
        with (
            through(Failing(place, errno.ENOSPC)),
            pytest.raises(PackingError),
            PackedWriter(path, {}) as writer,
        ):
            writer.add("a", np.arange(5), {})


def test_a_cache_of_nothing_can_be_mapped(tmp_path: Path) -> None:
    with PackedWriter(tmp_path / "cache", {}):
        pass
    assert (tmp_path / "cache" / "values.bin").stat().st_size > 0
    assert len(PackedCache(tmp_path / "cache")) == 0


def test_a_limit_of_the_machine_is_named() -> None:
    def produce_nothing(ids: Sequence[str]) -> Made:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(LimitError, match="Too many files are open"):
        work.pack(["a"], produce_nothing)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PackingError), PackedWriter(tmp_path / "file" / "cache", {}):
        pass
    writer = PackedWriter(tmp_path / "cache", {})
    with suppress(ValueError), writer:
        raise ValueError
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_other_samples_under_the_same_key(caplog: pytest.LogCaptureFixture) -> None:
    build()
    cache = build(ids=IDS[:5])
    assert cache.ids == IDS[:5]
    assert "holds other samples. It is made anew." in caplog.text


CHILD = """
import os, sys, time
import numpy as np
from medpipe.data.cache import work as packed_work
from medpipe.data.cache.building import build_or_open
packed_work.TRIAL_SECONDS = 0.02
log = sys.argv[1]
def produce(ids):
    for sample_id in ids:
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {os.getppid()} {sample_id}\\n")
        time.sleep(0.02)
        yield np.full((4, 4), int(sample_id), np.float32), {}
ids = [str(n) for n in range(int(sys.argv[2]))]
cache = build_or_open("key", {}, ids, produce, workers=2)
assert (cache.stacked(cache.rows(ids))[:, 0, 0] == np.arange(len(ids))).all()
"""


def _start(log: Path, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(log), str(count)])


def _wait(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("forked")
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.long
def test_a_killed_build_leaves_nothing_that_opens(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = _start(log, 1000)
    _wait(lambda: log.exists() and len(log.read_text().splitlines()) > 20)
    child.kill()
    child.wait()
    assert not folder_of("key").exists()
    assert len(parts()) == 1
    assert list_folders() == []
    workers = {int(line.split()[0]) for line in log.read_text().splitlines()} - {child.pid}
    assert workers  # it had come to the processes
    _wait(lambda: not any(map(_alive, workers)))  # they don't outlive it, nor its lock
    assert all(same(build().array(i), image(i)) for i in IDS)
    assert parts() == []


def test_two_processes_make_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [_start(log, 60) for _ in range(2)]
    assert [child.wait(120) for child in children] == [0, 0]
    made = [line.split()[2] for line in log.read_text().splitlines()]
    assert sorted(made, key=int) == [str(number) for number in range(60)]  # each once


def test_without_a_place_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "file"))
    assert build_or_open("key", {}, IDS, never, workers=1) is None
    assert caplog.messages == [
        "Nothing is cached, so later runs read all images again. The cache folder "
        f"{tmp_path / 'file'} can't be written: not a directory. A file stands where a folder is "
        "needed: choose another folder with MEDPIPE_CACHE."
    ]


def test_a_full_disk(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Disk):
        def sync(self, path: Path, file: int) -> None:
            raise OSError(28, "No space left on device")

    with through(Full()):
        assert build_or_open("key", {}, IDS, produce, workers=1) is None
    assert caplog.messages == [
        "Nothing is cached, so later runs read all images again. The cache folder "
        f"{folder_of('key').parents[1]} can't be written: no space left on device. Make room on "
        "that disk, or choose another one with MEDPIPE_CACHE."
    ]
    assert not folder_of("key").exists()
    assert parts() == []


def test_a_file_size_limit_while_writing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
import numpy as np
from medpipe.data.cache.building import build_or_open
from medpipe.data.cache.folders import packed_root
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
def produce(ids):
    return [(np.random.default_rng(0).normal(size=50000), {}) for _ in ids]
assert build_or_open("key", {}, [str(n) for n in range(99)], produce, workers=1) is None
names = [p.name for p in packed_root().iterdir() ]
assert not names, names
"""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code.replace(
                ", packed_root\n", "\nfrom medpipe.data.cache.folders import packed_root\n"
            ),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The run has no packed cache" in done.stderr
    assert "can't be written: file too large." in done.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 50 * 10**9),
        ("1234", 1234),
        ("20GB", 20 * 10**9),
        ("1.5 gb", 1_500_000_000),
        ("2 MiB", 2 << 20),
    ],
)
def test_the_limit(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", text)
    assert cache_limit() == size


@pytest.mark.parametrize("text", ["many", "-1", "20 apples"])
def test_a_limit_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", text)
    with pytest.raises(MedpipeError) as caught:
        build()
    assert str(caught.value) == (
        f"MEDPIPE_CACHE_LIMIT is {text!r}, which is not a size. Give bytes, or a number with KB, "
        "MB, GB or TB, such as 20GB."
    )


def test_what_was_used_longest_ago_goes_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number, key in enumerate(["a", "b", "c", "held"]):
        build(key)
        os.utime(folder_of(key) / "about.json", (number, number))
    held = build("held", make=never)
    os.utime(folder_of("held") / "about.json", (0, 0))
    build("a", make=never)  # used again, and let go of
    each = max(folder.bytes for folder in list_folders())

    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", str(4 * each))
    folders.make_room(each, keep="new")
    assert [folder.key for folder in list_folders()] == ["held", "c", "a"]
    folders.make_room(3 * each, keep="new")
    assert [folder.key for folder in list_folders()] == ["held"]  # it is in use
    assert not remove_folder("held")
    assert same(held.array("1.png"), image("1.png"))
    del held
    assert remove_folder("held")

    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", "100")
    with caplog.at_level(logging.WARNING):
        assert build_or_open("key", {}, IDS, produce, workers=1) is None
    assert caplog.messages[-1] == (
        "The run has no packed cache: The packed cache would take about 2.6 KB, more than "
        "the limit of 100 bytes. Set MEDPIPE_CACHE_LIMIT higher to have it."
    )
    assert parts() == []


def test_a_cache_that_grows_beyond_the_limit_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def try_nothing(ids: Sequence[str], make: Any) -> work.Trial:
        return work.Trial(pieces=[], count=0, bytes_each=1.0, seconds_each=0.0)

    monkeypatch.setattr(building, "try_out", try_nothing)
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", "1KB")  # of 2.6, by what nobody knew before
    assert build_or_open("key", {}, IDS, produce, workers=1) is None
    assert caplog.messages[-1] == (
        "The run has no packed cache: The packed cache grew beyond the limit of 1.0 KB. Set "
        "MEDPIPE_CACHE_LIMIT higher to have it."
    )
    assert not folder_of("key").exists()
    assert parts() == []


def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", "9000000TB")
    with pytest.raises(PackingError, match=r"would take about 1000000\.0 TB, but .* free\. Make"):
        folders.make_room(10**18, keep="new")


def test_without_reading_by_place_the_file_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = build()
    batch = cache.stacked(cache.rows(IDS[::3]))
    with monkeypatch.context() as patch:
        patch.delattr(os, "preadv")
        mapped = build(make=never)
        assert all(same(mapped.array(i), image(i)) for i in IDS)
        other = mapped.stacked(mapped.rows(IDS[::3]))
    assert batch is not None
    assert other is not None
    assert same(batch, other)


def test_what_is_read_in_pieces_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = build()
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: preadv(fd, [into[0][:7]], at))
    assert all(same(cache.array(i), image(i)) for i in IDS)


def test_a_file_that_becomes_shorter_is_said() -> None:
    cache = build()
    os.truncate(cache.path / "values.bin", 70)
    assert same(cache.array("0.png"), image("0.png"))
    with pytest.raises(RunError) as caught:
        cache.array("39.png")
    assert str(caught.value) == (
        f"{cache.path / 'values.bin'} became shorter while it was in use. Start the run again: it "
        "will be made anew."
    )


def resident() -> int:
    """The kB of files that count as this process's memory."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    line = next(x for x in status.read_text().splitlines() if x.startswith("RssFile"))
    return int(line.split()[1])


def of_64_mb(path: Path) -> PackedCache:
    with PackedWriter(path, {}) as writer:
        for number in range(64):
            writer.add(str(number), np.full((1 << 20,), number, np.uint8), {})
    return PackedCache(path)


def test_no_page_of_the_file_is_the_process_s_own(tmp_path: Path) -> None:
    cache = of_64_mb(tmp_path / "cache")
    before = resident()
    for _ in range(2):
        assert [int(cache.array(str(number))[-1]) for number in range(64)] == list(range(64))
    assert resident() - before < 8 << 10  # kB, of 64 MB that were read


def read_in_batches(cache: PackedCache, pause: float) -> None:
    for start in range(0, 64, 4):
        rows = np.arange(start, start + 4)
        batch = cache.stacked(rows)
        assert batch is not None
        assert (batch[:, [0, -1]] == rows[:, None]).all()
        time.sleep(pause)


@pytest.mark.long
def test_pages_count_only_while_batches_come_quickly(tmp_path: Path) -> None:
    import torch  # noqa: F401 - its own pages are not meant

    cache = of_64_mb(tmp_path / "cache")
    before = resident()
    read_in_batches(cache, 0.06)
    assert resident() - before < 8 << 10
    for _ in range(3):
        read_in_batches(cache, 0)
    assert resident() - before > 32 << 10
    read_in_batches(cache, 0.06)
    assert resident() - before < 8 << 10


def test_a_large_file_is_never_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "OFTEN", math.inf)
    monkeypatch.setattr(mapped, "SHARE", 1e-9)
    cache = of_64_mb(tmp_path / "cache")
    before = resident()
    for _ in range(3):
        read_in_batches(cache, 0)
    assert resident() - before < 8 << 10


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.lists(arrays_of.arrays(np.float32, (2, 3), elements=st.integers(-9, 400)), min_size=1)
    | st.lists(arrays_of.arrays(np.uint8, (7,)), min_size=1),
    data=st.data(),
    often=st.sampled_from([0, math.inf]),
)
def test_any_rows_in_any_order_at_any_pace(
    values: list[np.ndarray[Any, Any]],
    data: st.DataObject,
    often: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("packed") / "cache"
    with PackedWriter(path, {}) as writer:
        for number, value in enumerate(values):
            writer.add(str(number), value, {})
    cache = PackedCache(path)
    some = st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "OFTEN", often)
        for _ in range(6):
            rows = np.array(data.draw(some))
            for one in (cache, pickle.loads(pickle.dumps(cache))):
                batch = one.stacked(rows)
                assert batch is not None
                whole = batch.astype(one.dtype_of(rows[0]))
                assert same(whole, np.stack([values[row] for row in rows]))
                assert batch.flags.writeable
        assert cache._pace.quick == (often > 0)


def test_a_mapped_file_that_becomes_shorter_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "OFTEN", math.inf)
    cache = build()
    rows = cache.rows(IDS)
    for _ in range(5):
        assert cache.stacked(rows) is not None
    os.truncate(cache.path / "values.bin", 70)
    with pytest.raises(RunError, match=r"values\.bin became shorter while it was in use"):
        cache.stacked(rows)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (241_000_000, "241 MB"),
        (5e13, "50.0 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size_text(count) == text


def test_a_key_is_a_name() -> None:
    with pytest.raises(ValueError, match="is not a key"):
        folder_of("../up")
