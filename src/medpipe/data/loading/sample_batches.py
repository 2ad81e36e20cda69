"""`SampleBatches`: the torch data set that makes a whole batch at a time.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import pickle
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import attrs
from torch.utils.data import Dataset

from medpipe.data.cache.cached_patches import Patch
from medpipe.data.cache.device_cache import DeviceCache
from medpipe.data.chain import sample_dictionary
from medpipe.data.loading.collate import Batch, collate
from medpipe.data.loading.columns import Columns
from medpipe.data.readers.reader import source_of
from medpipe.errors import DataError, LimitError, MedpipeError, RunError, StepError
from medpipe.system.raised import described
from medpipe.system.resource_errors import limit_of
from medpipe.system.start_methods import (
    unsendable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    from medpipe.data.cache.cached_images import CachedImages
    from medpipe.data.chain import Chain
    from medpipe.data.loading.batch_sampler import BatchKey
    from medpipe.steps import Reading, Sample, Task


NARROW = "$narrow"
"""The key that marks images as float32 values stored in a narrower type."""
EPOCHS = "$epochs"
"""The key of the epoch of each sample for random steps; see `BatchKey.epochs`."""
STANDS_IN = "$stands_in"
"""The key of a batch whose sample is another process's; see `BatchKey.counts`."""


@attrs.frozen
class Failure:
    """An error sent from a worker; torch would turn it into the text of a traceback."""

    kind: type[MedpipeError]
    message: str

    @classmethod
    def of(cls, error: MedpipeError) -> Failure:
        """Record an error by its class and its message."""
        # Not the error itself: its constructor may need more than pickle remembers.
        kinds = (kind for kind in (DataError, RunError, LimitError) if isinstance(error, kind))
        return cls(next(kinds, StepError), str(error))


class SampleBatches(Dataset[Batch]):
    """A map-style data set that makes a whole batch at a time, up to the batched stage.

    Args:
        samples: The samples of one split.
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
        """Pickle once for all workers; they unpickle it where an error can be reported."""
        if self._sent is None:
            columns = {"_columns", "_rows", "_label_rows", "_sent"}
            self._sent = pickle.dumps({k: v for k, v in vars(self).items() if k not in columns})
        return self._sent

    def __setstate__(self, sent: bytes) -> None:
        self._sent = sent

    def forget_sent(self) -> None:
        """Free what was pickled, when all workers have it."""
        self._sent = None

    def _unpack(self) -> None:
        """Unpickle what was sent, in a worker process that was not forked.

        Raises:
            StepError: Something can't be unpickled.
        """
        sent, self._sent = self._sent, None
        if sent is None or "chain" in vars(self):
            return
        try:
            vars(self).update(pickle.loads(sent))
        except MedpipeError:
            raise
        except Exception as error:  # whatever a user's object raises when it is unpickled
            raise StepError(
                f"A worker process can't unpickle what it was sent: {described(error)}. What a "
                "transform or a sample holds must be defined at the top level of a module that "
                "workers can import, or set loader.workers = 0."
            ) from error

    def not_sent(self) -> str:
        """What of it can't be sent to a worker process that is not forked; empty if all can."""
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

    def __getitem__(self, key: BatchKey) -> Batch | Failure:  # type: ignore[override]
        return self.__getitems__(key)

    def __getitems__(self, key: BatchKey) -> Batch | Failure:
        """The batch of these samples; an error is returned, not raised."""
        try:
            self._unpack()
            return self._batch(key)
        except (MedpipeError, OSError, MemoryError, RuntimeError) as error:
            named = limit_of(error)
            if named is None and not isinstance(error, MedpipeError):
                raise
            return Failure.of(named or cast("MedpipeError", error))

    def _batch(self, key: BatchKey) -> Batch:
        batch = self._of_places(key)
        return batch if key.counts else {**batch, STANDS_IN: True}

    def _of_places(self, key: BatchKey) -> Batch:
        places = key.places % len(self.samples)
        epochs = key.epochs(len(self.samples), self.chain.patches)
        images = self._images(places, epochs)
        if images is not None:
            return {**self._columns.batch(places), **images, NARROW: True, EPOCHS: epochs}
        pairs = zip(epochs, places.tolist(), strict=True)
        samples = [self._one(epoch, place) for epoch, place in pairs]
        return {**collate(samples, self._task), EPOCHS: epochs}

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
        """Copy the images to a device, if a batch is a look-up and they fit.

        Args:
            device: The device.
            free: The bytes that are free there.

        Returns:
            Whether they are there.
        """
        whole = self.looks_up and not self._cuts and not self._task.step.dense
        if self._cached is not None and whole:
            self._resident = DeviceCache.of(self._cached, self._rows, device, free=free)
        return self._resident is not None

    def _images(self, places: np.ndarray[Any, Any], epochs: Sequence[int]) -> Batch | None:
        """The images, and the labels where they are images, if that is a look-up."""
        if self._resident is not None:
            return {"image": self._resident.stacked(places)}
        if self._cached is None or not self.looks_up:
            return None
        if self._cuts:
            pairs = zip(epochs, places.tolist(), strict=True)
            return self._cached.stacked_patches([self._patch(*pair) for pair in pairs])
        images = self._cached.stacked(self._rows[places])
        if images is None or not self._cached.labels:
            return None if images is None else {"image": images}
        if not self.training:
            return None  # where an image lies is needed too, to put a prediction back
        labels = self._cached.stacked_labels(self._label_rows[places])
        return None if labels is None else {"image": images, "label": labels}

    @cached_property
    def _columns(self) -> Columns:
        step, names = self._task.step, self._task.names
        if step.dense:
            return Columns.of(self.samples)
        labels = step.encode([sample.label for sample in self.samples], names)
        return Columns.of(self.samples, labels)

    @cached_property
    def _rows(self) -> np.ndarray[Any, Any]:
        assert self._cached is not None
        return self._cached.rows([sample.id for sample in self.samples])

    @cached_property
    def _label_rows(self) -> np.ndarray[Any, Any]:
        assert self._cached is not None
        return self._cached.label_rows([sample.id for sample in self.samples])

    def _one(self, epoch: int, place: int) -> Batch:
        given = sample_dictionary(self.samples[place], self._reading)
        patch = self._patch(epoch, place) if self._cuts else None
        if self._cached is None:
            sample = self.chain.cached_stage(given)
        else:
            sample = self._cached.sample(given, patch)
        return self.chain.per_sample_stage(
            sample,
            training=self.training,
            epoch=epoch,
            file=source_of(given["image"]),
            cut=patch is not None,
        )

    @property
    def _cuts(self) -> bool:
        """Whether patches are read in place of whole images."""
        return self.training and self._cached is not None and self.chain.cuts_cached

    def _patch(self, epoch: int, place: int) -> Patch:
        """Where a patch is to be read."""
        assert self._cached is not None
        sample = self.samples[place]
        source = self._cached.patch_source(sample.id)
        file = source_of(sample.image)
        region = self.chain.patch_region(source, sample.id, epoch=epoch, file=file)
        return Patch(id=sample.id, region=region)

    def file_of(self, sample_id: str) -> str | None:
        """The file of one of the samples, for errors; None where there is none."""
        found = (sample for sample in self.samples if sample.id == sample_id)
        return source_of(next(found).image)
