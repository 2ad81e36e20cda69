"""`Processes`: what the processes of a run exchange, and how they wait for each other.

torch is imported inside functions.
"""

from __future__ import annotations

import atexit
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from medpipe.distributed.rounds import fresh_store
from medpipe.distributed.wording import line_of
from medpipe.errors import OtherProcessError, TrainingError
from medpipe.system.place import Place, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

Thing = TypeVar("Thing")

NEVER_SENT = 0x6D70
"""The tag of a message that no process sends."""

TIMEOUT = 600.0
"""Seconds that an exchange may take, where no setting says so."""

PATIENCE = 5.0
"""Seconds that a process that was asked to stop goes on waiting for the others."""

PAUSE = 1.0
"""Seconds between two looks at whether another process has failed, where much is done meanwhile."""

_FAILURE = "failure"


class Processes:
    """The processes of a run; without torchrun there is one, and nothing is exchanged.

    Every process calls the same methods in the same order. One that fails says so in torch's
    store, and breaks its connections, in `fail`; wherever the others are, even in a collective of
    torch's own, they then fail too, look there, and raise `OtherProcessError`.

    There are two ways to wait. What takes long, since process 0 alone does it, is waited for by
    looking at torch's store (`meet`): without a time limit, but a failure is seen. An exchange
    within a step is a collective operation of gloo, where all come within the time limit.

    Args:
        here: Which process this is.
        timeout: Seconds that an exchange may take.

    Attributes:
        here: Which process this is.
    """

    def __init__(self, here: Place | None = None, *, timeout: float = TIMEOUT) -> None:
        self.here = here or Place()
        self._timeout = timedelta(seconds=timeout)
        self._kept: Any = None
        self._store: Any = None
        self._control: Any = None
        self._names = 0
        self._starts = 1
        self._signalled: Callable[[], bool] = lambda: False
        self._failed = False
        self._looked = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process writes what all of them have come to."""
        return self.here.leads

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.here.alone

    @property
    def restarted(self) -> bool:
        """Whether torchrun has started the processes anew, on this machine or another.

        Where those of one machine end because of another machine's, it does not count that there.
        """
        return self._starts > 1 or self.here.restart > 0

    def connect(self) -> None:
        """Find the others.

        Raises:
            TrainingError: They can't be reached.
        """
        if self.alone or self._store is not None:
            return
        import torch

        dist = _distributed()
        try:
            whole, _, _ = next(iter(dist.rendezvous("env://", timeout=self._timeout)))
            store, self._starts = fresh_store(whole, self.here, self._timeout.total_seconds())
            self._kept = dist.PrefixStore("medpipe/kept", whole)
            if not dist.is_initialized():
                cuda = torch.cuda.is_available()
                dist.init_process_group(
                    "cpu:gloo,cuda:nccl" if cuda else "gloo",
                    store=dist.PrefixStore("torch", store),
                    rank=self.here.rank,
                    world_size=self.here.world_size,
                    timeout=self._timeout,
                )
                atexit.register(self._disconnect)
            self._control = dist.new_group(backend="gloo", timeout=self._timeout)
        except (RuntimeError, ValueError, TimeoutError) as error:
            raise TrainingError(
                f"Process {self.here.rank} of {self.here.world_size} can't reach the others: "
                f"{line_of(error)}. Check MASTER_ADDR and MASTER_PORT, and GLOO_SOCKET_IFNAME "
                "where a machine has several network interfaces."
            ) from error
        self._store = dist.PrefixStore("medpipe", store)

    def heed(self, signalled: Callable[[], bool]) -> None:
        """Let a signal to stop end a wait for others that have ended already."""
        self._signalled = signalled

    def meet(self) -> None:
        """Wait until every process is here.

        Raises:
            OtherProcessError: One has failed.
        """
        if not self.alone:
            name = self.new("met")
            self._arrive(name)
            self._wait(name, self.here.world_size)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Process 0 goes first, then the first of each other machine, then the rest.

        So what the first ones leave on the disk is there for those that follow.
        """
        if self.alone:
            yield
            return
        first, second = self.new("first"), self.new("second")
        if not self.leads:
            self._wait(first, 1)
            if self.here.local_rank:
                self._wait(second, self.here.machines - 1)
        yield
        if self.leads or not self.here.local_rank:
            self._arrive(first if self.leads else second)

    def share(self, thing: Thing | None = None) -> Thing:
        """Give what process 0 gives to all.

        Args:
            thing: What can be pickled; of the others it is not asked.
        """
        if self.alone:
            return thing  # type: ignore[return-value]  # the only process gives it
        dist = _distributed()
        self.meet()
        things = [thing if self.leads else None]
        dist.broadcast_object_list(things, src=0, group=self._control)
        return things[0]  # type: ignore[return-value]

    def gather(self, thing: Thing) -> list[Thing]:
        """Give what each process gives, by rank, to all."""
        if self.alone:
            return [thing]
        dist = _distributed()
        self.meet()
        things: list[Any] = [None] * self.here.world_size
        dist.all_gather_object(things, thing, group=self._control)
        return things

    def total(self, *numbers: float | torch.Tensor) -> list[float]:
        """Sum up to two numbers over the processes, in float64: a step's short exchange."""
        import torch

        values = torch.zeros(2, dtype=torch.float64)
        for index, number in enumerate(numbers):
            values[index] = number
        _distributed().all_reduce(values, group=self._control)
        sums: list[float] = values.tolist()
        return sums[: len(numbers)]

    def leave(self, name: str, text: str) -> None:
        """Leave a word for the processes that torchrun starts anew after these."""
        if self._kept is not None:
            self._kept.set(name, text)

    def left(self, name: str) -> bool:
        """Whether those before these left a word under a name."""
        return self._kept is not None and bool(self._kept.check([name]))

    def new(self, name: str) -> str:
        """A name in the store that nothing has had before, in all processes the same."""
        self._names += 1
        return f"{name}/{self._names}"

    def tell(self, name: str, text: str) -> None:
        """Leave a word for the others; the first one stays."""
        if self._store is not None:
            self._store.compare_set(name, "", text)

    def told(self, name: str) -> str | None:
        """What a process left under a name, if any did."""
        store = self._store
        if store is None or not store.check([name]):
            return None
        return str(store.get(name).decode())

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all end where one raises an error in the block.

        Raises:
            OtherProcessError: Another process has failed.
        """
        try:
            yield
        except Exception as error:
            raised = self.fail(error)
            if raised is error:
                raise
            raise raised from error

    def look(self) -> None:
        """See, once in a while, that no other process has failed.

        Raises:
            OtherProcessError: One has.
        """
        if time.monotonic() - self._looked >= PAUSE:
            self._looked = time.monotonic()
            self._see_failure()

    def fail(self, error: BaseException) -> BaseException:
        """Tell the others that this process failed, so that all end.

        Returns:
            What to raise: the error, or where another process failed first, that it did. So one
            process alone says what is wrong.
        """
        if self._store is None or self._failed:
            return error
        self._failed = True
        if not isinstance(error, OtherProcessError):
            error = self._told_first(error)
        self._break_off()
        return error

    def _told_first(self, error: BaseException) -> BaseException:
        """Tell the others of an error, or learn that it only follows from theirs."""
        lost = _from_torch(error)
        if lost:
            error = TrainingError(
                f"Process {self.here.rank} lost the others: {line_of(error)}. One of them was "
                "killed, or did not answer in time. What was saved can be resumed."
            )
        try:
            if lost:
                self._await_failure()
            self.tell(_FAILURE, f"{self.here.rank} {type(error).__name__}: {line_of(error)}")
            self._see_failure()  # of two at once the first one is told
        except OtherProcessError as another:
            return another
        except RuntimeError:
            pass  # they have ended already, and with them the store
        return error

    def _break_off(self) -> None:
        """End what others and this process wait for in collectives: they would for minutes.

        gloo has no call for it, but when a wait is over its time, it closes the connections of the
        group.
        """
        import torch

        dist = _distributed()
        another = (self.here.rank + 1) % self.here.world_size
        for group in (dist.group.WORLD, self._control):
            with suppress(RuntimeError, ValueError):
                wait = group.recv([torch.zeros(1)], another, NEVER_SENT).wait
                wait(timedelta(milliseconds=1))

    def await_failure(self) -> None:
        """Raise what another process, which must fail, says of it."""
        self._await_failure()
        raise OtherProcessError("Another process of the run failed.")

    def _disconnect(self) -> None:
        """End the groups and their threads while the interpreter is there, which they need."""
        control, self._control = self._control, None  # the threads end with the last reference
        with suppress(RuntimeError, ValueError):
            if self._failed:
                _distributed().group.WORLD.abort()  # NCCL may wait for another process still
            del control
            _distributed().destroy_process_group()

    def _await_failure(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self._see_failure()
            time.sleep(0.05)

    def _arrive(self, name: str) -> None:
        self._store.add(name, 1)

    def _wait(self, name: str, count: int) -> None:
        if self._failed:
            raise OtherProcessError("An earlier run of these processes failed. Start them anew.")
        pause, asked = 0.001, None
        while self._store.add(name, 0) < count:
            self._see_failure()
            if self._signalled():
                asked = asked or time.monotonic()
                if time.monotonic() - asked > PATIENCE:
                    raise OtherProcessError("Another process ended, and did not say why.")
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def _see_failure(self) -> None:
        """Raise where another process has failed."""
        said = self.told(_FAILURE)
        if said is None:
            return
        rank, _, what = said.partition(" ")
        if int(rank) != self.here.rank:
            raise OtherProcessError(f"Process {rank} failed: {what}")


def _distributed() -> Any:
    """torch.distributed, whose stores it does not declare as its own."""
    import torch.distributed

    return torch.distributed


def _from_torch(error: BaseException) -> bool:
    """Whether it tells that a connection to another process broke."""
    dist = _distributed()

    words = ("gloo", "onnection", "NCCL", "imed out", "ocket")
    return isinstance(error, dist.DistError) or (
        type(error) is RuntimeError and any(word in str(error) for word in words)
    )


ALONE = Processes()
"""The only process of a run."""

_known: list[Processes] = []


def processes(timeout: float = TIMEOUT) -> Processes:
    """The processes of this job, once connected the same for every run in it."""
    here = place()
    if here.alone:
        return ALONE
    if not _known:
        _known.append(Processes(here, timeout=timeout))
        _known[0].connect()
    return _known[0]


def connected() -> bool:
    """Whether this process has found the others: errors are then told by one of them."""
    return bool(_known)
