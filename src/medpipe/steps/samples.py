"""`Sample`, `Dataset`, `Reading` and `DecodedImage`.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.errors import Fault
from medpipe.system.plain_numbers import plain, plain_number, plain_text
from medpipe.system.text import visible
from medpipe.tasks import Task

if TYPE_CHECKING:
    import numpy as np


Split = Literal["training", "validation", "test"]


SPLITS: tuple[Split, ...] = ("training", "validation", "test")


OnLeak = Literal["error", "drop_train"]


Window = Literal["voi", "none"] | tuple[float, float]


Frames = Literal["positions", "volume", "first"]


Padding = Literal["lowest", "keep"]


MissingSpacing = Literal["error", "unknown"]


SpacingOf = Literal["patient", "detector", "unknown"]


def _strings(items: Iterable[str]) -> tuple[str, ...]:
    return tuple([plain_text(item) for item in items])


def _group(value: Any) -> Any:
    """A group as text; what is blank or NaN, as tables have what is missing, says nothing."""
    if value is None:
        return None
    text = plain_text(value)
    if isinstance(text, str):
        return text if visible(text) else None
    return None if isinstance(text, float) and text != text else text


def _extra(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    if not extra:
        return extra
    return {name: plain_number(value) for name, value in extra.items()}


def _faults(items: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(items)


def _samples(items: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple(items)


@attrs.frozen(kw_only=True, eq=False)
class DecodedImage:
    """An image or a volume in memory, as a file decodes.

    Attributes:
        values: Of shape (height, width) or (height, width, depth), rows from the top, with the
            channels as one more last axis where `channels` says so.
        channels: Whether the last axis holds channels.
        affine: From column, row and slice (each counted from 0) to millimetres to the right,
            the front and the top of the patient (RAS+, as NIfTI has it); float64 of shape
            (4, 4). None where the file doesn't say.
        spacing: Millimetres between rows, between columns and, in a volume, between slices. None
            where the file doesn't say.
        spacing_of: Where `spacing` holds: in the ``"patient"``; on the ``"detector"`` of a
            projection, where things are larger than in the patient; or it is ``"unknown"``.
            Unknown is never taken for 1 mm: the step ``spacing`` refuses both.
        source: The file that it was read from, for metadata; None where there is none.
    """

    values: np.ndarray[Any, Any]
    channels: bool = False
    affine: np.ndarray[Any, Any] | None = None
    spacing: tuple[float, ...] | None = None
    spacing_of: SpacingOf = "unknown"
    source: str | None = None


@attrs.frozen(kw_only=True)
class Series:
    """The files of one DICOM series, read as one volume, whatever their order here.

    Attributes:
        files: Their paths.
    """

    files: tuple[str, ...] = attrs.field(converter=_strings)


ImageFile = str | os.PathLike[str] | Series
"""One file, or one series of files."""


@attrs.frozen(kw_only=True, eq=False)
class Sample:
    """One image (or several that belong together) and what is known about it.

    Attributes:
        id: Its name, unique in the data set and the same on every machine: for a file the path
            below the data set's root with ``/`` between folders.
        image: The path of a file; a `Series`; several of either, stacked as channels; an array
            of shape (height, width) or (height, width, channels), as an image file would
            decode; or a `DecodedImage`, which may be a volume.
        label: For ``multiclass`` the class's index, for ``regression`` a number, for
            ``multilabel`` a vector of 0 and 1. NaN stands for missing. Numbers and arrays of
            NumPy, PyTorch and pandas become Python's own.
        group: What must stay in one split, usually the patient. None: a group of its own, and so is
            what is blank or NaN.
        split: The split that the data bring for this sample. None: the library chooses.
        extra: Columns that travel with the sample to its predictions.
    """

    id: str = attrs.field(converter=plain_text)
    image: ImageFile | tuple[ImageFile, ...] | np.ndarray[Any, Any] | DecodedImage
    label: int | float | tuple[float, ...] = attrs.field(converter=plain)
    group: str | None = attrs.field(default=None, converter=_group)
    split: Split | None = attrs.field(default=None, converter=plain_text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=_extra)


@attrs.frozen(kw_only=True)
class Reading:
    """How the image files of a data set are to be decoded.

    Attributes:
        channels: 1 (grey), 3 (RGB), ``"auto"`` (as the file has it: alpha is dropped, palettes
            are resolved), or None: what MONAI's ``PILReader`` gives, untouched.
        window: Which grey values DICOM files give. ``"none"``: the stored values through the
            modality look-up (rescale), such as Hounsfield units; ``"voi"``: these through the
            file's own first window or look-up table, as a viewer shows them, or unchanged where
            it has none; (centre, width): through that window. MONOCHROME1 is inverted afterwards,
            but measurements (CT, MR, PT, NM, BMD, RTDOSE) only with ``"voi"``.
        frames: What becomes of a DICOM file of several frames. Where it says where each lies they
            are a volume in that order. Otherwise ``"positions"`` refuses it, as it may be a film;
            ``"volume"`` stacks them as they are stored, with unknown spacing; ``"first"`` takes
            the first alone.
        padding: What becomes of the pixels that DICOM's PixelPaddingValue (to
            PixelPaddingRangeLimit) says are outside of what was measured: ``"lowest"``: they get
            the lowest other value of the image or volume, so that no scaling sees them;
            ``"keep"``: the value that is stored.
        missing_spacing: What becomes of a DICOM volume that says where its slices lie, but not
            how large their pixels are: ``"error"``: it is refused, since its header is not whole;
            ``"unknown"``: it is read, without an affine. Never is a spacing of 1 mm taken.
    """

    channels: Literal[1, 3, "auto"] | None = None
    window: Window = "none"
    frames: Frames = "positions"
    padding: Padding = "lowest"
    missing_spacing: MissingSpacing = "error"


@attrs.frozen(kw_only=True)
class Dataset:
    """What a dataset step builds: a list of samples and the question they ask.

    Attributes:
        samples: The samples, in any order: splits and batches don't depend on it.
        task: The question.
        reading: How the samples' files are to be decoded.
        on_leak: What to do where the splits that the samples bring divide a group or copies of
            one image: ``"error"``, or ``"drop_train"``: leave the training side out (and, between
            validation and test, the validation side).
        notes: Sentences about what was left out and why, for the check and the run's record.
        faults: What would be samples but can't be used; see `DatasetStep.build_with_faults`.
    """

    samples: tuple[Sample, ...] = attrs.field(
        converter=_samples, repr=lambda samples: f"<{len(samples)} samples>"
    )
    task: Task
    reading: Reading = Reading()
    on_leak: OnLeak = "error"
    notes: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_faults)
