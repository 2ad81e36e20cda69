"""Which of torchrun's attempts this is, known to all processes alike.

torchrun's store outlives the processes that it starts anew, and holds the addresses and words of
those that ended. Their number of restarts, as the environment says, can't tell them apart: on a
machine whose processes end because of another machine's, torchrun does not count it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from medpipe.system.place import Place


def attempt_of(store: Any, here: Place, timeout: float) -> int:
    """Let process 0 count the attempts, and tell the number to those that are here now.

    Each process asks under a name that no other ever has, so that neither what it asks nor what it
    is answered can be of another attempt.

    Args:
        store: torchrun's store, the same for all attempts.
        here: Which process this is.
        timeout: Seconds in which all must be here.

    Returns:
        The number, from 1.

    Raises:
        RuntimeError: They are not.
    """
    if not here.leads:
        own = uuid4().hex
        store.set(f"asks/{here.rank}", own)
        number = int(store.get(f"answer/{own}"))  # waits for it
        store.add(f"heard/{number}", 1)
        return number
    number = int(store.add("attempts", 1))
    answered: dict[int, str] = {}
    end = time.monotonic() + timeout
    while store.add(f"heard/{number}", 0) < here.world_size - 1:
        if time.monotonic() > end:
            raise RuntimeError(f"not all of them came within {timeout:g} s")
        for rank in range(1, here.world_size):
            asks = store.get(f"asks/{rank}").decode() if store.check([f"asks/{rank}"]) else ""
            if asks != answered.get(rank, ""):
                store.set(f"answer/{asks}", str(number))
                answered[rank] = asks
        time.sleep(0.01)
    return number
