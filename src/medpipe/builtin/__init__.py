"""The built-in steps: a plugin like any other, found by its entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.builtin.datasets.bids import Bids
from medpipe.builtin.datasets.decathlon import Decathlon
from medpipe.builtin.datasets.image_folder import ImageFolder
from medpipe.builtin.datasets.image_masks import ImageMasks
from medpipe.builtin.datasets.mednist import MedNIST
from medpipe.builtin.datasets.nnunet import NnUNet
from medpipe.builtin.datasets.phantom import Phantom
from medpipe.builtin.datasets.phantom_masks import PhantomMasks
from medpipe.builtin.datasets.table import Table
from medpipe.builtin.exports import EXPORTS
from medpipe.builtin.handlers import HANDLERS
from medpipe.builtin.inferers import INFERERS
from medpipe.builtin.losses import LOSSES
from medpipe.builtin.metrics import METRICS
from medpipe.builtin.muon import Muon
from medpipe.builtin.networks import NETWORKS
from medpipe.builtin.optimizers import OPTIMIZERS
from medpipe.builtin.schedules import SCHEDULES
from medpipe.builtin.segmentation.lesions import LESION_METRICS
from medpipe.builtin.segmentation.losses import SEGMENTATION_LOSSES
from medpipe.builtin.segmentation.metrics import SEGMENTATION_METRICS
from medpipe.builtin.segmentation.networks import SEGMENTATION_NETWORKS
from medpipe.builtin.segmentation.patches import PATCHES
from medpipe.builtin.segmentation.sliding_window import SlidingWindow
from medpipe.builtin.segmentation.surface_area import SurfaceDiceByArea
from medpipe.builtin.trackers import TRACKERS
from medpipe.builtin.trainers.supervised import TRAINERS
from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.plugin import (
    DicomReader,
    Multiclass,
    Multilabel,
    NiftiReader,
    NumpyReader,
    PictureReader,
    Regression,
    Segmentation,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medpipe.plugin import (
        DatasetStep,
        ExportStep,
        HandlerStep,
        InfererStep,
        LossStep,
        MetricStep,
        NetworkStep,
        OptimizerStep,
        ReaderStep,
        ScheduleStep,
        TaskStep,
        TrainerStep,
        TransformStep,
    )


@hookimpl
def medpipe_datasets() -> Iterable[type[DatasetStep]]:
    """Offer the built-in data sets."""
    return [MedNIST, Phantom, ImageFolder, Table, Decathlon, NnUNet, Bids, ImageMasks, PhantomMasks]


@hookimpl
def medpipe_transforms() -> Iterable[type[TransformStep]]:
    """Offer the built-in transforms."""
    return (*TRANSFORMS, *PATCHES)


@hookimpl
def medpipe_networks() -> Iterable[type[NetworkStep]]:
    """Offer the built-in networks."""
    return (*NETWORKS, *SEGMENTATION_NETWORKS)


@hookimpl
def medpipe_trainers() -> Iterable[type[TrainerStep]]:
    """Offer the built-in trainer."""
    return TRAINERS


@hookimpl
def medpipe_losses() -> Iterable[type[LossStep]]:
    """Offer the built-in losses."""
    return (*LOSSES, *SEGMENTATION_LOSSES)


@hookimpl
def medpipe_optimizers() -> Iterable[type[OptimizerStep]]:
    """Offer the built-in optimizers."""
    return (*OPTIMIZERS, Muon)


@hookimpl
def medpipe_schedules() -> Iterable[type[ScheduleStep]]:
    """Offer the built-in schedules."""
    return SCHEDULES


@hookimpl
def medpipe_metrics() -> Iterable[type[MetricStep]]:
    """Offer the built-in metrics."""
    return (*METRICS, *SEGMENTATION_METRICS, *LESION_METRICS, SurfaceDiceByArea)


@hookimpl
def medpipe_inferers() -> Iterable[type[InfererStep]]:
    """Offer the built-in inferers."""
    return (*INFERERS, SlidingWindow)


@hookimpl
def medpipe_handlers() -> Iterable[type[HandlerStep]]:
    """Offer the built-in handlers."""
    return (*HANDLERS, *TRACKERS)


@hookimpl
def medpipe_readers() -> Iterable[type[ReaderStep]]:
    """Offer the built-in readers."""
    return [DicomReader, NiftiReader, NumpyReader, PictureReader]


@hookimpl
def medpipe_tasks() -> Iterable[type[TaskStep]]:
    """Offer the built-in tasks."""
    return [Multiclass, Multilabel, Regression, Segmentation]


@hookimpl
def medpipe_exports() -> Iterable[type[ExportStep]]:
    """Offer the built-in export formats."""
    return EXPORTS
