"""Private names of PyTorch and multiprocessing that medpipe needs, all in one place.

`tests/test_private_api.py` notices when one of them changes.

- A `DataLoader` has no public API for which of its workers have ended and how, and leaves their
  shutdown to the garbage collector, which may first remove the queue that tells them to end.
- When a worker can't put a batch into its queue (no shared memory, no file handle, an object that
  can't be pickled), multiprocessing only prints the error: the run would wait for that batch for
  ever.
- Files of `torch.save` name the functions that put tensors together; to read one without running
  anything of it, these functions are the only ones that may be called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import Queue


def worker_exit_codes(iterator: object) -> list[int]:
    """The exit codes of the worker processes of a `DataLoader`'s iterator that have ended.

    Args:
        iterator: What iterating over the `DataLoader` gave. Where none of its workers has ended,
            one of them is given a second: a process that is killed loses its connections first.
    """
    from multiprocessing.connection import wait

    workers = getattr(iterator, "_workers", ())  # an iterator without workers has none
    if workers:
        wait([worker.sentinel for worker in workers], timeout=1)
    return [worker.exitcode for worker in workers if worker.exitcode is not None]


def end_workers(iterator: object) -> None:
    """End the worker processes of a `DataLoader`'s iterator, if it has any."""
    shut_down = getattr(iterator, "_shutdown_workers", None)
    if shut_down is not None:
        shut_down()


def hand_over_failures(handler: Callable[[Queue[Any], Exception, Any], None]) -> None:
    """Set the function that handles objects that can't be put into a queue of this process.

    Args:
        handler: Is called with the queue, the error and the object.
    """
    from multiprocessing.queues import Queue

    Queue._on_queue_feeder_error = handler  # type: ignore[attr-defined]


def tensor_makers() -> dict[tuple[str, str], Callable[..., Any]]:
    """The functions by which files of `torch.save` make tensors, by module and name."""
    import torch

    names = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
    return {("torch._utils", name): getattr(torch._utils, name) for name in names}


SUBCLASS_MAKER = ("torch._tensor", "_rebuild_from_type_v2")
"""By which they make tensors of a subclass: from a function of `tensor_makers`, and a state."""
