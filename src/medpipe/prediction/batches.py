"""Batches of files to predict: what fails on one file is an answer about it, and no error.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from medpipe.data.cache.index import narrowed
from medpipe.data.chain import sample_dictionary
from medpipe.data.loading.batch_sampler import BatchKey, EpochBatchSampler
from medpipe.data.loading.collate import Batch, as_tensor, collate
from medpipe.data.loading.loader import Loader, make_loader
from medpipe.data.loading.sample_batches import EPOCHS, NARROW, SampleBatches
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

    from medpipe.data.chain import Chain
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import DataInfo, DecodedImage, Reading, Sample

PORTION = 1 << 20
"""Bytes of decoded images that are transformed together. To decode a small image and to transform
it take half as long again if they alternate: the CPU caches the code of one of them."""
PIPED = 4 << 20
"""Bytes of images of one shape that a worker process sends through its pipe, at most. Torch hands a
tensor over as shared memory, which for small ones takes twice as long."""
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
        by_pipe: Whether small batches go through a pipe, and not as shared memory; see `PIPED`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        chain: Chain,
        data: DataInfo,
        reading: Reading,
        known: Mapping[str, Any] | None,
        by_pipe: bool,
    ) -> None:
        super().__init__(samples, chain=chain, task=data.task, reading=reading, training=False)
        self._axes, self._known, self._by_pipe = data.spatial_dims, known, by_pipe

    def _batch(self, key: BatchKey) -> Batch:
        found: Batch = {FAILED: {}, DEFECTS: {}, UNLIKE: {}}
        made: dict[Any, list[Batch]] = {}
        for some in self._decoded(key.places.tolist(), found[FAILED]):
            for sample, decoded in some:
                self._look(sample, decoded, found)
            for sample, decoded in some:
                try:
                    one = self._transformed(sample, decoded)
                except MedpipeError as error:
                    found[FAILED][sample.id] = _said(error)
                    continue
                image = as_tensor(one["image"])
                made.setdefault((tuple(image.shape), image.dtype), []).append(one)
        groups = [{**collate(some, self._task), EPOCHS: [0] * len(some)} for some in made.values()]
        return {**found, GROUPS: [_sent(group) if self._by_pipe else group for group in groups]}

    def _decoded(
        self, places: Sequence[int], failed: dict[str, str]
    ) -> Iterator[list[tuple[Sample, DecodedImage]]]:
        """The samples that can be read, in portions that fit the CPU's cache."""
        some: list[tuple[Sample, DecodedImage]] = []
        held = 0
        for place in places:
            sample = self.samples[place]
            try:
                decoded = read_sample_image(sample.image, self._reading)
                refuse_no_numbers(sample, decoded)
            except MedpipeError as error:
                failed[sample.id] = _said(error)
                continue
            some.append((sample, decoded))
            held += decoded.values.nbytes
            if held >= PORTION:
                yield some
                some, held = [], 0
        yield some

    def _look(self, sample: Sample, decoded: DecodedImage, found: Batch) -> None:
        """Keep what is to be said of an image."""
        defect = defect_of(decoded)
        if defect is not None:
            found[DEFECTS][sample.id] = defect
        other = {} if self._known is None else unlike(facts_of(decoded), self._known)
        if other:
            found[UNLIKE][sample.id] = other

    def _transformed(self, sample: Sample, decoded: DecodedImage) -> Batch:
        """A sample as it leaves the per-sample stage."""
        file, given = source_of(sample.image), sample_dictionary(sample, self._reading)
        steps = self.chain.steps
        if steps and steps[0][1].takes_decoded:
            given["image"] = attrs.evolve(decoded, source=file)
        try:
            left = self.chain.cached_stage(given)
            return self.chain.per_sample_stage(left, training=False, epoch=0, file=file)
        except StepError as error:
            axes = decoded.values.ndim - decoded.channels
            if axes == self._axes:
                raise
            raise DataError(
                f"The image {sample.id!r} has {axes} spatial dimensions, and the run was trained "
                f"on {self._axes}. Bring the files into the form that the run was trained on "
                "(dataset.unit for DICOM)."
            ) from error


class FileLoader(Loader):
    """Loads batches of files: the batched stage is applied to each group of one shape."""

    def _finished(self, batch: Batch, this_pass: int) -> Batch:
        groups: list[Batch] = []
        failed = dict(batch[FAILED])
        for group in map(_received, batch[GROUPS]):
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


def _said(error: MedpipeError) -> str:
    """What an error says about a file; it is raised where nothing is wrong with the file."""
    limit = limit_of(error)
    if limit is not None:
        raise limit from error
    return sentence_of(error)


def _sent(group: Batch) -> Batch:
    """A group as it is sent to the main process: a small one as arrays, see `PIPED`."""
    image: torch.Tensor = group["image"]
    if image.dtype != torch.float32 or image.nbytes > PIPED:
        return group
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in group.items()}
    return {**arrays, "image": narrowed(arrays["image"]), NARROW: True}


def _received(group: Batch) -> Batch:
    """A group of tensors again."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in group.items()}


def _singles(group: Batch) -> list[Batch]:
    """A batch for each sample of one."""
    places = range(len(group["id"]))
    columns = {key: value for key, value in group.items() if key != NARROW}
    narrow = {NARROW: group.get(NARROW, False)}
    return [{**{k: v[place : place + 1] for k, v in columns.items()}, **narrow} for place in places]


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
            by_pipe=device.type != "cuda",  # of tensors alone the memory can be pinned
        ),
        FileOrder(numbers, count=len(samples), batch_size=batch_size),
        workers=min(assembly.workers, len(numbers)),
        device=device,
        made_by=FileLoader,
    )
