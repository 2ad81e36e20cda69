"""Try what the processes of a run exchange: is it blocked, is it slow, do they differ?

What they find they tell each other through torch's store, which needs one port of one machine.
torch is imported inside functions.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.distributed.rounds import fresh_store
from medpipe.distributed.wording import line_of
from medpipe.system.text import counted
from medpipe.system.versions import versions

if TYPE_CHECKING:
    import torch

    from medpipe.system.place import Place

LIMIT = 20.0
"""Seconds after which what does not answer counts as blocked."""
LARGE = 32_000_000
"""Bytes of a large message: the gradients of a DenseNet121."""
COMPARED = ("python", "medpipe", "torch")
"""What must be the same in all processes."""
STORE, GLOO, NCCL = "store", "gloo", "NCCL"
SLOWEST = {STORE: 0.05, GLOO: 0.005, NCCL: 0.001}
"""Seconds for a short message, above which it is slow: a step waits for two or three of them."""
LEAST = {GLOO: 0.1e9, NCCL: 1e9}
"""Bytes a second of a large message, below which it is slow: a step sends all gradients."""
REMEDIES = {
    STORE: "Let MASTER_ADDR name the first machine by an address that the others reach (torchrun "
    "--rdzv-endpoint HOST:PORT), and open the port in its firewall.",
    GLOO: "Set GLOO_SOCKET_IFNAME on every machine to the network interface between them, such as "
    "eth0 (ip addr lists them), and open all TCP ports between the machines: gloo takes free ones.",
    NCCL: "Set NCCL_SOCKET_IFNAME on every machine to the network interface between them, such as "
    "eth0 (ip addr lists them), and open all TCP ports between the machines. NCCL_DEBUG=INFO says "
    "what it tries.",
}

Facts = Mapping[str, str]


@attrs.frozen(kw_only=True)
class Tried:
    """What came of one way to exchange.

    Attributes:
        latency: Seconds for a short message.
        bandwidth: Bytes a second of large messages, by operation.
        error: Why it did not work; empty: it did.
    """

    latency: float = 0.0
    bandwidth: Mapping[str, float] = attrs.field(factory=dict)
    error: str = ""


class Board:
    """Where each process leaves what the others read.

    Args:
        store: Of torch.
        here: Which process this is.
    """

    def __init__(self, store: Any, here: Place) -> None:
        self._store, self._here = store, here

    def leave(self, name: str, content: Any) -> None:
        """Leave plain data under a name."""
        self._store.set(f"{name}/{self._here.rank}", json.dumps(content))

    def read(self, name: str, rank: int, limit: float) -> Any:
        """What a process left; None where it left nothing in so many seconds."""
        key, end = f"{name}/{rank}", time.monotonic() + limit
        while not self._store.check([key]):
            if time.monotonic() > end:
                return None
            time.sleep(0.02)
        return json.loads(self._store.get(key))

    def read_all(self, name: str, limit: float) -> list[Any]:
        """What each left, by rank; all of them have the same time."""
        end = time.monotonic() + limit
        ranks = range(self._here.world_size)
        return [self.read(name, rank, max(0.0, end - time.monotonic())) for rank in ranks]

    def latency(self) -> float:
        """Seconds that it takes to read a word."""
        return _seconds(lambda: self._store.add("read", 0), 50)


def diagnose(here: Place, limit: float = LIMIT) -> tuple[list[str], bool]:
    """Try what a run does between these processes; called in each.

    Args:
        here: Which process this is.
        limit: Seconds after which what does not answer counts as blocked.

    Returns:
        The lines to print, in process 0 and where it can't be reached; whether something is
        blocked, in each.
    """
    import torch.distributed

    dist: Any = torch.distributed  # which does not declare `rendezvous` as its own
    try:
        whole, _, _ = next(iter(dist.rendezvous("env://", timeout=timedelta(seconds=limit))))
        store, _ = fresh_store(whole, here, 3 * limit)  # some start later than others
    except (RuntimeError, ValueError, TimeoutError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        why = f"process {here.rank} on {platform.node()} looked at {where}: {line_of(error)}"
        return [blocked_line(STORE, [why])], True
    board = Board(store, here)
    board.leave("facts", facts())
    everyone = board.read_all("facts", limit)
    if None in everyone:
        late = [f"process {rank} is silent" for rank, it in enumerate(everyone) if it is None]
        return [blocked_line(STORE, late)] if here.leads else [], True
    tried = {STORE: [Tried(latency=board.latency())]}
    ways: dict[str, Callable[[], Tried]] = {GLOO: lambda: _over_gloo(store, here, limit)}
    if all("cuda" in one["device"] for one in everyone):
        ways[NCCL] = lambda: _over_nccl(limit)
    for name, way in ways.items():
        board.leave(name, attrs.asdict(_within(limit, way)))
        results = board.read_all(name, 2 * limit)
        tried[name] = [Tried(**result) if result else _silent(limit) for result in results]
        if any(one.error for one in tried[name]):
            break
    blocked = any(one.error for some in tried.values() for one in some)
    if not blocked:
        dist.destroy_process_group()  # its threads need the interpreter, to the last message
    board.leave("end", None)
    if here.leads:
        board.read_all("end", limit)  # the store ends with this process
    return lines_of(everyone, tried, here.machines) if here.leads else [], blocked


def facts() -> dict[str, str]:
    """The machine and the versions of this process."""
    from medpipe.errors import DeviceError
    from medpipe.system.hardware import choose_device

    try:
        device = str(choose_device("auto")[0])
    except DeviceError as error:
        device = f"no device ({error})"
    known = versions()
    return {
        "machine": platform.node(),
        **{name: known.get(name, "none") for name in COMPARED},
        "device": device,
    }


def lines_of(
    everyone: Sequence[Facts], tried: Mapping[str, Sequence[Tried]], machines: int
) -> list[str]:
    """What to print: the processes, what was measured, and what is wrong.

    Args:
        everyone: The facts of each process, by rank.
        tried: What came of each way, by rank.
        machines: On how many they are.
    """
    lines = [f"{'processes':16}{len(everyone)} on {counted(machines, 'machine')}"]
    for rank, one in enumerate(everyone):
        said = ", ".join(f"{name} {one[name]}" for name in COMPARED)
        lines.append(f"{f'process {rank}':16}{one['machine']}, {said}, {one['device']}")
    wrong = list(_differences(everyone))
    for name, some in tried.items():
        failed = [
            f"process {rank} on {everyone[rank]['machine']}: {one.error}"
            for rank, one in enumerate(some)
            if one.error
        ]
        if failed:
            lines.append(f"{name:16}blocked")
            wrong.append(blocked_line(name, failed))
        else:
            lines.append(f"{name:16}{_measures(some[0])}")
            wrong += _slow(name, some[0])
    if NCCL not in tried and not wrong:
        lines.append(f"{NCCL:16}not tried: not every process has a GPU")
    return [*lines, *wrong]


def blocked_line(name: str, why: Sequence[str]) -> str:
    """That a way is blocked, why, and what to set."""
    return f"{name} is blocked: {'; '.join(why)}. {REMEDIES[name]}"


def _differences(everyone: Sequence[Facts]) -> list[str]:
    lines = []
    for name in COMPARED:
        ranks: dict[str, list[str]] = {}
        for rank, one in enumerate(everyone):
            ranks.setdefault(one[name], []).append(str(rank))
        if len(ranks) > 1:
            said = "; ".join(f"{what} in process {', '.join(some)}" for what, some in ranks.items())
            lines.append(f"The processes differ in {name}: {said}. Install the same everywhere.")
    return lines


def _measures(one: Tried) -> str:
    large = [f"{name} {_rate(rate)}" for name, rate in one.bandwidth.items()]
    return ", ".join([f"{_milliseconds(one.latency)} for a short message", *large])


def _slow(name: str, one: Tried) -> list[str]:
    lines = []
    if one.latency > SLOWEST[name]:
        lines.append(
            f"{name} is slow: a short message takes {_milliseconds(one.latency)}, and more than "
            f"{_milliseconds(SLOWEST[name])} hold up every step. {REMEDIES[name]}"
        )
    lines += [
        f"{name} is slow: {operation} moves {_rate(rate)}, and below {_rate(LEAST[name])} the "
        f"gradients hold up every step. {REMEDIES[name]}"
        for operation, rate in one.bandwidth.items()
        if rate < LEAST[name]
    ]
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


def _rate(rate: float) -> str:
    return f"{rate / 1e9:.2f} GB/s"


def _over_gloo(store: Any, here: Place, limit: float) -> Tried:
    import torch
    import torch.distributed as dist

    dist.init_process_group(
        "gloo",
        store=store,
        rank=here.rank,
        world_size=here.world_size,
        timeout=timedelta(seconds=limit),
    )
    return _measured(None, torch.device("cpu"))


def _over_nccl(limit: float) -> Tried:
    import torch.distributed as dist

    from medpipe.system.hardware import choose_device

    group = dist.new_group(backend="nccl", timeout=timedelta(seconds=limit))
    return _measured(group, choose_device("auto")[0])


def _measured(group: Any, device: torch.device) -> Tried:
    """Times of the collective operations of a step and of the start of a run."""
    import torch
    import torch.distributed as dist

    short = torch.zeros(3, dtype=torch.float64, device=device)
    long = torch.zeros(LARGE // 4, device=device)

    def meet() -> None:
        dist.all_reduce(short, group=group)
        short.cpu()  # it waits for the device

    def large(operation: Callable[[], object]) -> float:
        def both() -> None:
            operation()
            meet()

        return LARGE / _seconds(both, 2)

    return Tried(
        latency=_seconds(meet, 50),
        bandwidth={
            "all_reduce": large(lambda: dist.all_reduce(long, group=group)),
            "broadcast": large(lambda: dist.broadcast(long, 0, group=group)),
        },
    )


def _seconds(do: Callable[[], object], times: int) -> float:
    """Seconds of one of several, after one that is not counted."""
    do()
    began = time.perf_counter()
    for _ in range(times):
        do()
    return (time.perf_counter() - began) / times


def _within(limit: float, way: Callable[[], Tried]) -> Tried:
    """What came of a way to exchange that may fail, or never return."""
    found: list[Tried] = []

    def try_it() -> None:
        try:
            found.append(way())
        except Exception as error:  # whatever a backend raises is what is wrong
            found.append(Tried(error=line_of(error)))

    # Operations have the limit themselves, but who waits to be connected to may wait for ever.
    thread = Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(limit)
    return found[0] if found else _silent(limit)


def _silent(limit: float) -> Tried:
    return Tried(error=f"no answer within {limit:.0f} s")
