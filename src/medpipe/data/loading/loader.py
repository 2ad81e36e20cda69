"""From samples to batches: plain `torch.utils.data.DataLoader` objects.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import attrs
import torch
from torch.utils.data import DataLoader, Dataset

from medpipe.data.cache.device_cache import DeviceCache, free_bytes
from medpipe.data.chain import sample_dictionary
from medpipe.data.loading.columns import Columns
from medpipe.data.readers.reader import source_of
from medpipe.errors import DataError, LimitError, MedpipeError, RunError, StepError
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
    unsendable,
    way_to_start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.queues import Queue

    import numpy as np

    from medpipe.data.cache.cached_images import CachedImages
    from medpipe.data.chain import Chain
    from medpipe.data.loading.batch_sampler import BatchKey, EpochBatchSampler
    from medpipe.steps import Reading, Sample, Task

logger = logging.getLogger("medpipe")

Batch = dict[str, Any]
_NARROW = "$narrow"
"""Marks images that stand for float32 of the same values."""
_LARGE_BLOCK = 31 << 20
"""Bytes; glibc learns from blocks up to 32 MiB."""


@attrs.frozen
class _Failure:
    """An error on its way from a worker, where torch would bury it in a traceback's text."""

    kind: type[MedpipeError]
    message: str

    @classmethod
    def of(cls, error: MedpipeError) -> _Failure:
        # Not the error itself: its constructor may need more than pickle remembers.
        kinds = (kind for kind in (DataError, RunError, LimitError) if isinstance(error, kind))
        return cls(next(kinds, StepError), str(error))


class SampleBatches(Dataset[Batch]):
    """Makes a whole batch at a time, in whichever process it is asked, but for the batched stage.

    Args:
        samples: The samples of one part.
        chain: The transforms.
        task: What the labels mean.
        reading: How files are decoded.
        training: Whether random transforms apply.
        cached: The results of the chain's cached stage, if they are cached.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        chain: Chain,
        task: Task,
        reading: Reading,
        training: bool,
        cached: CachedImages | None = None,
    ) -> None:
        self.samples = samples
        self.chain = chain
        self.training = training
        self._task = task
        self._reading = reading
        self._cached = cached
        self._resident: DeviceCache | None = None
        self._sent: bytes | None = None

    def __getstate__(self) -> bytes:
        """Pickle once for all workers; they unpack it where an error can be told."""
        if self._sent is None:
            columns = {"_columns", "_rows", "_sent"}
            self._sent = pickle.dumps({k: v for k, v in vars(self).items() if k not in columns})
        return self._sent

    def __setstate__(self, sent: bytes) -> None:
        self._sent = sent

    def forget_sent(self) -> None:
        """Free what was pickled, when all workers have it."""
        self._sent = None

    def _unpack(self) -> None:
        """Take what was sent, in a worker process that was not forked.

        Raises:
            StepError: Something is not what it was where it came from.
        """
        sent, self._sent = self._sent, None
        if sent is None or "chain" in vars(self):
            return
        try:
            vars(self).update(pickle.loads(sent))
        except MedpipeError:
            raise
        except Exception as error:  # whatever a stranger's object raises when it is unpickled
            text = " ".join(str(error).split()) or "no message"
            raise StepError(
                f"A worker process can't take what it was sent: {type(error).__name__}: {text}. "
                "What a transform or a sample holds must be defined at the top level of a module "
                "that workers can import, or set loader.workers = 0."
            ) from error

    def not_sent(self) -> str:
        """What of it can't be sent to a worker process that is not forked; nothing if all can."""
        for title, step in self.chain.steps_for_workers:
            why = unsendable(step)
            if why:
                return f"{title} can't be sent to worker processes: {why}"
        for sample in self.samples:
            why = unsendable(sample)
            if why:
                return f"The sample {sample.id!r} can't be sent to worker processes: {why}"
        return ""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: BatchKey) -> Batch | _Failure:  # type: ignore[override]
        return self.__getitems__(key)

    def __getitems__(self, key: BatchKey) -> Batch | _Failure:
        """The batch of these samples; an error is given back rather than raised."""
        try:
            self._unpack()
            images = self._images(key.places)
            if images is not None:
                return {**self._columns.batch(key.places), "image": images, _NARROW: True}
            places = key.places.tolist()
            return collate([self._one(key.this_pass, place) for place in places], self._task)
        except (MedpipeError, OSError, MemoryError, RuntimeError) as error:
            named = limit_of(error)
            if named is None and not isinstance(error, MedpipeError):
                raise
            return _Failure.of(named or cast("MedpipeError", error))

    @property
    def looks_up(self) -> bool:
        """Whether a batch of cached images is a look-up, with nothing to do for each sample."""
        return self._cached is not None and not self.chain.has_per_sample_stage(
            training=self.training
        )

    @property
    def reads(self) -> bool:
        """Whether a batch is a look-up in a file: it waits for a disk, or copies."""
        return self.looks_up and self._resident is None

    def bring_to(self, device: torch.device, *, free: float) -> bool:
        """Have the images on a device, if a batch is a look-up and they fit.

        Args:
            device: The device.
            free: The bytes that are free there.

        Returns:
            Whether they are there.
        """
        if self._cached is not None and self.looks_up:
            self._resident = DeviceCache.of(self._cached, self._rows, device, free=free)
        return self._resident is not None

    def _images(self, places: np.ndarray[Any, Any]) -> torch.Tensor | None:
        if self._resident is not None:
            return self._resident.stacked(places)
        if self._cached is None or not self.looks_up:
            return None
        return self._cached.stacked(self._rows[places])

    @cached_property
    def _columns(self) -> Columns:
        labels = label_tensor([sample.label for sample in self.samples], self._task)
        return Columns.of(self.samples, labels)

    @cached_property
    def _rows(self) -> np.ndarray[Any, Any]:
        assert self._cached is not None
        return self._cached.rows([sample.id for sample in self.samples])

    def _one(self, this_pass: int, place: int) -> Batch:
        given = sample_dictionary(self.samples[place], self._reading)
        sample = (
            self.chain.cached_stage(given) if self._cached is None else self._cached.sample(given)
        )
        file = source_of(given["image"])
        return self.chain.per_sample_stage(
            sample, training=self.training, epoch=this_pass, file=file
        )

    def file_of(self, sample_id: str) -> str | None:
        """The file of one of the samples, for errors; None where there is none."""
        found = (sample for sample in self.samples if sample.id == sample_id)
        return source_of(next(found).image)


class Loader(DataLoader[Batch]):
    """A `DataLoader` that raises the error of a sample as it was raised, and can start anywhere.

    Attributes:
        position: The pass and the batch, each counted from 0, that come next: by what was taken
            out, not by what workers have made ahead.
    """

    position: tuple[int, int] = (0, 0)
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
        coming: Iterator[Batch | _Failure]
        if self.num_workers or self.pin_memory:
            with starting_named():
                coming = super().__iter__()
            made.forget_sent()
        else:  # what torch would do, without what it notes down about each batch
            coming = map(made.__getitems__, order)
        if self.ahead and self.num_workers == 0 and made.reads:
            coming = _ahead(coming)
        for batch in coming:
            if isinstance(batch, _Failure):
                raise batch.kind(batch.message)
            batches += 1
            over = batches == len(order)
            self.position = (this_pass + 1, 0) if over else (this_pass, batches)
            yield self._finished(batch, this_pass)

    def _finished(self, batch: Batch, this_pass: int) -> Batch:
        """Apply the chain's batched stage, on the device."""
        made = cast("SampleBatches", self.dataset)
        batch["image"] = batch["image"].to(self.device, non_blocking=True)
        narrow = batch.pop(_NARROW, False)
        return made.chain.batched_stage(
            batch,
            training=made.training,
            epoch=this_pass,
            narrow=narrow,
            file_of=made.file_of,
        )

    def _ended(self) -> list[int]:
        """The exit codes of the worker processes that are no more."""
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
) -> Loader:
    """Put samples and their order together.

    Args:
        batches: The samples of one part.
        order: The order of the part.
        workers: Worker processes; they live as long as the loader.
        device: Where the batches will go. On CUDA the images are brought there once, where
            they are kept and take less than a third of the free memory; otherwise memory is
            pinned.
        ahead: Whether a processor is left for a thread that reads the next batch of cached images.
            Where torch's threads take them all, they would only wait for each other.
    """
    _keep_what_is_freed()
    workers, method = _workers(batches, workers)
    cuda = device.type == "cuda"
    resident = cuda and not workers and batches.bring_to(device, free=free_bytes(device))
    loader = Loader(
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
        RunError: Its script would be run again by each of them.
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
    hand_over_failures(_hand_over_failure)


def _hand_over_failure(queue: Queue[Any], error: Exception, given: Any) -> None:
    """Put the error into the queue in place of the batch."""
    place, _ = given
    text = " ".join(str(error).split())
    failure = StepError(
        f"A worker process can't hand over its batch: {type(error).__name__}: {text}. What a "
        "transform adds to a sample must be plain, or set loader.workers = 0."
    )
    queue.put((place, _Failure.of(limit_of(error) or failure)))


def collate(samples: Sequence[Batch], task: Task) -> Batch:
    """Make one batch of samples.

    Args:
        samples: Each with ``image`` of shape (channels, spatial...), ``label`` and ``id``.
        task: What the labels mean.

    Returns:
        ``image`` of shape (batch, channels, spatial...), ``label`` as the task has it (see
        `medpipe.steps.TrainingParts`), and a list for every other key that all samples have.

    Raises:
        DataError: The images don't have one shape; the message names two samples.
    """
    shared = set(samples[0]).intersection(*samples) - {"image", "label", "reading"}
    batch: Batch = {key: [sample[key] for sample in samples] for key in sorted(shared, key=str)}
    batch["image"] = _stacked(samples)
    batch["label"] = label_tensor([sample["label"] for sample in samples], task)
    return batch


def _stacked(samples: Sequence[Batch]) -> torch.Tensor:
    images = [as_tensor(sample["image"]) for sample in samples]
    for sample, image in zip(samples, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"The images {samples[0]['id']!r} {tuple(images[0].shape)} and {sample['id']!r} "
                f"{tuple(image.shape)} leave the transform chain in different shapes and can't be "
                "in one batch. Add a step such as 'resize' with spatial_size, or set "
                "loader.batch_size = 1."
            )
    return torch.stack(images)


def as_tensor(image: Any) -> torch.Tensor:
    """A plain tensor: what a transform gave, without MONAI's metadata."""
    tensor = torch.as_tensor(image)
    return tensor.as_subclass(torch.Tensor) if type(tensor) is not torch.Tensor else tensor


def label_tensor(labels: Sequence[Any], task: Task) -> torch.Tensor:
    """Labels as losses want them: int64 (batch,) for classes, else float32 (batch, outputs)."""
    if task.kind == "multiclass":
        return torch.as_tensor([int(label) for label in labels], dtype=torch.int64)
    values = torch.as_tensor([torch.as_tensor(label).tolist() for label in labels])
    return values.to(torch.float32).reshape(len(labels), len(task.names))


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


def _ahead(batches: Iterator[Batch | _Failure]) -> Iterator[Batch | _Failure]:
    """Read the next batch in a thread, while the one before is transformed and trained on."""
    with ThreadPoolExecutor(1, "medpipe batches") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch
