"""`DataInfo`, `TrainingParts` and `Training`: what networks, losses and trainers get and give.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.steps.precision import inferer_in
from medpipe.tasks import Task

if TYPE_CHECKING:
    import torch
    from ignite.engine import Engine
    from monai.inferers.inferer import SimpleInferer
    from torch import nn


@attrs.frozen(kw_only=True)
class DataInfo:
    """What was measured on the samples that leave the transform chain.

    Attributes:
        task: The question that the data set asks.
        channels: The number of channels of every image.
        spatial_shape: The sides in pixels or voxels after the channels; None where they vary.
        spatial_dims: 2 or 3.
        outputs: How many numbers the network gives for a sample.
        statistics: What the task measured on the training labels, by name; see
            `TaskStep.measure`. Without labels it is empty.
    """

    task: Task
    channels: int
    spatial_shape: tuple[int | None, ...]
    spatial_dims: int
    outputs: int
    statistics: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def class_counts(self) -> tuple[int, ...] | None:
        """How many training samples each class has, in the order of the classes.

        None where the task has no classes.
        """
        return self.statistics.get("class_counts")

    @property
    def finding_counts(self) -> tuple[tuple[int, int], ...] | None:
        """How many training samples are without each finding, and how many have it.

        Those whose label is missing count in neither. None where the task has no findings.
        """
        return self.statistics.get("finding_counts")

    @property
    def voxel_counts(self) -> tuple[int, ...] | None:
        """How many voxels of the training masks are in no structure, and in each.

        None where labels are no images.
        """
        return self.statistics.get("voxel_counts")

    @property
    def target_means(self) -> tuple[float, ...] | None:
        """The mean of each target over the training samples that have it; None without targets."""
        return self.statistics.get("target_means")

    @property
    def target_spreads(self) -> tuple[float, ...] | None:
        """The standard deviation of each target there, 1 where it does not vary."""
        return self.statistics.get("target_spreads")


Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


Denominator = Callable[["torch.Tensor"], "torch.Tensor"]


Inferer = Callable[["torch.Tensor", Callable[..., Any]], "torch.Tensor"]


def _itself(network: nn.Module) -> nn.Module:
    return network


@attrs.frozen(kw_only=True, eq=False)
class TrainingParts:
    """What a trainer step gets to build a trainer from.

    Attributes:
        network: The network, on its device.
        loss: Gives a scalar for predictions of shape (batch, outputs) and the labels: int64 of
            shape (batch,) for ``multiclass``, else float32 of shape (batch, outputs). Where labels
            are images, for predictions (batch, outputs, spatial...) and uint8 labels, or for
            several predictions, the network's first (deep supervision). In a run on several
            processes it is that of the whole batch, and each iteration calls it in each.
        loader: The training batches, one pass of the training data for each iteration over it:
            a dictionary with ``image`` of shape (batch, channels, spatial...), ``label`` and
            ``id``.
        device: Where the network is.
        precision: ``float32``, or ``bfloat16`` for autocast; already decided for this device.
        data: What was measured on the data.
        denominator: What a loss of these labels was divided by: the number of samples, that of the
            labels that are there, or the sum of their weights; a tensor without dimensions. With
            it, batches are weighed as if they were one. None: the loss is of a batch as a whole.
        max_epochs: How many epochs to train; already decided where the configuration has "auto".
        history: The validation metrics of each epoch so far, ``loss`` among them; it grows while
            the engine runs, and is there after a resume. Empty without a validation split.
        parallel: Wraps a network for a run on several processes, by torch's
            `DistributedDataParallel`; in one process it gives the network itself. The engine
            calls what it gives; everything else, and `Training.state`, has the network. What is
            frozen at the beginning must be so before.
    """

    network: nn.Module
    loss: Loss
    loader: torch.utils.data.DataLoader[Any]
    device: torch.device
    precision: Literal["float32", "bfloat16"]
    data: DataInfo
    max_epochs: int
    denominator: Denominator | None = None
    history: Sequence[Mapping[str, Any]] = ()
    parallel: Callable[[nn.Module], nn.Module] = _itself

    def inferer(self) -> SimpleInferer:
        """Make the `inferer` of MONAI's trainers: it calls the network in `precision`.

        What a network gives in bfloat16 becomes float32, of several outputs (deep supervision)
        each. In float32 it is MONAI's own `SimpleInferer`.
        """
        return inferer_in(self.precision, self.device)


@attrs.frozen(kw_only=True, eq=False)
class Training:
    """What a trainer step gives.

    Attributes:
        engine: An Ignite engine whose ``run()`` takes no arguments (MONAI's trainers do), with
            the loss of each iteration in its output under ``loss``.
        state: What a checkpoint must hold, by name: objects with ``state_dict``. It includes
            ``network`` and the optimizers.
        planned: What its schedules were laid out for, as plain numbers by name, such as the number
            of all steps: a resumed run is refused where it would be for another. Empty: for
            nothing, as a constant rate or one that falls with the validation loss. None: that is
            found in the objects of `state` where they are schedules of torch, Ignite or MONAI.
    """

    engine: Engine
    state: Mapping[str, Any]
    planned: Mapping[str, Any] | None = None
