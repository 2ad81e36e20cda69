"""Memory that is kept from step to step: whether it is, when it is not, and that it ends."""

from __future__ import annotations

import pytest
import torch

from medpipe.training import allocation
from medpipe.training.allocation import (
    KEEPING,
    MAPPING,
    MIB,
    USUAL,
    follow_steps,
    kept_memory,
)
from support.allocated import has_mallinfo
from support.programs import python
from support.trainings import BATCHES, made, net

CPU = torch.device("cpu")

STEPS = """
import torch
from medpipe.training.allocation import kept_memory
from support.allocated import kept_bytes, mapped_blocks

torch.set_num_threads(1)

def resident():
    return int(open("/proc/self/statm").read().split()[1])

def step():
    "Take and free four blocks of 16 MiB; how many of them had a mapping, and what is kept."
    before = mapped_blocks()
    held = [torch.ones(4 * 2**20) for _ in range(4)]
    mapped = mapped_blocks() - before
    del held
    return mapped, kept_bytes()

with kept_memory(torch.device("cpu")):
    first, _ = step()
    with kept_memory(torch.device("cpu")):
        pass
    second, kept = step()
    inside = resident()
print(first, second, kept, inside, resident())
"""

GROWTH = """
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from medpipe.training.allocation import follow_steps, kept_memory

torch.set_num_threads(1)
MIB = 2**20

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // MIB

def block(mib):
    return torch.ones(mib * MIB, dtype=torch.uint8)

network = torch.nn.Linear(1, 1)
batches = [{"image": torch.ones(1, 1), "label": torch.ones(1, 1)}] * 2
engine = SupervisedTrainer(
    device=torch.device("cpu"), max_epochs=1, train_data_loader=batches, network=network,
    optimizer=torch.optim.SGD(network.parameters(), lr=0.1), loss_function=torch.nn.MSELoss(),
    decollate=False,
)
held, seen = [], []
engine.add_event_handler(
    IterationEvents.FORWARD_COMPLETED, lambda: held.extend(block(16) for _ in range(8))
)

def backward():
    seen.append(resident())
    del held[::2]  # holes of 16 MiB, for none of which this is small enough
    more = block(24)
    seen.append(resident())
    del more
    seen.append(resident())
    held.clear()

engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, backward)
follow_steps(engine)
starts = []
engine.add_event_handler(Events.ITERATION_STARTED, lambda: starts.append(resident()))
with kept_memory(torch.device("cpu")):
    engine.run()
print(*seen[:3], *starts)
"""

glibc = pytest.mark.skipif(
    not (allocation._is_ours() and has_mallinfo()),
    reason="the memory of this process is not glibc's own to set, or it says nothing of it",
)


@glibc
@pytest.mark.long
def test_steps_take_what_is_kept_and_all_is_given_back_at_the_end() -> None:
    first, second, kept, inside, after = map(int, python(STEPS).split())
    assert first == second == 0
    assert kept >= 4 * 16 * MIB
    assert after < inside - 4 * 4096 / 2


@pytest.mark.long
@glibc
def test_what_a_backward_pass_has_no_room_for_is_given_back_and_the_first_step_whole() -> None:
    forward, more, less, first, second = map(int, python(GROWTH).split())
    assert more > forward + 20
    assert less < forward + 4
    assert second < first + 64  # 128 were kept in the first step


@glibc
@pytest.mark.long
def test_settings_in_the_environment_are_left_alone() -> None:
    # The threshold is glibc's own from the start: without ours, each block is mapped.
    first, second, *_ = map(int, python(STEPS, MALLOC_MMAP_THRESHOLD_="131072").split())
    assert first == second == 4


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, int], ...]]:
    """What would be told to glibc."""
    told: list[tuple[tuple[int, int], ...]] = []
    monkeypatch.setattr(allocation, "_set", told.append)
    monkeypatch.setattr(allocation, "_is_glibc", lambda: True)
    for name in (*allocation.OWN_SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    return told


def test_only_the_outermost_block_counts_also_where_it_fails(
    settings: list[tuple[tuple[int, int], ...]],
) -> None:
    def nested() -> None:
        with kept_memory(CPU), kept_memory(CPU):
            assert settings == [KEEPING]
            raise KeyError

    with pytest.raises(KeyError):
        nested()
    assert settings == [KEEPING, USUAL]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "0", False),
        ("MALLOC_MMAP_MAX_", "1", False),
        ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", False),
        ("GLIBC_TUNABLES", "glibc.rtld.nns=4", True),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2", False),
        ("LD_PRELOAD", "/usr/lib/libgomp.so", True),
    ],
)
def test_whose_memory_it_is(
    settings: list[object], monkeypatch: pytest.MonkeyPatch, name: str, value: str, kept: bool
) -> None:
    monkeypatch.setenv(name, value)
    with kept_memory(CPU):
        assert bool(settings) == kept


def test_other_devices_and_systems_are_left_alone(
    settings: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_memory(torch.device("meta")):
        pass
    monkeypatch.setattr(allocation, "_is_glibc", lambda: False)
    with kept_memory(CPU):
        pass
    assert settings == []


def test_only_the_backward_pass_maps_and_only_the_first_step_is_given_back(
    settings: list[tuple[tuple[int, int], ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[int] = []
    monkeypatch.setattr(allocation, "_trim", lambda: trims.append(len(settings)))
    engine = made(net(), max_epochs=2).engine
    follow_steps(engine)
    engine.run()
    assert (settings, trims) == ([], [])  # no memory is kept
    engine = made(net(), max_epochs=2).engine
    follow_steps(engine)
    with kept_memory(CPU):
        engine.run()
    assert settings == [KEEPING, *[KEEPING, MAPPING] * (2 * BATCHES), USUAL]
    assert trims == [3, len(settings)]
