"""The kinds of steps, and what passes between them.

A step is one frozen attrs class: its fields are the validated parameters, its `build` makes the
thing. Nothing here imports torch, monai or numpy, so that listing and checking steps is instant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.errors import Fault
from medpipe.system.plain_numbers import plain, plain_number, plain_text
from medpipe.system.text import visible

if TYPE_CHECKING:
    import numpy as np
    import torch
    from ignite.engine import Engine
    from torch import nn

__all__ = [
    "STEP_KINDS",
    "DataInfo",
    "Dataset",
    "DatasetStep",
    "DecodedImage",
    "LossStep",
    "NetworkStep",
    "Reading",
    "Sample",
    "Series",
    "Step",
    "Task",
    "TrainerStep",
    "Training",
    "TrainingParts",
    "TransformStep",
]

Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = ("training", "validation", "test")
TaskKind = Literal["multiclass", "multilabel", "regression"]


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
        group: What must stay in one part, usually the patient. None: a group of its own, and so is
            what is blank or NaN.
        split: The part that the data bring for this sample. None: the library chooses.
        extra: Columns that travel with the sample to its predictions.
    """

    id: str = attrs.field(converter=plain_text)
    image: ImageFile | tuple[ImageFile, ...] | np.ndarray[Any, Any] | DecodedImage
    label: int | float | tuple[float, ...] = attrs.field(converter=plain)
    group: str | None = attrs.field(default=None, converter=_group)
    split: Part | None = attrs.field(default=None, converter=plain_text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=_extra)


@attrs.frozen(kw_only=True)
class Task:
    """The question that a data set asks.

    Attributes:
        kind: ``multiclass`` (one class of several), ``multilabel`` (any number of findings) or
            ``regression`` (one or several numbers).
        names: The classes, findings or targets, in the order of the network's outputs.
        unit: The unit of a regression's targets, for its metrics: ``years``.
    """

    kind: TaskKind = "multiclass"
    names: tuple[str, ...] = attrs.field(converter=_strings)
    unit: str | None = None


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
        on_leak: What to do where the parts that the samples bring divide a group or copies of
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


@attrs.frozen(kw_only=True)
class DataInfo:
    """What was measured on the samples that leave the transform chain.

    Attributes:
        task: The question that the data set asks.
        channels: The number of channels of every image.
        spatial_shape: The sides in pixels or voxels after the channels; None where they vary.
        spatial_dims: 2 or 3.
        outputs: How many numbers the network gives for a sample.
        class_counts: For ``multiclass``, how many training samples each class has, in the order
            of ``task.names``; otherwise None.
        finding_counts: For ``multilabel``, how many training samples are without each finding
            and how many have it; those whose label is missing count in neither. Otherwise None.
        target_means: For ``regression``, the mean of each target over the training samples that
            have it; otherwise None.
        target_spreads: For ``regression``, its standard deviation there, 1 where it does not
            vary; otherwise None.
    """

    task: Task
    channels: int
    spatial_shape: tuple[int | None, ...]
    spatial_dims: int
    outputs: int
    class_counts: tuple[int, ...] | None = None
    finding_counts: tuple[tuple[int, int], ...] | None = None
    target_means: tuple[float, ...] | None = None
    target_spreads: tuple[float, ...] | None = None


Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


@attrs.frozen(kw_only=True, eq=False)
class TrainingParts:
    """What a trainer step gets to build a trainer from.

    Attributes:
        network: The network, on its device.
        loss: Gives a scalar for predictions of shape (batch, outputs) and the labels: int64 of
            shape (batch,) for ``multiclass``, else float32 of shape (batch, outputs).
        loader: The training batches, one pass of the training data for each iteration over it:
            a dictionary with ``image`` of shape (batch, channels, spatial...), ``label`` and
            ``id``.
        device: Where the network is.
        precision: ``float32``, or ``bfloat16`` for autocast; already decided for this device.
        data: What was measured on the data.
    """

    network: nn.Module
    loss: Loss
    loader: torch.utils.data.DataLoader[Any]
    device: torch.device
    precision: Literal["float32", "bfloat16"]
    data: DataInfo


@attrs.frozen(kw_only=True, eq=False)
class Training:
    """What a trainer step gives.

    Attributes:
        engine: An Ignite engine whose ``run()`` takes no arguments (MONAI's trainers do), with
            the loss of each iteration in its output under ``loss``.
        state: What a checkpoint must hold, by name: objects with ``state_dict``. It includes
            ``network`` and the optimizers.
        planned: What its schedules were laid out for, as plain numbers by name, such as the number
            of all steps: a run that goes on is refused where it would be for another. Empty: for
            nothing, as a constant rate or one that falls with the validation loss. None: that is
            found in the objects of `state` where they are schedules of torch, Ignite or MONAI.
    """

    engine: Engine
    state: Mapping[str, Any]
    planned: Mapping[str, Any] | None = None


class Step:
    """What all steps are: see `DatasetStep`, `TransformStep`, `NetworkStep` and so on.

    Attributes:
        name: How configurations call it. Lower case letters, digits and underscores.
    """

    kind: ClassVar[str]
    name: ClassVar[str]


class DatasetStep(Step):
    """Lists samples, and nothing more: splits, caching, batches and order are the library's."""

    kind: ClassVar[str] = "dataset"

    def build(self) -> Dataset:
        """List the samples.

        Raises:
            DataError: The data are not there, or not as the parameters say.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")

    def build_with_faults(self) -> Dataset:
        """List the samples as `build` does, with what is wrong with single ones in `faults`.

        Runs and checks call this one, so that a link that leads nowhere or a row without a label
        is listed with all else that is wrong, or left out where that is asked for. A step that
        can't tell one from the rest leaves it as it is.

        Raises:
            DataError: What is wrong is not with single samples.
        """
        return self.build()


class TransformStep(Step):
    """Changes one sample.

    Either define `build`, or `draw` and `apply`: randomness drawn first, as data, then applied.
    A step that can also define `apply_batch` may be applied to whole batches, on their device.
    A step with both forms is drawn where `batched` holds, and built where it does not.

    Attributes:
        random: True for augmentation, which touches training data alone.
        takes_decoded: Whether a step that reads files also takes, in place of a sample's files,
            the `DecodedImage` that `read_sample_image` gives for them. Then files that are read
            to find duplicates need not be read again for the packed cache.
        accepts_integer_images: Whether `apply_batch` also takes, in place of float32 images,
            integers of the same values in fewer bits (``uint8``, ``uint16``, ``int16``), as the
            cache holds them. It then gives what it gives for float32, as float32 or in fewer bits.
            For others the library makes them float32 first.
    """

    kind: ClassVar[str] = "transform"
    random: ClassVar[bool] = False
    takes_decoded: ClassVar[bool] = False
    accepts_integer_images: ClassVar[bool] = False

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Give a MONAI dictionary transform, or any callable on a sample.

        The sample is a dictionary with ``image``, ``label``, ``id`` and the data set's extra
        columns. Randomness that is MONAI ``Randomizable`` is seeded by the library for each
        sample, from the run's seed, the epoch, the sample and the step.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither build nor draw and apply")

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw this sample's random values.

        `rng` is seeded for the sample, and its own only until this returns.
        """
        raise NotImplementedError(f"{type(self).__name__} has no draw method")

    def apply(self, sample: dict[str, Any], draw: Mapping[str, Any]) -> Mapping[Any, Any]:
        """Change the sample by the values that were drawn."""
        raise NotImplementedError(f"{type(self).__name__} has no apply method")

    @property
    def batched(self) -> bool:
        """Whether `apply_batch` does what the step does, with these parameters."""
        return type(self).apply_batch is not TransformStep.apply_batch

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Change a whole batch, to the same values as one sample at a time.

        Args:
            batch: ``image`` of shape (batch, channels, spatial...), ``label``, ``id`` and the
                extra columns.
            draws: What `draw` drew for each sample; empty where the step is not random.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply_batch method")


class NetworkStep(Step):
    """Makes a network for the data at hand."""

    kind: ClassVar[str] = "network"

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network: (batch, data.channels, spatial...) in, (batch, data.outputs) out."""
        raise NotImplementedError(f"{type(self).__name__} has no build method")


class LossStep(Step):
    """Makes a loss.

    Attributes:
        tasks: The kinds of task that it fits.
    """

    kind: ClassVar[str] = "loss"
    tasks: ClassVar[frozenset[TaskKind]] = frozenset({"multiclass", "multilabel", "regression"})

    def build(self, data: DataInfo) -> Loss:
        """Make the loss; see `TrainingParts.loss` for what it gets."""
        raise NotImplementedError(f"{type(self).__name__} has no build method")


@attrs.frozen(kw_only=True)
class TrainerStep(Step):
    """Makes a trainer; the library validates, keeps the best network and writes the run.

    These parameters are the library's, and every trainer has them.

    Attributes:
        max_epochs: How many epochs to train.
        loss: The loss; None: the task's default (``cross_entropy``, ``bce_with_logits``,
            ``mse``).
        precision: ``float32``; ``bfloat16`` by autocast; ``auto``: bfloat16 where the hardware
            is faster in it. What was used is recorded.
        monitor: The validation metric that decides which network is the best. None: the task's
            default (``accuracy``, ``auc``, ``mae``).
        patience: Stop after so many epochs without a better `monitor`. None: never.
    """

    kind: ClassVar[str] = "trainer"

    max_epochs: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    loss: LossStep | None = None
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    monitor: str | None = None
    patience: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )

    def build(self, parts: TrainingParts) -> Training:
        """Make the trainer.

        A run may stop and go on within an epoch, with another engine whose ``EPOCH_STARTED`` is
        fired again: what its handlers do must depend on the engine's state alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")

    def recomputed_blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Name the modules whose activations the backward pass computes again.

        The check's estimate of memory counts what goes into them, and what is inside of one of
        them at a time.
        """
        return ()


STEP_KINDS: tuple[type[Step], ...] = (
    DatasetStep,
    TransformStep,
    NetworkStep,
    TrainerStep,
    LossStep,
)
"""The five kinds, in the order in which a configuration names them."""
