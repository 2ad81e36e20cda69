"""Which samples come when: known values, laws, and where an iteration begins."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.data.loading.batch_sampler import (
    BatchKey,
    EpochBatchSampler,
    _sorting,
    epochs_of,
)
from medpipe.system.random_state import random_key


def balanced_one_by_one(classes: list[int], *, seed: int, this_pass: int) -> list[int]:
    """Balanced sampling as it is meant: a class for each place, then one of its samples."""
    bits = np.random.PCG64(random_key(seed, this_pass, "order", 0))
    members = [[i for i, c in enumerate(classes) if c == number] for number in sorted({*classes})]
    rows = [members[int(draw) % len(members)] for draw in bits.random_raw(len(classes))]
    return [
        row[int(draw) % len(row)]
        for row, draw in zip(rows, bits.random_raw(len(classes)), strict=True)
    ]


@given(
    classes=st.lists(st.integers(-3, 9), min_size=1, max_size=50),
    seed=st.integers(0, 2**32),
    this_pass=st.integers(0, 9),
)
def test_balanced_sampling(classes: list[int], seed: int, this_pass: int) -> None:
    order = EpochBatchSampler(count=len(classes), batch_size=4, seed=seed, classes=classes)
    expected = balanced_one_by_one(classes, seed=seed, this_pass=this_pass)
    found = order.order(this_pass)
    assert (found % len(classes)).tolist() == expected
    assert (found // len(classes)).tolist() == [
        expected[:place].count(one) for place, one in enumerate(expected)
    ]


@given(
    passes=st.integers(1, 30),
    patches=st.integers(1, 5),
    times=st.integers(1, 40),
    start=st.integers(0, 10**6),
)
def test_each_time_that_a_sample_comes_has_an_epoch_of_its_own(
    passes: int, patches: int, times: int, start: int
) -> None:
    of_pass = {
        number: epochs_of(number, np.arange(times), patches).tolist()
        for number in range(start, start + passes)
    }
    together = [epoch for epochs in of_pass.values() for epoch in epochs]
    assert len(set(together)) == len(together)
    for number, epochs in of_pass.items():
        few = min(times, patches)
        assert epochs[:few] == [number * patches + time for time in range(few)]
        assert BatchKey(number, np.arange(times) * 7 + 3).epochs(7, patches) == epochs


def test_the_order_is_what_it_always_was() -> None:
    order = EpochBatchSampler(count=10, batch_size=4, seed=7)
    assert order.order(0).tolist() == [2, 9, 0, 6, 1, 4, 3, 7, 8, 5]
    assert order.order(1).tolist() == [5, 9, 3, 0, 7, 1, 8, 4, 2, 6]
    classes = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2]
    balanced = EpochBatchSampler(count=10, batch_size=4, seed=7, classes=classes)
    assert balanced.order(0).tolist() == [8, 3, 18, 9, 6, 5, 4, 19, 7, 15]


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    drop_last=st.booleans(),
    seed=st.none() | st.integers(0, 99),
    data=st.data(),
)
def test_batches_cut_the_order_and_may_begin_anywhere(
    count: int, batch_size: int, drop_last: bool, seed: int | None, data: st.DataObject
) -> None:
    order = EpochBatchSampler(count=count, batch_size=batch_size, drop_last=drop_last, seed=seed)
    passes = [[key.places.tolist() for key in order] for _ in range(3)]
    for number, batches in enumerate(passes):
        whole = order.order(number).tolist()
        assert sorted(whole) == list(range(count))
        assert [place for batch in batches for place in batch] == whole[: sum(map(len, batches))]
        assert len(batches) == len(order)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert drop_last or sum(map(len, batches)) == count
    start = data.draw(st.tuples(st.integers(0, 2), st.integers(0, max(0, len(order) - 1))))
    order.start = start
    keys = list(order)
    assert [key.places.tolist() for key in keys] == passes[start[0]][start[1] :]
    assert {key.this_pass for key in keys} <= {start[0]}
    assert order.start == (start[0] + 1, 0) or not len(order)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_key_is_small_wherever_it_goes(seed: int | None) -> None:
    order = EpochBatchSampler(count=100_000, batch_size=512, seed=seed)
    key = next(iter(order))
    assert isinstance(key, BatchKey)
    sent = pickle.dumps(key)
    assert len(sent) < 512 * 8 + 500  # not the whole pass
    there = pickle.loads(sent)
    assert there.this_pass == 0
    assert (there.places == key.places).all()


@given(draws=st.lists(st.integers(0, 3) | st.integers(0, 2**64 - 1), max_size=60))
def test_equal_draws_keep_their_order(draws: list[int]) -> None:
    found = _sorting(np.array(draws, np.uint64))
    assert found.tolist() == sorted(range(len(draws)), key=draws.__getitem__)
