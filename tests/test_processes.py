"""Work for many chunks: in order, little of it ahead, by processes that mind their own business."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from medpipe.errors import BadDataError, DataError
from medpipe.system import processes
from medpipe.system.processes import LostWorkerError, in_order


@pytest.fixture(params=["processes", "threads"])
def _either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, forked: None) -> None:
    if request.param == "threads":
        monkeypatch.setattr(processes, "forks", lambda: False)


@pytest.mark.usefixtures("_either")
def test_results_come_in_order_and_few_are_made_ahead() -> None:
    taken = []

    def chunks() -> Iterator[int]:
        for chunk in range(40):
            taken.append(chunk)
            yield chunk

    with in_order(lambda chunk: chunk * chunk, chunks(), workers=2) as made:
        assert len(taken) == 2
        for number, result in enumerate(made):
            assert result == number**2
            assert len(taken) <= number + 4
    assert len(taken) == 40


def test_one_worker_is_this_process() -> None:
    with in_order(lambda _: os.getpid(), range(3), workers=1) as made:
        assert list(made) == [os.getpid()] * 3


def test_two_workers_are_others(forked: None) -> None:
    with in_order(lambda _: os.getpid(), range(8), workers=2) as made:
        assert os.getpid() not in set(made)


def test_a_worker_has_one_thread_and_leaves_signals_to_its_parent(forked: None) -> None:
    import torch

    def states(_: int) -> tuple[Any, ...]:
        threads = torch.get_num_threads()
        return threads, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    before, handler = torch.get_num_threads(), signal.signal(signal.SIGTERM, lambda *_: None)
    torch.set_num_threads(2)
    try:
        with in_order(states, range(2), workers=2) as made:
            assert list(made) == [(1, signal.SIG_IGN, signal.SIG_DFL)] * 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        signal.signal(signal.SIGTERM, handler)


def test_an_error_comes_as_the_nearest_kind_that_a_message_makes(forked: None) -> None:
    def work(chunk: int) -> int:
        if chunk == 3:
            raise BadDataError("planted", [], [])
        return chunk

    found = []
    with in_order(work, range(9), workers=2) as made, pytest.raises(DataError) as caught:  # noqa: PT012
        found += [next(made), next(made), next(made)]
        next(made)
    assert found == [0, 1, 2]
    assert type(caught.value) is DataError
    assert "planted" in str(caught.value)


def test_an_error_of_anothers_comes_as_it_is(forked: None) -> None:
    def work(_: int) -> None:
        raise ArithmeticError("planted")

    with in_order(work, range(2), workers=2) as made, pytest.raises(ArithmeticError) as caught:
        list(made)
    assert str(caught.value) == "planted"


def test_a_worker_that_is_killed_is_named(forked: None) -> None:
    with (
        in_order(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(2), workers=2) as made,
        pytest.raises(LostWorkerError, match=r"^A worker process was killed, perhaps for lack of "),
    ):
        list(made)


WAITING = """
import os, time
from medpipe.system.processes import in_order

def work(_):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(3600)

with in_order(work, range(2), workers=2) as made:
    next(made)
"""


def test_workers_end_with_a_parent_that_is_killed(forked: None) -> None:
    parent = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, bufsize=0)
    assert parent.stdout is not None
    with parent.stdout as said:
        workers = [int(said.readline()), int(said.readline())]
        parent.kill()
        parent.wait()
        ended, _, _ = select.select([said], [], [], 60)  # nobody is left to write there
        for worker in [] if ended else workers:
            os.kill(worker, signal.SIGKILL)
    assert ended


def test_what_has_not_begun_when_the_block_is_left_is_not_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "forks", lambda: False)
    begun: list[int] = []
    left = threading.Event()

    def work(chunk: int) -> None:
        begun.append(chunk)
        if chunk:
            left.wait(60)

    with in_order(work, range(9), workers=2) as made:
        next(made)  # by then four are asked for
        deadline = time.monotonic() + 60
        while len(begun) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        threading.Timer(0.2, left.set).start()
    assert sorted(begun) == [0, 1, 2]
