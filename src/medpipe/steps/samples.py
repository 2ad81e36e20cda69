"""`Sample` and `Dataset`.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.errors import Fault
from medpipe.steps.reading import DecodedImage, ImageFile, Reading, strings
from medpipe.system.plain_numbers import plain, plain_number, plain_text
from medpipe.system.text import visible
from medpipe.tasks import LabelImage, Task

if TYPE_CHECKING:
    import numpy as np

Split = Literal["training", "validation", "test"]
SPLITS: tuple[Split, ...] = ("training", "validation", "test")
OnLeak = Literal["error", "drop_train"]


def _group(value: Any) -> Any:
    """A group as text; what is blank or NaN, as tables have what is missing, says nothing."""
    if value is None:
        return None
    text = plain_text(value)
    if isinstance(text, str):
        return text if visible(text) else None
    return None if isinstance(text, float) and text != text else text


def _split(value: Split | None) -> Any:
    """A split, as text of Python's own where a table gave it as NumPy's."""
    return plain_text(value)


def _extra(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    if not extra:
        return extra
    return {name: plain_number(value) for name, value in extra.items()}


def _faults(items: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(items)


def _samples(items: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple(items)


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
            NumPy, PyTorch and pandas become Python's own. For ``segmentation`` a `LabelImage`.
        group: What must stay in one split, usually the patient. None: a group of its own, and so is
            what is blank or NaN.
        split: The split that the data set gives this sample. None: the library chooses.
        extra: Columns that travel with the sample to its predictions.
    """

    id: str = attrs.field(converter=plain_text)
    image: ImageFile | tuple[ImageFile, ...] | np.ndarray[Any, Any] | DecodedImage
    label: int | float | tuple[float, ...] | LabelImage = attrs.field(converter=plain)
    group: str | None = attrs.field(default=None, converter=_group)
    split: Split | None = attrs.field(default=None, converter=_split)
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=_extra)


def has_image_label(sample: Mapping[str, Any]) -> bool:
    """Whether the ``label`` of a loaded sample, or of a batch, is an image as its ``image`` is."""
    axes = getattr(sample.get("label"), "ndim", 0)
    return bool(axes >= 2 and axes == getattr(sample.get("image"), "ndim", 0))


@attrs.frozen(kw_only=True)
class Dataset:
    """What a dataset step builds: a list of samples and their task.

    Attributes:
        samples: The samples, in any order: splits and batches don't depend on it.
        task: The question.
        reading: How the samples' files are to be decoded; by which readers, the configuration says.
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
    notes: tuple[str, ...] = attrs.field(default=(), converter=strings)
    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_faults)
