"""A part of torch's store that no earlier start of the processes has written to."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medpipe.system.place import Place

_PAUSE = 0.02


def fresh_store(store: Any, here: Place, timeout: float) -> tuple[Any, int]:
    """Give the processes of this start a part of the store that has nothing in it yet.

    torchrun keeps its store when it starts processes anew, with all that the earlier ones have
    left. Who reads an address of those waits for a process that has ended. So process 0 takes a
    new number, and tells it to each of the others under a word that this one has just made up.

    Args:
        store: A store of torch that all processes reach.
        here: Which process this is.
        timeout: Seconds to wait for the others.

    Returns:
        That part, and which start this is, from 1.

    Raises:
        TimeoutError: Not all are there by then.
    """
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    end = time.monotonic() + timeout
    if here.leads:
        number = int(store.add("medpipe/starts", 1))
        _tell(store, here, number, end)
    else:
        number = _ask(store, here, end)
    return PrefixStore(f"medpipe/{number}", store), number


def _tell(store: Any, here: Place, number: int, end: float) -> None:
    """Answer whoever asks, until all have the number."""
    answered = set()
    while store.add(f"medpipe/{number}/told", 0) < here.world_size - 1:
        for rank in range(1, here.world_size):
            name = f"medpipe/asks/{rank}"
            word = store.get(name).decode() if store.check([name]) else ""
            if word and word not in answered:  # an old one may be there first
                answered.add(word)
                store.set(f"medpipe/answer/{word}", str(number))
        _wait(end, here)


def _ask(store: Any, here: Place, end: float) -> int:
    word = uuid.uuid4().hex
    store.set(f"medpipe/asks/{here.rank}", word)
    while not store.check([f"medpipe/answer/{word}"]):
        _wait(end, here)
    number = int(store.get(f"medpipe/answer/{word}"))
    store.add(f"medpipe/{number}/told", 1)
    return number


def _wait(end: float, here: Place) -> None:
    if time.monotonic() > end:
        others = "some of the others" if here.leads else "process 0"
        raise TimeoutError(f"{others} did not come in time")
    time.sleep(_PAUSE)
