"""The one import for plugin authors: step kinds, what passes between them, and the hook marker.

Light: importing it imports neither torch nor monai nor numpy.
"""

from __future__ import annotations

from medpipe.data.listing.images import FoundImages, find_images
from medpipe.data.listing.names import IMAGE_SUFFIXES, spellings
from medpipe.data.listing.walking import FolderListing, file_mode
from medpipe.data.readers.arrays import as_float32
from medpipe.data.readers.dicom.files import DicomListing, dicom_identities, is_dicom, list_dicom
from medpipe.data.readers.dicom.identity import DicomIdentity
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
from medpipe.steps import (
    DataInfo,
    Dataset,
    DatasetStep,
    DecodedImage,
    Frames,
    ImageFile,
    Loss,
    LossStep,
    MissingSpacing,
    NetworkStep,
    OnLeak,
    Padding,
    Part,
    Reading,
    Sample,
    Series,
    SpacingOf,
    Step,
    Task,
    TaskKind,
    TrainerStep,
    Training,
    TrainingParts,
    TransformStep,
    Window,
)
from medpipe.system.cache_folder import cache_directory
from medpipe.system.files import staged_directory
from medpipe.system.locks import locked
from medpipe.system.progress import bar, track
from medpipe.system.text import unseen, visible

__all__ = [
    # the hook marker
    "hookimpl",
    # step kinds
    "Step",
    "DatasetStep",
    "TransformStep",
    "NetworkStep",
    "TrainerStep",
    "LossStep",
    # what passes between steps
    "Sample",
    "Series",
    "ImageFile",
    "DecodedImage",
    "Task",
    "TaskKind",
    "Part",
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
    "TrainingParts",
    "Training",
    # services
    "read_image",
    "read_sample_image",
    "as_float32",
    "source_of",
    "is_dicom",
    "list_dicom",
    "DicomListing",
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
    "locked",
    "staged_directory",
    "visible",
    "unseen",
    # errors to raise
    "MedpipeError",
    "DataError",
    "UnreadableImageError",
    "DownloadError",
    "PluginError",
]
