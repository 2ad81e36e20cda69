"""A run's network, with its `Reading` and transform chain.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.assembly import Assembly
from medpipe.data.chain import sample_dictionary
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.errors import DataError, DeviceError, StepError
from medpipe.optimization.accumulation import denominator_of
from medpipe.optimization.deep_supervision import first_output
from medpipe.settings import RunSettings
from medpipe.steps import DataInfo, Reading, Sample, resolved
from medpipe.system.hardware import available_cpus, choose_device
from medpipe.system.resource_errors import limits_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch import nn

    from medpipe.data.chain import Chain
    from medpipe.data.loading.loader import Loader
    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.data.scanning.scan import Fingerprint
    from medpipe.evaluation.predictions import Predictions
    from medpipe.system.hardware import Precision

logger = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True, eq=False)
class TrainedNetwork:
    """A run's network, and what is needed to preprocess images as in training.

    Attributes:
        path: The run directory.
        which: ``best`` or ``last``.
        network: The network, on the CPU until something is predicted, then on that device.
        assembly: Builds the run's parts.
        data: What was measured on the run's data.
        reading: How the run's files were decoded.
        precision: The precision that the run computed in.
        chosen: What was chosen on the run's validation split; see
            `medpipe.evaluation.frozen.chosen_on_validation`. None where it did not come to that.
    """

    path: Path
    which: Literal["best", "last"]
    network: nn.Module
    assembly: Assembly
    data: DataInfo
    reading: Reading
    precision: Precision
    chosen: Mapping[str, Any] | None = None


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

    Args:
        trained: The network.
        samples: At least one, with the labels of the run's task.
        fingerprints: By id: one sample of each shape is tried first.
        device: Where to compute.
        batch_size: Images in a batch; None: the run's. Where sizes differ it is 1.
        with_loss: Whether to compute the run's loss.

    Returns:
        The predictions, the mean loss, and notes for the user.

    Raises:
        DataError: Images leave the chain in a shape that the network does not take.
    """
    from medpipe.evaluation.mask_measures import MaskMeasures
    from medpipe.training.predict import predict
    from medpipe.training.truths import Truths

    loader, notes = _batches(trained, samples, fingerprints, device=device, batch_size=batch_size)
    assembly = trained.assembly
    loss = assembly.loss(trained.data, device) if with_loss else None
    predictions, found_loss = predict(
        trained.network,
        loader,
        device=device,
        precision=trained.precision,
        task=trained.data.task,
        samples=samples,
        loss=loss,
        denominator=None
        if loss is None
        else denominator_of(assembly.loss_step(trained.data), loss),
        inferer=assembly.inferer(trained.data),
        description="Predicting",
        truths=Truths(trained.reading),
        measures=MaskMeasures.of(
            trained.data.task,
            assembly.metrics(trained.data.task).values(),
            assembly.registry,
        ),
    )
    return predictions, found_loss.mean, notes


@limits_named(batch_size="batch_size")
def segment_samples(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint],
    take: Callable[[str, Any, FileGrid], object],
    *,
    device: torch.device,
    batch_size: int | None,
) -> list[str]:
    """Predict samples whose labels would be images; see `medpipe.training.predict.predict_masks`.

    Args:
        trained: The network.
        samples: At least one.
        fingerprints: By id: one sample of each shape is tried first.
        take: Called with each sample's id, its labels and the grid of its file.
        device: Where to compute.
        batch_size: Images in a batch; None: the run's. Where sizes differ it is 1.

    Returns:
        Notes for the user.

    Raises:
        DataError: Images leave the chain in a shape that the network does not take.
    """
    from medpipe.training.predict import predict_masks

    loader, notes = _batches(trained, samples, fingerprints, device=device, batch_size=batch_size)
    predict_masks(
        trained.network,
        loader,
        take,
        device=device,
        precision=trained.precision,
        task=trained.data.task,
        inferer=trained.assembly.inferer(trained.data),
    )
    return notes


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
    settings, cpus = trained.assembly.configuration.loader, available_cpus()
    chain, network = trained.assembly.chain(), trained.network.to(device).eval()
    dense = trained.data.task.step.dense
    seen = {
        sample.id: _through(chain, sample, fingerprints[sample.id], trained)
        for sample in _tried(samples, fingerprints, extremes=dense)
    }
    notes = _try_sizes(trained, network, seen, device)
    ragged = dense or None in trained.data.spatial_shape or len(set(map(_shape, seen.values()))) > 1
    seen.clear()  # they may be large
    order = EpochBatchSampler(
        count=len(samples), batch_size=1 if ragged else batch_size or resolved(settings.batch_size)
    )
    batches = SampleBatches(
        samples,
        chain=chain,
        task=trained.data.task,
        reading=trained.reading,
        training=False,
    )
    workers = min(settings.workers, cpus, len(order)) if cpus > 1 else 0
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
    if image.ndim != data.spatial_dims + 1:
        raise DataError(
            f"The image {sample.id!r} leaves the transform chain with the shape {_shape(image)}, "
            f"but the network takes {data.spatial_dims} axes after the channels. Bring the files "
            "into the form that the run was trained on (dataset.unit for DICOM)."
        )
    if image.shape[0] != data.channels:
        raise DataError(
            f"The image {sample.id!r} leaves the transform chain with {image.shape[0]} channels, "
            f"but the network takes {data.channels}. Convert the files, or set dataset.channels = "
            "1 or 3 for training: then files are converted as they are read."
        )
    return image


def _try_sizes(
    trained: TrainedNetwork,
    network: nn.Module,
    seen: Mapping[str, torch.Tensor],
    device: torch.device,
) -> list[str]:
    """Send the smallest and the largest image of an untried size through the network."""
    import torch

    from medpipe.training.predict import autocast

    known = (trained.data.channels, *trained.data.spatial_shape)
    untried = {id_: image for id_, image in seen.items() if _shape(image) != known}
    if not untried:
        return []
    inferer = trained.assembly.inferer(trained.data)
    regions = getattr(inferer, "regions", None)
    run: Any = first_output(network) if trained.data.task.step.dense else network
    remedy = "a step such as 'resize' with spatial_size"
    if trained.data.task.step.dense:
        remedy = "the inferer sliding_window, whose windows have the size of the images in training"
    by_size = sorted(untried, key=lambda id_: untried[id_].numel())
    sides = " x ".join(str(side) if side else "any" for side in trained.data.spatial_shape)
    for id_ in dict.fromkeys((by_size[0], by_size[-1])):
        image = untried[id_].to(device)
        try:
            with torch.no_grad(), autocast(device, trained.precision):
                if regions is None:
                    inferer(image[None], run)
                else:  # the first part stands for the others
                    next(iter(regions(image[None], run)))
        except RuntimeError as error:
            raise DataError(
                f"The network fails on the image {id_!r}, which leaves the transform chain with "
                f"the shape {_shape(image)}; it was trained on {sides}: "
                f"{' '.join(str(error).split())}. Bring the files to that size, or train with "
                f"{remedy}."
            ) from error
    if regions is not None:  # the network sees windows of a known size
        return []
    others = [id_ for id_ in by_size if not _within(_shape(untried[id_]), known)]
    if not others:
        return []
    note = (
        f"Images leave the transform chain in another size than in training ({sides}): "
        f"{others[0]!r} with the shape {_shape(untried[others[0]])}. The network accepts images "
        "of this size, but was not trained on them."
    )
    logger.warning("%s", note)
    return [note]


def _within(shape: tuple[int, ...], known: tuple[int | None, ...]) -> bool:
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
