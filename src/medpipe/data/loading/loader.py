"""`Loader`: a `torch.utils.data.DataLoader` that names errors and can start at any batch.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

import gc
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.data import DataLoader

from medpipe.data.cache.device_cache import free_bytes
from medpipe.data.loading.collate import Batch
from medpipe.data.loading.sample_batches import (
    EPOCHS,
    NARROW,
    STANDS_IN,
    Failure,
    SampleBatches,
)
from medpipe.errors import StepError
from medpipe.system.private_api import end_workers, hand_over_failures, worker_exit_codes
from medpipe.system.resource_errors import limit_of, limits_named
from medpipe.system.start_methods import (
    REMEDY,
    StartMethod,
    prepare_server,
    refuse_second_start,
    refuse_unguarded,
    starting_named,
    unguarded_script,
    way_to_start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.queues import Queue

    from medpipe.data.loading.batch_sampler import EpochBatchSampler

logger = logging.getLogger("medpipe")

_LARGE_BLOCK = 31 << 20
"""Bytes; glibc adapts its threshold to freed blocks of up to 32 MiB."""


class Loader(DataLoader[Batch]):
    """A `DataLoader` that raises the error of a sample as it was raised, and can start anywhere.

    Attributes:
        position: The pass and the batch, each counted from 0, that come next, by the batches that
            were returned, not by those that workers have prefetched.
        counts: Whether the last batch has samples of this process; see `BatchKey.counts`.
    """

    position: tuple[int, int] = (0, 0)
    counts: bool = True
    device: torch.device = torch.device("cpu")
    ahead: bool = False

    def start_at(self, position: tuple[int, int]) -> None:
        """Let the next iteration begin there; where the pass is over, with the next one."""
        this_pass, batch = position
        order = cast("EpochBatchSampler", self.batch_sampler)
        order.start = (this_pass, batch) if batch < len(order) else (this_pass + 1, 0)
        self.position = order.start

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with limits_named(ended=self._ended):
            yield from self._batches()

    def _batches(self) -> Iterator[Batch]:
        order = cast("EpochBatchSampler", self.batch_sampler)
        this_pass, batches = order.start
        made = cast("SampleBatches", self.dataset)
        coming: Iterator[Batch | Failure]
        if self.num_workers or self.pin_memory:
            with starting_named():
                coming = super().__iter__()
            made.forget_sent()
        else:  # as torch does, without its bookkeeping for each batch
            coming = map(made.__getitems__, order)
        if self.ahead and self.num_workers == 0 and made.reads:
            coming = _ahead(coming)
        for batch in coming:
            if isinstance(batch, Failure):
                raise batch.kind(batch.message)
            batches += 1
            over = batches == len(order)
            self.position = (this_pass + 1, 0) if over else (this_pass, batches)
            yield self._finished(batch, this_pass)

    def _finished(self, batch: Batch, this_pass: int) -> Batch:
        """Apply the chain's batched stage, on the device."""
        made = cast("SampleBatches", self.dataset)
        batch["image"] = batch["image"].to(self.device, non_blocking=True)
        narrow = batch.pop(NARROW, False)
        self.counts = not batch.pop(STANDS_IN, False)
        finished = made.chain.batched_stage(
            batch,
            training=made.training,
            epoch=batch.pop(EPOCHS),
            narrow=narrow,
            file_of=made.file_of,
        )
        return finished if self.counts else {**finished, "id": []}

    def _ended(self) -> list[int]:
        """The exit codes of the worker processes that have ended."""
        return worker_exit_codes(self._iterator)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        iterator, self._iterator = self._iterator, None
        end_workers(iterator)


def make_loader(
    batches: SampleBatches,
    order: EpochBatchSampler,
    *,
    workers: int,
    device: torch.device,
    ahead: bool = False,
    made_by: type[Loader] = Loader,
) -> Loader:
    """Make the loader of one split.

    Args:
        batches: The samples of one split.
        order: The order of the split.
        workers: Worker processes; they live as long as the loader.
        device: Where the batches will go. On CUDA the images are brought there once, where
            they are kept and take less than a third of the free memory; otherwise memory is
            pinned.
        ahead: Whether a CPU core is left for a thread that reads the next batch of cached images.
            Where torch's threads take them all, they would only wait for each other.
        made_by: The class of the loader.
    """
    _keep_what_is_freed()
    workers, method = _workers(batches, workers)
    cuda = device.type == "cuda"
    resident = cuda and not workers and batches.bring_to(device, free=free_bytes(device))
    loader = made_by(
        batches,
        batch_sampler=order,  # type: ignore[arg-type]  # a whole batch by one key
        num_workers=workers,
        collate_fn=_as_it_is,  # the samples come as a whole batch
        persistent_workers=workers > 0,
        multiprocessing_context=method,
        worker_init_fn=_begin_worker if workers else None,
        pin_memory=cuda and not resident,
        # Its own generator: otherwise building one rewinds torch's, and iterating draws from it.
        generator=torch.Generator().manual_seed(0),
    )
    loader.device = device
    loader.ahead = ahead
    return loader


def _workers(batches: SampleBatches, workers: int) -> tuple[int, StartMethod | None]:
    """How many workers can be started, and how.

    Raises:
        RunError: Each of them would run the script again.
        StepError: Something can't be sent to them.
    """
    refuse_second_start()
    if not workers:
        return 0, None
    way = way_to_start()
    if way.method is None:
        _say_once(way.why_none)
        return 0, None
    if way.method == "fork":
        return workers, way.method
    if way.chosen and (unguarded_script() is not None or batches.not_sent()):
        _say_once(
            "Batches are made without worker processes: outside the main thread none can be "
            "forked safely, and what they need can't be sent to new ones."
        )
        return 0, None
    refuse_unguarded()
    if way.method == "forkserver":
        prepare_server()
    try:
        batches.__getstate__()
    except Exception as error:
        said = batches.not_sent() or f"The samples can't be sent to worker processes: {error}"
        raise StepError(f"{said}. {REMEDY}") from error
    return workers, way.method


_said: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        logger.info(message)


def _begin_worker(_: int) -> None:
    # To look through what the main process made would be to write to it, and so to copy it.
    gc.freeze()
    # torchrun and shells send a signal to the whole group of a process; the run, which is asked to
    # stop, ends its workers itself, when it has saved. Without the run they end within seconds.
    if hasattr(os, "setpgid"):  # Windows has no such groups
        os.setpgid(0, 0)
    hand_over_failures(_hand_over_failure)


def _hand_over_failure(queue: Queue[Any], error: Exception, given: Any) -> None:
    """Put the error into the queue in place of the batch."""
    place, _ = given
    text = " ".join(str(error).split())
    failure = StepError(
        f"A worker process can't hand over its batch: {type(error).__name__}: {text}. Let "
        "transforms add only values that can be pickled to a sample, or set loader.workers = 0."
    )
    queue.put((place, Failure.of(limit_of(error) or failure)))


def _keep_what_is_freed() -> None:
    """Let glibc keep the memory of one batch for the next.

    It gives freed blocks back to the system, and takes them anew page by page, which cost half of
    a batch of cached images. But a process that has freed a large block keeps twice as much for
    itself. So one is freed here, of the largest size that counts, without a page being touched.
    Where the environment has settings of its own, and without glibc, nothing changes.
    """
    import numpy as np

    np.empty(_LARGE_BLOCK, np.uint8)


def _as_it_is(batch: Any) -> Any:
    return batch


def _ahead(batches: Iterator[Batch | Failure]) -> Iterator[Batch | Failure]:
    """Read the next batch in a thread, while the one before is transformed and trained on."""
    with ThreadPoolExecutor(1, "medpipe batches") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch
