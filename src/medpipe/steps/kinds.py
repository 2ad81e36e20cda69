"""The kinds of steps.

A step is one frozen attrs class: its fields are the validated parameters, its `build` makes the
thing. Nothing here imports torch, monai or numpy, so that listing and checking steps is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.steps.auto import Auto, AutoInfo, auto_epochs, or_auto
from medpipe.steps.reading import ImageFiles
from medpipe.steps.samples import Dataset
from medpipe.steps.training import DataInfo, Inferer, Loss, Training, TrainingParts
from medpipe.tasks import Step

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    Array = np.ndarray[Any, np.dtype[Any]]


class DatasetStep(Step):
    """Lists samples, and nothing more: splits, caching, batches and order are the library's.

    Attributes:
        suggested: What settings with the value ``"auto"`` become for this data set, in place of
            the rules; by their paths, such as ``{"loader.batch_size": 512}``.
        augmentation: The random transforms that end the default chain, by name.
    """

    kind: ClassVar[str] = "dataset"
    suggested: ClassVar[Mapping[str, Any]] = {}
    augmentation: ClassVar[Sequence[str]] = ("augment",)

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
        spatial: Whether it moves pixels: where a sample's label is an image (see `LabelImage`), the
            step then changes ``label`` as it does ``image``, by nearest neighbour, so that no value
            arises that was not there. Steps that only change values leave labels alone.
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
    spatial: ClassVar[bool] = False
    takes_decoded: ClassVar[bool] = False
    accepts_integer_images: ClassVar[bool] = False

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Give a MONAI dictionary transform, or any callable on a sample.

        The sample is a dictionary with ``image``, ``label``, ``id`` and the data set's extra
        columns. Randomness that is MONAI ``Randomizable`` is seeded by the library for each
        sample, from the run's seed, the epoch, the sample and the step.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither build nor draw and apply")

    def build_with_label(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """As `build`, for samples whose label is an image; by default what `build` gives.

        A `spatial` step changes ``label``, uint8 of shape (channels, spatial...), as it does
        ``image``. The library puts labels back into uint8.
        """
        return self.build()

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

    def graph_form(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What the step does to a batch, in operations that an exported graph can hold.

        It takes and gives float32 of shape (batch, channels, spatial...), for any number of images
        and any sides, and never looks at a value to decide what it does: PyTorch traces it. None,
        as by default: the step stays outside, and the contract of an export names it.
        """
        return None

    def bundle_form(self, files: ImageFiles) -> Sequence[Mapping[str, Any]] | None:
        """MONAI's transforms that do the same, as a bundle's configuration has them.

        Each is a dictionary with ``_target_``, ``keys`` (``image``) and parameters, of plain data.
        None, as by default: MONAI has none, and the run can't become a bundle.

        Args:
            files: How the files of images are read.
        """
        return None


class NetworkStep(Step):
    """Makes a network for the data at hand."""

    kind: ClassVar[str] = "network"

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network: (batch, data.channels, spatial...) in, (batch, data.outputs) out.

        Where labels are images, (batch, data.outputs, spatial...); in training it may give several
        of these, also of smaller sides: a list, or stacked behind the batch. The loss is then the
        mean of theirs with the weights 1, 1/2, 1/4 and so on.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")

    def resolve(self, info: AutoInfo) -> NetworkStep:
        """Give this step with values in place of ``"auto"``; called before `build`.

        What the data set suggests stands already. By default there are none; what a step chooses
        is written into the run's record.
        """
        return self

    def untrained(self) -> NetworkStep:
        """Give this step without the trained weights that `build` loads, if it loads any.

        A run's network is built by it where a checkpoint has its weights, so that predicting needs
        no other file. The step itself is built at the start of a training, and by the check
        before, on torch's meta device. By default they are the same: `build` loads nothing.
        """
        return self

    def bundle_form(self, data: DataInfo) -> Mapping[str, Any] | None:
        """What `build` makes, as a bundle's configuration has it: ``_target_`` and parameters.

        The target must be there without medpipe, such as a class of MONAI's. None, as by default:
        there is none, and the run can't become a bundle.
        """
        return None


class LossStep(Step):
    """Makes a loss.

    Attributes:
        labels: The forms of labels that it fits; see `TaskStep.label_form`.
        batchwise: Whether the loss is of a batch as a whole, such as a Dice over all its voxels,
            and no mean: then nothing weighs uneven batches.
    """

    kind: ClassVar[str] = "loss"
    batchwise: ClassVar[bool] = False
    labels: ClassVar[frozenset[str]] = frozenset({"class", "findings", "numbers"})

    def build(self, data: DataInfo) -> Loss:
        """Make the loss; see `TrainingParts.loss` for what it gets.

        It is the mean over the samples of a batch, unless it has a method ``denominator`` that
        gives for labels what their loss is divided by: see `TrainingParts.denominator`. Labels
        that are missing (NaN of findings and numbers, 255 in masks) must change nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")


class OptimizerStep(Step):
    """Makes an optimizer for the parameters that a trainer trains.

    Attributes:
        usual_rate: The learning rate that a trainer takes where its own is ``"auto"``.
        rate_grows: Whether that is the rate for batches of 8, and larger ones have a larger one;
            see `medpipe.plugin.auto_learning_rate`.
    """

    kind: ClassVar[str] = "optimizer"
    usual_rate: ClassVar[float] = 1e-3
    rate_grows: ClassVar[bool] = False

    def build(
        self, groups: Sequence[Mapping[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: Parameter groups as torch has them: ``params``, and ``lr`` and
                ``weight_decay`` where a group has its own.
            learning_rate: Of the groups without one of their own.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")


class ScheduleStep(Step):
    """Gives the factor of the learning rate at each step of the optimizer.

    It is a pure function: the same curve across a resume, and for any number of processes.

    Attributes:
        planned_for: What the curve was laid out for, which a resumed run must have too: all steps
            of the ``run``, those of an ``epoch``, or ``nothing``.
    """

    kind: ClassVar[str] = "schedule"
    required: ClassVar[tuple[str, ...]] = ("factor",)
    planned_for: ClassVar[Literal["run", "epoch", "nothing"]] = "run"

    def factor(
        self, done: int, total: int, epoch_length: int, losses: Sequence[float | None]
    ) -> float:
        """The factor of all learning rates for the next step.

        Args:
            done: Steps of the optimizer so far, from 0 to below `total`.
            total: Steps in all.
            epoch_length: Steps in an epoch.
            losses: The validation loss of each epoch so far; None where it is undefined.
        """
        raise NotImplementedError(f"{type(self).__name__} has no factor method")


class InfererStep(Step):
    """Says how a network is called for evaluation and prediction."""

    kind: ClassVar[str] = "inferer"

    def build(self, data: DataInfo) -> Inferer:
        """Give a callable on a batch of images and the network, which gives the outputs.

        The order of the arguments is that of MONAI's inferers. The images are of shape
        (batch, channels, spatial...), the outputs (batch, outputs), or (batch, outputs, spatial...)
        where labels are images. Autocast is the library's. Where labels are images, an inferer may
        have a method ``regions(inputs, network)``, an iterator over parts of the outputs, so that
        those of a whole volume need not be in memory: each where it lies, slices of (batch,
        spatial...) of which one axis at most is cut, and its outputs, which may change when the
        next is asked for. The parts of an image follow each other along that axis.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")

    def bundle_form(self, data: DataInfo) -> Mapping[str, Any] | None:
        """MONAI's inferer that does the same, as `NetworkStep.bundle_form`."""
        return None


@attrs.frozen(kw_only=True)
class TrainerStep(Step):
    """Makes a trainer; the library validates, keeps the best network and writes the run.

    These parameters are the library's, and every trainer has them.

    Attributes:
        max_epochs: How many epochs to train; ``"auto"``: see `medpipe.plugin.auto_epochs`.
        loss: The loss; ``"auto"``: the task's (``cross_entropy``, ``bce_with_logits``, ``mse``).
        precision: ``float32``; ``bfloat16`` by autocast; ``auto``: bfloat16 where the hardware
            is faster in it. What was used is recorded.
        monitor: The validation metric that decides which network is the best: one of the task's, or
            of ``[[metric]]``, by its name without its distribution. Of epochs with one value the
            loss decides. An epoch where it is undefined is never the best; until it is defined, the
            loss decides, and the log warns. ``"auto"``: the task's (``balanced_accuracy``, ``auc``,
            ``mae``).
        patience: Stop after so many epochs without a better `monitor`. None: never.
    """

    kind: ClassVar[str] = "trainer"

    max_epochs: int | Auto = attrs.field(default="auto", validator=or_auto(attrs.validators.ge(1)))
    loss: LossStep | Auto = "auto"
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    monitor: str = "auto"
    patience: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )

    def build(self, parts: TrainingParts) -> Training:
        """Make the trainer.

        A run may stop and be resumed within an epoch, with another engine whose
        ``EPOCH_STARTED`` is fired again: what its handlers do must depend on the engine's state
        alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build method")

    def resolve(self, info: AutoInfo) -> TrainerStep:
        """Give this step with values in place of ``"auto"``; called before `build`.

        What the data set suggests stands already. A step with such parameters of its own extends
        this; what it chooses is written into the run's record.
        """
        chosen: dict[str, Any] = {}
        if self.max_epochs == "auto":
            chosen["max_epochs"] = auto_epochs(info.samples, info.batch_size)
        if self.monitor == "auto":
            chosen["monitor"] = info.data.task.step.monitor
        return attrs.evolve(self, **chosen) if chosen else self

    def recomputed_blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Name the modules whose activations the backward pass computes again.

        The check's estimate of memory counts what goes into them, and what is inside of one of
        them at a time.
        """
        return ()
