"""Compute the samples of a packed cache: estimate, chunks, workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.cache.index import Piece
from medpipe.errors import MedpipeError, StepError
from medpipe.system.raised import described
from medpipe.system.resource_errors import limit_of

if TYPE_CHECKING:
    import numpy as np

Produce = Callable[[Sequence[str]], Iterable[tuple["np.ndarray[Any, Any]", Mapping[str, Any]]]]
"""Returns the array and the metadata of each of these samples, in their order."""

TRIAL_SECONDS = 0.1
"""Seconds for which samples are made in the process itself, to estimate their time."""
WORTH_SECONDS = 1.0
"""Seconds of work from which processes are started: starting them takes a tenth of it."""
PIECE_SECONDS = 0.05
PIECE_BYTES = 16 << 20
"""The usual time and the largest size of a worker's task: its memory stays in the CPU's cache, and
no worker waits long for the last one."""


@attrs.frozen(kw_only=True, eq=False)
class Trial:
    """The first samples, with estimates from them for the rest.

    Attributes:
        pieces: What was made.
        count: How many samples that is.
        bytes_each: The mean size of a sample.
        seconds_each: The time for one of the last ones.
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
        limit = limit_of(error)
        if limit is not None:
            raise limit from error
        raise StepError(
            f"Samples could not be made for the packed cache, among them {ids[0]!r}: "
            f"{described(error)}"
        ) from error
    return piece


def try_out(ids: Sequence[str], work: Callable[[Sequence[str]], Piece]) -> Trial:
    """Make the first samples, twice as many each time, until it takes a moment."""
    # The first sample includes the imports, and is not timed.
    pieces: list[Piece] = [work(ids[:1])] if ids else []
    done, seconds_each, started = len(ids[:1]), 0.0, time.perf_counter()
    while done < len(ids) and time.perf_counter() - started < TRIAL_SECONDS:
        begun = time.perf_counter()
        these = ids[done : 2 * done]
        pieces.append(work(these))
        done += len(these)
        seconds_each = (time.perf_counter() - begun) / len(these)
    size = sum(piece.size for piece in pieces)
    return Trial(
        pieces=pieces, count=done, bytes_each=size / max(1, done), seconds_each=seconds_each
    )


def workers_for(count: int, trial: Trial, workers: int) -> int:
    """How many workers are worth starting; with 1 this process does the work."""
    worth = count * trial.seconds_each >= WORTH_SECONDS
    return max(1, min(workers, count)) if worth else 1


def portions(ids: Sequence[str], trial: Trial, *, workers: int) -> list[Sequence[str]]:
    """The ids in pieces of work, each a moment long and not too large for the memory."""
    size = int(
        min(
            PIECE_SECONDS / max(trial.seconds_each, 1e-6),
            PIECE_BYTES / max(trial.bytes_each, 1.0),
            len(ids) / (4 * workers),
        )
    )
    size = max(1, size)
    return [ids[start : start + size] for start in range(0, len(ids), size)]
