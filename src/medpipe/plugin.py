"""The one import for plugin authors: step kinds, what passes between them, and the hook marker.

Each name is imported when it is first used, and none imports torch, monai or numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.system.lazy import loaded

if TYPE_CHECKING:
    from medpipe.data.listing.images import FoundImages, find_images
    from medpipe.data.listing.names import IMAGE_SUFFIXES, spellings
    from medpipe.data.listing.walking import FolderListing, file_mode
    from medpipe.data.readers.arrays import as_float32
    from medpipe.data.readers.dicom.files import (
        dicom_identities,
        is_dicom,
    )
    from medpipe.data.readers.dicom.identity import DicomIdentity
    from medpipe.data.readers.formats import (
        DicomReader,
        NiftiReader,
        NumpyReader,
        PictureReader,
    )
    from medpipe.data.readers.labels import read_label
    from medpipe.data.readers.reader import (
        UnreadableImageError,
        read_image,
        read_sample_image,
        source_of,
    )
    from medpipe.errors import DataError, DownloadError, Fault, FaultKind, MedpipeError, PluginError
    from medpipe.fetching.archives import extract_archive
    from medpipe.fetching.download import download
    from medpipe.hookspecs import hookimpl
    from medpipe.optimization.accumulation import Accumulation
    from medpipe.optimization.optimizers import make_optimizer
    from medpipe.optimization.parameter_groups import Freezing, ParameterGroup
    from medpipe.optimization.schedules import Steps, follow_schedule
    from medpipe.steps import (
        Auto,
        AutoInfo,
        DataInfo,
        Dataset,
        DatasetStep,
        DecodedImage,
        Denominator,
        DrawnStep,
        Exported,
        ExportParts,
        ExportStep,
        Frames,
        HandlerStep,
        ImageFile,
        ImageFiles,
        Inferer,
        InfererStep,
        LabelImage,
        Loss,
        LossStep,
        MaskMeasure,
        MetricStep,
        MissingSpacing,
        NetworkStep,
        OnLeak,
        OptimizerStep,
        Padding,
        PatchSource,
        PatchStep,
        ReaderStep,
        Reading,
        ReportContext,
        ReportSection,
        ReportTable,
        ResampledStep,
        RunContext,
        RunEvent,
        Sample,
        ScheduleStep,
        Series,
        SpacingOf,
        SpatialMap,
        Split,
        Step,
        Task,
        TaskStep,
        TrainerStep,
        Training,
        TrainingParts,
        TransformStep,
        WholeRun,
        Window,
        auto_batch_size,
        auto_epochs,
        auto_learning_rate,
        auto_sampling,
        auto_width,
        has_image_label,
        on_device,
        or_auto,
        resolved,
    )
    from medpipe.system.cache_folder import cache_directory
    from medpipe.system.progress import bar, track
    from medpipe.system.text import unseen, visible
    from medpipe.tasks import (
        ClassLabels,
        Multiclass,
        Multilabel,
        Regression,
        Segmentation,
        VectorLabels,
        task_step,
    )
    from medpipe.tracking.facts import Point, RunFacts
    from medpipe.tracking.step import TrackerStep
    from medpipe.tracking.tracker import TrackedStatus, Tracker

__all__ = [
    # the hook marker
    "hookimpl",
    # step kinds
    "Step",
    "DatasetStep",
    "TransformStep",
    "PatchStep",
    "DrawnStep",
    "ResampledStep",
    "NetworkStep",
    "TrainerStep",
    "LossStep",
    "OptimizerStep",
    "ScheduleStep",
    "MaskMeasure",
    "MetricStep",
    "InfererStep",
    "HandlerStep",
    "TrackerStep",
    "ReaderStep",
    "TaskStep",
    "ExportStep",
    "ClassLabels",
    "VectorLabels",
    "Multiclass",
    "Multilabel",
    "Regression",
    "Segmentation",
    "DicomReader",
    "NiftiReader",
    "NumpyReader",
    "PictureReader",
    # what passes between steps
    "Sample",
    "LabelImage",
    "PatchSource",
    "SpatialMap",
    "Series",
    "ImageFile",
    "DecodedImage",
    "Task",
    "Split",
    "OnLeak",
    "Reading",
    "Window",
    "Frames",
    "Padding",
    "MissingSpacing",
    "SpacingOf",
    "Dataset",
    "Fault",
    "FaultKind",
    "DataInfo",
    "Loss",
    "Denominator",
    "Inferer",
    "ReportContext",
    "ReportSection",
    "ReportTable",
    "RunContext",
    "RunEvent",
    "Tracker",
    "TrackedStatus",
    "RunFacts",
    "Point",
    "TrainingParts",
    "Training",
    "ExportParts",
    "ImageFiles",
    "WholeRun",
    "Exported",
    # services
    "read_image",
    "read_sample_image",
    "read_label",
    "has_image_label",
    "as_float32",
    "source_of",
    "is_dicom",
    "DicomIdentity",
    "FolderListing",
    "FoundImages",
    "find_images",
    "IMAGE_SUFFIXES",
    "spellings",
    "file_mode",
    "dicom_identities",
    "bar",
    "track",
    "download",
    "extract_archive",
    "cache_directory",
    "visible",
    "unseen",
    "task_step",
    "on_device",
    # for trainers
    "ParameterGroup",
    "Freezing",
    "Accumulation",
    "Steps",
    "make_optimizer",
    "follow_schedule",
    "Auto",
    "AutoInfo",
    "auto_batch_size",
    "auto_epochs",
    "auto_learning_rate",
    "auto_sampling",
    "auto_width",
    "or_auto",
    "resolved",
    # errors to raise
    "MedpipeError",
    "DataError",
    "UnreadableImageError",
    "DownloadError",
    "PluginError",
]

_HOMES = {
    "medpipe.data.listing.images": (
        "FoundImages",
        "find_images",
    ),
    "medpipe.data.listing.names": (
        "IMAGE_SUFFIXES",
        "spellings",
    ),
    "medpipe.data.listing.walking": (
        "FolderListing",
        "file_mode",
    ),
    "medpipe.data.readers.arrays": ("as_float32",),
    "medpipe.data.readers.dicom.files": (
        "dicom_identities",
        "is_dicom",
    ),
    "medpipe.data.readers.dicom.identity": ("DicomIdentity",),
    "medpipe.data.readers.formats": (
        "DicomReader",
        "NiftiReader",
        "NumpyReader",
        "PictureReader",
    ),
    "medpipe.data.readers.labels": ("read_label",),
    "medpipe.data.readers.reader": (
        "UnreadableImageError",
        "read_image",
        "read_sample_image",
        "source_of",
    ),
    "medpipe.errors": (
        "DataError",
        "DownloadError",
        "Fault",
        "FaultKind",
        "MedpipeError",
        "PluginError",
    ),
    "medpipe.fetching.archives": ("extract_archive",),
    "medpipe.fetching.download": ("download",),
    "medpipe.hookspecs": ("hookimpl",),
    "medpipe.optimization.accumulation": ("Accumulation",),
    "medpipe.optimization.optimizers": ("make_optimizer",),
    "medpipe.optimization.parameter_groups": (
        "Freezing",
        "ParameterGroup",
    ),
    "medpipe.optimization.schedules": (
        "Steps",
        "follow_schedule",
    ),
    "medpipe.steps": (
        "Auto",
        "AutoInfo",
        "DataInfo",
        "Dataset",
        "DatasetStep",
        "DecodedImage",
        "Denominator",
        "ExportParts",
        "ExportStep",
        "Exported",
        "Frames",
        "HandlerStep",
        "ImageFile",
        "ImageFiles",
        "Inferer",
        "InfererStep",
        "LabelImage",
        "Loss",
        "LossStep",
        "MissingSpacing",
        "NetworkStep",
        "OnLeak",
        "OptimizerStep",
        "DrawnStep",
        "PatchSource",
        "PatchStep",
        "ResampledStep",
        "SpatialMap",
        "on_device",
        "Padding",
        "Split",
        "ReaderStep",
        "Reading",
        "ReportContext",
        "ReportSection",
        "ReportTable",
        "RunContext",
        "RunEvent",
        "Sample",
        "ScheduleStep",
        "Series",
        "SpacingOf",
        "Step",
        "MaskMeasure",
        "MetricStep",
        "Task",
        "TaskStep",
        "TrainerStep",
        "Training",
        "TrainingParts",
        "TransformStep",
        "WholeRun",
        "Window",
        "auto_batch_size",
        "auto_epochs",
        "auto_learning_rate",
        "auto_sampling",
        "has_image_label",
        "auto_width",
        "or_auto",
        "resolved",
    ),
    "medpipe.system.cache_folder": ("cache_directory",),
    "medpipe.system.progress": (
        "bar",
        "track",
    ),
    "medpipe.system.text": (
        "unseen",
        "visible",
    ),
    "medpipe.tasks": (
        "ClassLabels",
        "Multiclass",
        "Multilabel",
        "Regression",
        "Segmentation",
        "VectorLabels",
        "task_step",
    ),
    "medpipe.tracking.facts": (
        "Point",
        "RunFacts",
    ),
    "medpipe.tracking.step": ("TrackerStep",),
    "medpipe.tracking.tracker": (
        "TrackedStatus",
        "Tracker",
    ),
}
"""Where each name is imported from when it is first used."""

if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> object:
        return loaded(__name__, globals(), _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
