"""Map chunks of work over all CPU cores, with results in order.

Forked processes do the work where fork is the start method (Linux before Python 3.14): transforms
and decoders hold the GIL, so that threads would not run in parallel, and a chain that is built
can't be sent to a new interpreter. Elsewhere, outside the main thread and in daemonic processes,
forking isn't safe or allowed, and threads are used.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from medpipe.errors import MedpipeError, RunError
from medpipe.system.resource_errors import limit_of
from medpipe.system.start_methods import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

WATCH_SECONDS = 0.5


class LostWorkerError(RunError):
    """A worker process was killed, perhaps for lack of memory."""


@contextmanager
def in_order(
    work: Callable[[Chunk], Result], chunks: Iterable[Chunk], *, workers: int
) -> Iterator[Iterator[Result]]:
    """Start the workers; yields an iterator of the results in the order of the chunks.

    Few results are in memory at any time, whatever the number of chunks. The workers end with
    the block, and with the process.

    Args:
        work: Makes a result, which must pickle; called in several processes, or threads, at once.
        chunks: What it gets.
        workers: How many; with 1 this process does the work itself.

    Raises:
        MedpipeError: What `work` raises, or its nearest base class that takes only a message.
        LostWorkerError: A worker was killed.
    """
    todo = iter(chunks)
    if workers == 1:
        yield (work(chunk) for chunk in todo)
        return
    executor, job = _executor(work, workers)
    try:
        # The processes are forked here, before a progress bar starts a thread of its own.
        ahead = deque(executor.submit(job, chunk) for chunk in itertools.islice(todo, workers))
        yield _in_order(executor, job, ahead, todo, workers)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _in_order(
    executor: Executor,
    job: Callable[[Any], Any],
    ahead: deque[Future[Any]],
    todo: Iterator[Any],
    workers: int,
) -> Iterator[Any]:
    while ahead:
        for chunk in itertools.islice(todo, 2 * workers - len(ahead)):
            ahead.append(executor.submit(job, chunk))
        try:
            result = ahead.popleft().result()
        except BrokenProcessPool as error:
            raise LostWorkerError(
                "A worker process was killed, perhaps for lack of memory."
            ) from error
        if isinstance(result, _Failure):
            raise result.kind(result.message)
        yield result


def _executor(work: Callable[[Any], Any], workers: int) -> tuple[Executor, Callable[[Any], Any]]:
    if not forks():
        return ThreadPoolExecutor(workers), partial(_in_thread, work)
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin_worker,
        initargs=(work, os.getpid()),  # inherited, not pickled
    )
    return executor, _in_worker


@attrs.frozen
class _Failure:
    """An error sent from a worker: its constructor may need more than pickle keeps."""

    kind: type[MedpipeError]
    message: str


_work: Callable[[Any], Any] | None = None


def _begin_worker(work: Callable[[Any], Any], parent: int) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends the work
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if "torch" in sys.modules:
        import torch

        # OpenMP's threads don't survive a fork: with one thread none is asked for.
        torch.set_num_threads(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    """End with the parent, even where it is killed: a worker would wait, and hold its lock."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _in_thread(work: Callable[[Any], Any], chunk: Any) -> Any:
    try:
        return work(chunk)
    except Exception as error:
        named = limit_of(error)
        if named is None or named is error:
            raise
        raise named from error


def _in_worker(chunk: Any) -> Any:
    assert _work is not None
    try:
        return _work(chunk)
    except Exception as error:
        named = limit_of(error) or error
        if not isinstance(named, MedpipeError):
            raise
        # The nearest kind that is made of a message alone.
        kinds = (kind for kind in type(named).__mro__ if "__init__" not in vars(kind))
        return _Failure(next(kind for kind in kinds if issubclass(kind, MedpipeError)), str(named))
