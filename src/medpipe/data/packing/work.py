"""Make the samples of a packed cache with all processors.

Processes made by fork do the work on Linux: transforms hold Python's lock, so that threads would
not share it, and a chain of ready objects can't be sent to a new interpreter. Elsewhere forking
isn't safe, and threads do what they can.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.packing.folders import PackingError
from medpipe.data.packing.index import Piece
from medpipe.errors import DataError, MedpipeError, StepError

if TYPE_CHECKING:
    import numpy as np

Produce = Callable[[Sequence[str]], Iterable[tuple["np.ndarray[Any, Any]", Mapping[str, Any]]]]
"""Gives the array and the metadata of each of these samples, in their order."""

TRIAL_SECONDS = 0.25
"""How long samples are made in the process itself, to learn how long they take."""
WORTH_SECONDS = 1.0
"""From how much work on processes are started: they need a tenth of it."""
PIECE_SECONDS = 0.2
PIECE_BYTES = 16 << 20
"""A task of a worker is about so long, and not larger: the bar moves, memory stays small."""
WATCH_SECONDS = 0.5


@attrs.frozen(kw_only=True, eq=False)
class Trial:
    """The first samples, and what they tell of the rest.

    Attributes:
        pieces: What was made.
        count: How many samples that is.
        bytes_each: The mean size of a sample.
        seconds_each: The time for one of the last ones: the first wait for imports.
    """

    pieces: list[Piece]
    count: int
    bytes_each: float
    seconds_each: float


def pack(ids: Sequence[str], produce: Produce) -> Piece:
    """Make samples and put them together.

    Raises:
        MedpipeError: What `produce` raises; another exception becomes a `StepError`.
    """
    piece = Piece()
    try:
        for sample_id, (array, meta) in zip(ids, produce(ids), strict=True):
            piece.add(sample_id, array, meta)
    except MedpipeError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or "no message"
        raise StepError(
            f"Samples could not be made for the packed cache, among them {ids[0]!r}: "
            f"{type(error).__name__}: {text}"
        ) from error
    return piece


def try_out(ids: Sequence[str], produce: Produce) -> Trial:
    """Make the first samples, twice as many each time, until it takes a moment."""
    pieces: list[Piece] = []
    done, seconds_each, started = 0, 0.0, time.perf_counter()
    while done < len(ids) and time.perf_counter() - started < TRIAL_SECONDS:
        begun = time.perf_counter()
        these = ids[done : 2 * done + 1]
        pieces.append(pack(these, produce))
        done += len(these)
        seconds_each = (time.perf_counter() - begun) / len(these)
    size = sum(len(piece.content) for piece in pieces)
    return Trial(
        pieces=pieces, count=done, bytes_each=size / max(1, done), seconds_each=seconds_each
    )


def workers_for(count: int, trial: Trial, workers: int) -> int:
    """How many workers are worth starting; 1: none, the process does it."""
    worth = count * trial.seconds_each >= WORTH_SECONDS
    return max(1, min(workers, count)) if worth else 1


@contextmanager
def making(
    ids: Sequence[str], produce: Produce, trial: Trial, *, workers: int
) -> Iterator[Iterator[Piece]]:
    """Start the workers; gives their pieces in the order of the ids.

    Args:
        ids: The samples.
        produce: Makes them.
        trial: What is known about them.
        workers: As `workers_for` has it.
    """
    size = int(
        min(
            PIECE_SECONDS / max(trial.seconds_each, 1e-6),
            PIECE_BYTES / max(trial.bytes_each, 1.0),
            len(ids) / (4 * workers),
        )
    )
    size = max(1, size)
    chunks = iter([ids[start : start + size] for start in range(0, len(ids), size)])
    if workers == 1:
        yield (pack(chunk, produce) for chunk in chunks)
        return
    executor, work = _executor(produce, workers)
    try:
        # The processes are forked here, before the bar starts a thread of its own.
        ahead = deque(executor.submit(work, chunk) for chunk in itertools.islice(chunks, workers))
        yield _in_order(executor, work, ahead, chunks, workers)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


Work = Callable[[Sequence[str]], "Piece | _Failure"]


def _in_order(
    executor: Executor,
    work: Work,
    ahead: deque[Future[Piece | _Failure]],
    chunks: Iterator[Sequence[str]],
    workers: int,
) -> Iterator[Piece]:
    while ahead:
        # Few are in memory, whatever the number of samples.
        for chunk in itertools.islice(chunks, 2 * workers - len(ahead)):
            ahead.append(executor.submit(work, chunk))
        try:
            result = ahead.popleft().result()
        except BrokenProcessPool as error:
            raise PackingError(
                "A process that made samples for the packed cache was killed, perhaps for want of "
                "memory."
            ) from error
        if isinstance(result, _Failure):
            raise result.kind(result.message)
        yield result


def _executor(produce: Produce, workers: int) -> tuple[Executor, Work]:
    if not sys.platform.startswith("linux") or multiprocessing.current_process().daemon:
        return ThreadPoolExecutor(workers), lambda ids: pack(ids, produce)
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin_worker,
        initargs=(produce, os.getpid()),  # inherited, not pickled
    )
    return executor, _in_worker


@attrs.frozen
class _Failure:
    """An error on its way from a worker: its constructor may need more than pickle remembers."""

    kind: type[MedpipeError]
    message: str


_produce: Produce | None = None


def _begin_worker(produce: Produce, parent: int) -> None:
    global _produce
    _produce = produce
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the work
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


def _in_worker(ids: Sequence[str]) -> Piece | _Failure:
    assert _produce is not None
    try:
        return pack(ids, _produce)
    except MedpipeError as error:
        kinds: tuple[type[MedpipeError], ...] = (DataError, PackingError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), StepError)
        return _Failure(kind, str(error))
