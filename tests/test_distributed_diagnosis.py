"""What ``medpipe doctor --processes`` says of the processes of a job."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from medpipe.distributed.diagnosis import (
    GLOO,
    LEAST,
    NCCL,
    SLOWEST,
    STORE,
    Tried,
    diagnose,
    lines_of,
)
from medpipe.system.place import place
from support.programs import call
from support.torchrun import torchrun

FAST = Tried(latency=1e-4, bandwidth={"all_reduce": 2e9, "broadcast": 3e9})


def facts(**other: str) -> dict[str, str]:
    known = {
        "machine": "one",
        "python": "3.12.1",
        "medpipe": "0.2",
        "torch": "2.9",
        "device": "cpu",
    }
    return {**known, **other}


def said(*everyone: dict[str, str], **tried: list[Tried]) -> str:
    """What is said of processes on two machines; of gloo nothing is wrong, if not told."""
    ways = {STORE: [Tried(latency=1e-4)], GLOO: [FAST] * len(everyone), **tried}
    return "\n".join(lines_of(everyone, ways, 2))


def test_without_torchrun_it_says_how_to_start_it() -> None:
    done = call("doctor", "--processes")
    assert done.returncode == 2
    assert "torchrun --nproc-per-node 2 -m medpipe doctor --processes" in done.stderr


@pytest.mark.long
def test_two_processes_reach_each_other() -> None:
    done = torchrun("medpipe", "doctor", "--processes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("processes       2 on 1 machine\nprocess 0       ")
    assert done.stdout.count("process 1 ") == 1
    assert "\ngloo            " in done.stdout
    assert "all_reduce" in done.stdout
    assert "blocked" not in done.stdout
    assert "differ" not in done.stdout


@pytest.mark.long
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")
@pytest.mark.parametrize(
    ("arguments", "printed"), [((), "sum: [2.0]"), (("doctor", "--processes"), "all_reduce")]
)
def test_no_thread_of_gloo_outlives_the_interpreter(arguments: Sequence[str], printed: str) -> None:
    # Such a thread, with a tensor in its hands, ends the process by SIGABRT now and then.
    ended = torchrun("support.threads_at_end", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert printed in ended.stdout
    assert ended.stdout.count("threads of gloo: 0") == 2, ended.stdout


@pytest.mark.long
def test_what_is_blocked_is_named_with_what_to_set() -> None:
    done = torchrun("medpipe", "doctor", "--processes", env={"GLOO_SOCKET_IFNAME": "none7"})
    assert done.returncode == 1
    assert "gloo            blocked\n" in done.stdout
    assert "gloo is blocked: process 0 on " in done.stdout
    assert "Set GLOO_SOCKET_IFNAME" in done.stdout


@pytest.mark.long
def test_a_first_machine_that_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    for name, value in {**environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    (line,), blocked = diagnose(place(), limit=1.0)
    assert blocked
    assert line.startswith("store is blocked: process 1 on ")
    assert f"127.0.0.1:{port}" in line
    assert "MASTER_ADDR" in line


def test_processes_that_differ() -> None:
    same = said(facts(), facts(machine="two"))
    assert "differ" not in same
    assert "process 1       two, python 3.12.1, medpipe 0.2, torch 2.9, cpu\n" in same
    other = said(facts(), facts(torch="2.8"), facts())
    assert (
        "The processes differ in torch: 2.9 in process 0, 2; 2.8 in process 1. Install the same "
        "everywhere." in other
    )
    assert other.count("differ") == 1


@pytest.mark.parametrize("name", [GLOO, NCCL])
@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_what_is_slow_is_held_against_bounds(name: str, factor: float) -> None:
    waits = attrs.evolve(FAST, latency=SLOWEST[name] / factor)
    little = attrs.evolve(FAST, bandwidth={"all_reduce": LEAST[name] * factor})
    for one in (waits, little):
        tried: dict[str, Any] = {name: [one, FAST]}
        assert (f"{name} is slow: " in said(facts(), facts(), **tried)) == (factor < 1)


def test_one_process_that_is_blocked_is_named() -> None:
    text = said(facts(), facts(machine="two"), gloo=[FAST, Tried(error="no answer")])
    assert "gloo            blocked\n" in text
    assert "gloo is blocked: process 1 on two: no answer. Set GLOO_SOCKET_IFNAME" in text
