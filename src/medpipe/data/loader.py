"""From samples to batches: plain `torch.utils.data.DataLoader` objects.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from medpipe.data.chain import sample_dictionary
from medpipe.errors import DataError, MedpipeError, StepError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.data.chain import Chain
    from medpipe.data.order import Key, PassOrder
    from medpipe.steps import Reading, Sample, Task

Batch = dict[str, Any]


@attrs.frozen
class _Failure:
    """An error on its way from a worker, where torch would bury it in a traceback's text."""

    kind: type[MedpipeError]
    message: str

    @classmethod
    def of(cls, error: MedpipeError) -> _Failure:
        # Not the error itself: its constructor may need more than pickle remembers.
        return cls(DataError if isinstance(error, DataError) else StepError, str(error))


class SampleBatches(Dataset[Batch]):
    """Makes a whole batch at a time, in whichever process it is asked.

    Args:
        samples: The samples of one part.
        chain: The transforms.
        task: What the labels mean.
        reading: How files are decoded.
        training: Whether random transforms apply.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        chain: Chain,
        task: Task,
        reading: Reading,
        training: bool,
    ) -> None:
        self.samples = samples
        self._chain = chain
        self._task = task
        self._reading = reading
        self._training = training

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Batch | _Failure:  # type: ignore[override]
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch | _Failure:
        """The batch of these samples; an error is given back rather than raised."""
        try:
            return collate([self._one(*key) for key in keys], self._task)
        except MedpipeError as error:
            return _Failure.of(error)

    def _one(self, this_pass: int, index: int) -> Batch:
        sample = sample_dictionary(self.samples[index], self._reading)
        return self._chain(sample, training=self._training, epoch=this_pass)


class Loader(DataLoader[Batch]):
    """A `DataLoader` that raises the error of a sample as it was raised, and can start anywhere.

    Attributes:
        position: The pass and the batch, each counted from 0, that come next: by what was taken
            out, not by what workers have made ahead.
    """

    position: tuple[int, int] = (0, 0)

    def start_at(self, position: tuple[int, int]) -> None:
        """Let the next iteration begin there; where the pass is over, with the next one."""
        this_pass, batch = position
        order = cast("PassOrder", self.batch_sampler)
        order.start = (this_pass, batch) if batch < len(order) else (this_pass + 1, 0)
        self.position = order.start

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        this_pass, batches = cast("PassOrder", self.batch_sampler).start
        for batch in super().__iter__():
            if isinstance(batch, _Failure):
                raise batch.kind(batch.message)
            batches += 1
            self.position = (this_pass, batches)
            yield batch

    def close(self) -> None:
        """End the worker processes, if there are any."""
        # Left to the garbage collector, each would be waited for in vain: the queue that tells it
        # to end may be gone before.
        iterator, self._iterator = self._iterator, None
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()


def make_loader(
    batches: SampleBatches, order: PassOrder, *, workers: int, device: torch.device
) -> Loader:
    """Put samples and their order together.

    Args:
        batches: The samples of one part.
        order: The order of the part.
        workers: Worker processes; they live as long as the loader.
        device: Where the batches will go; memory is pinned for CUDA.
    """
    return Loader(
        batches,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_as_it_is,  # the samples come as a whole batch
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        # Its own generator: otherwise building one rewinds torch's, and iterating draws from it.
        generator=torch.Generator().manual_seed(0),
    )


def collate(samples: Sequence[Batch], task: Task) -> Batch:
    """Make one batch of samples that left the chain.

    Args:
        samples: Each with ``image`` of shape (channels, spatial...), ``label`` and ``id``.
        task: What the labels mean.

    Returns:
        ``image`` of shape (batch, channels, spatial...), ``label`` as the task has it (see
        `medpipe.steps.TrainingParts`), and a list for every other key that all samples have.

    Raises:
        DataError: The images don't have one shape; the message names two samples.
    """
    images = [as_tensor(sample["image"]) for sample in samples]
    for sample, image in zip(samples, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"The images {samples[0]['id']!r} {tuple(images[0].shape)} and {sample['id']!r} "
                f"{tuple(image.shape)} leave the transform chain in different shapes and can't be "
                "in one batch. Add a step such as 'resize' with spatial_size, or set "
                "loader.batch_size = 1."
            )
    shared = set(samples[0]).intersection(*samples) - {"image", "label", "reading"}
    batch: Batch = {key: [sample[key] for sample in samples] for key in sorted(shared, key=str)}
    batch["image"] = torch.stack(images)
    batch["label"] = label_tensor([sample["label"] for sample in samples], task)
    return batch


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


def _as_it_is(batch: Any) -> Any:
    return batch
