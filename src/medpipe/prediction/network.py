"""Samples through a run's reading, transform chain and network.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.distributed.processes import processes
from medpipe.errors import DataError, DeviceError, StepError
from medpipe.optimization.accumulation import denominator_of
from medpipe.optimization.deep_supervision import first_output
from medpipe.settings import RunSettings
from medpipe.steps import DataInfo, Sample, resolved
from medpipe.system.hardware import choose_device
from medpipe.system.resource_errors import limits_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from torch import nn

    from medpipe.data.chain import Chain
    from medpipe.data.loading.loader import Loader
    from medpipe.data.scanning.scan import Fingerprint
    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.training.predict import MeanLoss

logger = logging.getLogger("medpipe")


@contextmanager
def shared_by_processes(trained: TrainedNetwork) -> Iterator[TrainedNetwork]:
    """The network as all processes that torchrun started use it together; if one fails, all end."""
    ours = processes()
    with ours.together():
        yield attrs.evolve(trained, assembly=attrs.evolve(trained.assembly, processes=ours))


@limits_named(batch_size="batch_size")
def predict_samples(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint],
    *,
    device: torch.device,
    batch_size: int | None,
    with_loss: bool,
) -> tuple[Predictions, float | None, list[str]]:
    """Predict samples in their order, as the run predicted its test split.

    Of several processes each predicts its part, and all get the whole.

    Args:
        trained: The network.
        samples: At least one, with the labels of the run's task.
        fingerprints: By id: one sample of each shape is tried first.
        device: Where to compute.
        batch_size: Images in a batch; None: the run's. Where sizes differ it is 1.
        with_loss: Whether to compute the run's loss; of several networks there is none.

    Returns:
        The predictions, the mean loss, and notes for the user.

    Raises:
        DataError: Images leave the chain in a shape that the network does not take.
    """
    from medpipe.evaluation.mask_measures import MaskMeasures
    from medpipe.evaluation.predictions import joined
    from medpipe.prediction.ensemble import inferer_of, mean_over_members
    from medpipe.training.predict import MeanLoss, predict
    from medpipe.training.truths import Truths

    loader, notes = _batches(trained, samples, fingerprints, device=device, batch_size=batch_size)
    assembly = trained.assembly
    with_loss = with_loss and trained.members is None
    loss = assembly.loss(trained.data, device) if with_loss else None

    def predicted(one: TrainedNetwork) -> tuple[Predictions, MeanLoss]:
        return predict(
            one.network,
            loader,
            device=device,
            precision=one.precision,
            task=trained.data.task,
            samples=samples,
            loss=loss,
            denominator=None
            if loss is None
            else denominator_of(assembly.loss_step(trained.data), loss),
            inferer=inferer_of(one, device),
            description="Predicting",
            before_batch=assembly.processes.look,
            truths=Truths(trained.reading),
            measures=MaskMeasures.of(
                trained.data.task,
                assembly.metrics(trained.data.task).values(),
                assembly.registry,
            ),
        )

    # There may be fewer samples than processes.
    part = mean_over_members(trained, device, predicted) if len(loader) else None
    parts = [part for part in assembly.processes.gather(part) if part is not None]
    whole = joined([predictions for predictions, _ in parts])
    return whole, MeanLoss.over([losses for _, losses in parts]).mean, notes


def _batches(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint],
    *,
    device: torch.device,
    batch_size: int | None,
) -> tuple[Loader, list[str]]:
    """The batches of samples, of which one of each shape was tried, and notes for the user."""
    from medpipe.data.loading.loader import make_loader
    from medpipe.data.loading.sample_batches import SampleBatches

    if batch_size is not None and batch_size < 1:
        raise DataError(f"The batch size must be at least 1, got {batch_size}.")
    assembly = trained.assembly
    processes, settings = assembly.processes, assembly.configuration.loader
    chain, network = assembly.chain(), trained.network.to(device).eval()
    dense = trained.data.task.step.dense
    tried = _tried(samples, fingerprints, extremes=dense)
    seen = {
        sample.id: _through(chain, sample, fingerprints[sample.id], trained)
        for sample in tried[processes.here.share(len(tried))]
    }
    _try_sizes(trained, network, seen, device)
    shapes: dict[str, tuple[int, ...]] = {}
    for some in processes.gather({id_: _shape(image) for id_, image in seen.items()}):
        shapes |= some
    seen.clear()  # they may be large
    notes = size_notes(trained, shapes)
    if processes.leads:
        for note in notes:
            logger.warning("%s", note)
    ragged = dense or None in trained.data.spatial_shape or len(set(shapes.values())) > 1
    order = EpochBatchSampler(
        count=len(samples),
        batch_size=1 if ragged else batch_size or resolved(settings.batch_size),
        here=processes.here,
    )
    batches = SampleBatches(
        samples,
        chain=chain,
        task=trained.data.task,
        reading=trained.reading,
        training=False,
    )
    workers = min(assembly.workers, len(order))
    return make_loader(batches, order, workers=workers, device=device), notes


def _tried(
    samples: Sequence[Sample], fingerprints: Mapping[str, Fingerprint], *, extremes: bool
) -> list[Sample]:
    """One sample of each shape; `extremes`: the smallest and the largest of each kind alone."""
    firsts: dict[Any, Sample] = {}
    for sample in samples:
        found = fingerprints[sample.id]
        firsts.setdefault((found.shape, found.channels), sample)
    if not extremes:
        return list(firsts.values())
    kinds: dict[Any, list[Any]] = {}
    for shape, channels in firsts:
        kinds.setdefault((len(shape), channels), []).append((shape, channels))
    ends = [
        pick(some, key=lambda one: math.prod(one[0]))
        for some in kinds.values()
        for pick in (min, max)
    ]
    return [firsts[end] for end in dict.fromkeys(ends)]


def _through(
    chain: Chain, sample: Sample, found: Fingerprint, trained: TrainedNetwork
) -> torch.Tensor:
    """An image as it leaves the chain, if it has the axes and channels that the network takes."""
    from medpipe.data.loading.collate import as_tensor

    data = trained.data
    try:
        left = chain(sample_dictionary(sample, trained.reading), training=False)
    except StepError as error:
        if len(found.shape) == data.spatial_dims:
            raise
        raise DataError(
            f"The image {sample.id!r} has {len(found.shape)} spatial dimensions, and the run was "
            f"trained on {data.spatial_dims}. Bring the files into the form that the run was "
            "trained on (dataset.unit for DICOM)."
        ) from error
    image = as_tensor(left["image"])
    said = unfit(_shape(image), data)
    if said is not None:
        raise DataError(f"The image {sample.id!r} {said}")
    return image


def unfit(shape: tuple[int, ...], data: DataInfo) -> str | None:
    """Why images of a shape can't go through the network, as the end of a sentence."""
    if len(shape) != data.spatial_dims + 1:
        return (
            f"leaves the transform chain with the shape {shape}, but the network takes "
            f"{data.spatial_dims} axes after the channels. Bring the files into the form that "
            "the run was trained on (dataset.unit for DICOM)."
        )
    if shape[0] != data.channels:
        return (
            f"leaves the transform chain with {shape[0]} channels, but the network takes "
            f"{data.channels}. Convert the files, or set dataset.channels = 1 or 3 for training: "
            "then files are converted as they are read."
        )
    return None


def failing(trained: TrainedNetwork, shape: tuple[int, ...], error: RuntimeError) -> str:
    """What to say of an image of an untried size on which the network fails, as `unfit`."""
    remedy = "a step such as 'resize' with spatial_size"
    if trained.data.task.step.dense:
        remedy = "the inferer sliding_window, whose windows have the size of the images in training"
    return (
        f"leaves the transform chain with the shape {shape}, on which the network fails; it was "
        f"trained on {_sides(trained)}: {' '.join(str(error).split())}. Bring the files to that "
        f"size, or train with {remedy}."
    )


def _try_sizes(
    trained: TrainedNetwork,
    network: nn.Module,
    seen: Mapping[str, torch.Tensor],
    device: torch.device,
) -> None:
    """Send the smallest and the largest image of an untried size through the network."""
    import torch

    from medpipe.training.forward import autocast

    known = (trained.data.channels, *trained.data.spatial_shape)
    untried = {id_: image for id_, image in seen.items() if _shape(image) != known}
    if not untried:
        return
    inferer = trained.assembly.inferer(trained.data)
    regions = getattr(inferer, "regions", None)
    run: Any = first_output(network) if trained.data.task.step.dense else network
    by_size = sorted(untried, key=lambda id_: untried[id_].numel())
    for id_ in dict.fromkeys((by_size[0], by_size[-1])):
        image = untried[id_].to(device)
        try:
            with torch.no_grad(), autocast(device, trained.precision):
                if regions is None:
                    inferer(image[None], run)
                else:  # the first part stands for the others
                    next(iter(regions(image[None], run)))
        except RuntimeError as error:
            said = failing(trained, _shape(image), error)
            raise DataError(f"The image {id_!r} {said}") from error


def size_notes(trained: TrainedNetwork, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """What to say of images of other sizes than in training, which the network accepts."""
    if getattr(trained.assembly.inferer(trained.data), "regions", None) is not None:
        return []  # the network sees windows of a known size
    others = [id_ for id_, shape in shapes.items() if not known_size(trained.data, shape)]
    if not others:
        return []
    smallest = min(others, key=lambda id_: math.prod(shapes[id_]))
    return [
        f"Images leave the transform chain in another size than in training ({_sides(trained)}): "
        f"{smallest!r} with the shape {tuple(shapes[smallest])}. The network accepts images of "
        "this size, but was not trained on them."
    ]


def _sides(trained: TrainedNetwork) -> str:
    """The sizes of images in training, in words."""
    return " x ".join(str(side) if side else "any" for side in trained.data.spatial_shape)


def known_size(data: DataInfo, shape: Sequence[int]) -> bool:
    """Whether images of a shape were trained on."""
    known = (data.channels, *data.spatial_shape)
    return all(side in (None, own) for own, side in zip(shape, known, strict=True))


def _shape(image: torch.Tensor) -> tuple[int, ...]:
    return tuple(image.shape)


def device_named(name: str) -> torch.device:
    """The device, as ``run.device`` names it.

    Raises:
        DeviceError: It is not there, or there is no such name.
    """
    try:
        RunSettings(device=name)
    except ValueError as error:
        raise DeviceError(f"The device {error}") from error
    device, said = choose_device(name)
    if said:
        logger.info("%s", said)
    return device
