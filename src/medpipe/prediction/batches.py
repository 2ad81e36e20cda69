"""Batches of files to predict: what fails on one file is an answer about it, and no error.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from medpipe.data.chain import sample_dictionary
from medpipe.data.loading.batch_sampler import BatchKey, EpochBatchSampler
from medpipe.data.loading.collate import Batch, as_tensor, collate
from medpipe.data.loading.loader import Loader, make_loader
from medpipe.data.loading.sample_batches import EPOCHS, SampleBatches
from medpipe.data.readers.reader import read_sample_image, source_of
from medpipe.data.scanning.image_facts import facts_of
from medpipe.data.scanning.pixel_defects import defect_of
from medpipe.data.scanning.scan import refuse_no_numbers
from medpipe.errors import DataError, MedpipeError, StepError
from medpipe.prediction.listing import sentence_of
from medpipe.prediction.unlike import unlike
from medpipe.system.resource_errors import limit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

    from medpipe.data.chain import Chain
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import DataInfo, Reading, Sample

GROUPS, FAILED, DEFECTS, UNLIKE = "$groups", "$failed", "$defects", "$unlike"
"""The keys of a batch: batches of one shape each; by id a sentence about each image that can't be
predicted, the defect of each (see `defect_of`) that has one, and in what it is unlike those in
training (see `unlike`)."""


class FileOrder(EpochBatchSampler):
    """Some of the batches of a list of samples, by their numbers.

    What is in a batch depends on its number and the size alone: so a prediction that is resumed
    gives the very numbers of one that was never stopped.

    Args:
        numbers: Which batches, from 0.
        count: How many samples there are.
        batch_size: Samples in a batch.
    """

    def __init__(self, numbers: Sequence[int], *, count: int, batch_size: int) -> None:
        super().__init__(count=count, batch_size=batch_size)
        self._numbers, self._count, self._size = numbers, count, batch_size

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[BatchKey]:
        for number in self._numbers:
            first = number * self._size
            yield BatchKey(0, np.arange(first, min(first + self._size, self._count)))


class FileBatches(SampleBatches):
    """Makes batches of files, in groups of one shape.

    Args:
        samples: The files.
        chain: The transforms.
        data: What the run was trained on.
        reading: How files are decoded.
        known: What training images look like, to compare with; None: nothing is compared.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        chain: Chain,
        data: DataInfo,
        reading: Reading,
        known: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(samples, chain=chain, task=data.task, reading=reading, training=False)
        self._axes, self._known = data.spatial_dims, known

    def _batch(self, key: BatchKey) -> Batch:
        made: dict[Any, list[Batch]] = {}
        failed: dict[str, str] = {}
        defects: dict[str, str] = {}
        others: dict[str, dict[str, str]] = {}
        for place in key.places.tolist():
            sample = self.samples[place]
            try:
                one, defect, other = self._read(sample)
            except MedpipeError as error:
                limit = limit_of(error)
                if limit is not None:  # nothing is wrong with the file
                    raise limit from error
                failed[sample.id] = sentence_of(error)
                continue
            image = as_tensor(one["image"])
            made.setdefault((tuple(image.shape), image.dtype), []).append(one)
            if defect is not None:
                defects[sample.id] = defect
            if other:
                others[sample.id] = other
        groups = [{**collate(some, self._task), EPOCHS: [0] * len(some)} for some in made.values()]
        return {GROUPS: groups, FAILED: failed, DEFECTS: defects, UNLIKE: others}

    def _read(self, sample: Sample) -> tuple[Batch, str | None, dict[str, str]]:
        """A sample as it leaves the per-sample stage, and what is to be said of its image."""
        decoded = read_sample_image(sample.image, self._reading)
        refuse_no_numbers(sample, decoded)
        file, given = source_of(sample.image), sample
        steps = self.chain.steps
        if steps and steps[0][1].takes_decoded:
            given = attrs.evolve(sample, image=attrs.evolve(decoded, source=file))
        try:
            left = self.chain.cached_stage(sample_dictionary(given, self._reading))
            left = self.chain.per_sample_stage(left, training=False, epoch=0, file=file)
        except StepError as error:
            axes = decoded.values.ndim - decoded.channels
            if axes == self._axes:
                raise
            raise DataError(
                f"The image {sample.id!r} has {axes} spatial dimensions, and the run was trained "
                f"on {self._axes}. Bring the files into the form that the run was trained on "
                "(dataset.unit for DICOM)."
            ) from error
        other = {} if self._known is None else unlike(facts_of(decoded), self._known)
        return left, defect_of(decoded), other


class FileLoader(Loader):
    """Loads batches of files: the batched stage is applied to each group of one shape."""

    def _finished(self, batch: Batch, this_pass: int) -> Batch:
        groups: list[Batch] = []
        failed = dict(batch[FAILED])
        for group in batch[GROUPS]:
            try:
                groups.append(super()._finished(dict(group), this_pass))
            except MedpipeError as error:
                if limit_of(error) is not None:
                    raise
                for one in _singles(group):
                    try:
                        groups.append(super()._finished(one, this_pass))
                    except MedpipeError as alone:
                        failed[one["id"][0]] = sentence_of(alone)
        return {**batch, GROUPS: groups, FAILED: failed}


def _singles(group: Batch) -> list[Batch]:
    """A batch for each sample of one."""
    places = range(len(group["id"]))
    return [{key: value[place : place + 1] for key, value in group.items()} for place in places]


def file_loader(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    numbers: Sequence[int],
    *,
    batch_size: int,
    device: torch.device,
) -> Loader:
    """The loader of some batches of files; see `FileOrder`.

    Args:
        trained: The network whose chain is applied.
        samples: The files.
        numbers: Which batches.
        batch_size: Samples in a batch.
        device: Where the batches go.
    """
    assembly = trained.assembly
    return make_loader(
        FileBatches(
            samples,
            chain=assembly.chain(),
            data=trained.data,
            reading=trained.reading,
            known=trained.images,
        ),
        FileOrder(numbers, count=len(samples), batch_size=batch_size),
        workers=min(assembly.workers, len(numbers)),
        device=device,
        made_by=FileLoader,
    )
