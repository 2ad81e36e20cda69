"""The mean of several networks, of which one is in memory at a time.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import Members, TrainedNetwork
    from medpipe.steps import Inferer, Task, TaskStep
    from medpipe.training.forward import Caller
    from medpipe.training.predict import MeanLoss

SLICES = 8
"""Of how many slices of a volume probabilities are computed at a time."""
NEAR = 1e-3
"""How far scores may be from those that a task's own outputs for them give."""


@attrs.frozen(kw_only=True, eq=False)
class MeanInferer:
    """Gives outputs that mean what the members' probabilities mean on average.

    Beside the network of one member it holds the sum of the probabilities and the outputs of that
    member. Each batch loads the members anew, so that a batch should be a volume.

    Attributes:
        members: The networks.
        device: Where to compute.
        task: What outputs mean.
    """

    members: Members
    device: torch.device
    task: Task

    def __call__(self, images: torch.Tensor, network: object) -> torch.Tensor:
        """Give outputs, float32 of shape (batch, outputs, spatial...).

        Args:
            images: A batch.
            network: The members' holder, which is not called from here.

        Raises:
            StepError: The task has no `TaskStep.outputs_of` for its scores.
        """
        from medpipe.optimization.deep_supervision import first_output
        from medpipe.training.forward import Caller
        from medpipe.training.memory_format import in_channels_last

        step = self.task.step
        total: torch.Tensor | None = None
        for member in self.members.each(self.device):
            caller = Caller(
                device=self.device,
                precision=member.precision,
                inferer=member.assembly.inferer(member.data),
            )
            with in_channels_last(member.network) as run:
                for region, outputs in _parts(caller, images, first_output(run)):
                    scores = step.to_scores(outputs.float())
                    if total is None:
                        total = scores.new_zeros(
                            len(images), scores.shape[1], *images.shape[2:], device=self.device
                        )
                    total[region] += scores
                    del outputs, scores
        assert total is not None  # there is a member
        total /= len(self.members)
        _require_inverse(step, total)
        for start in range(0, total.shape[2], SLICES):
            total[:, :, start : start + SLICES] = step.outputs_of(
                total[:, :, start : start + SLICES]
            )
        return total


def _parts(
    caller: Caller, images: torch.Tensor, run: Any
) -> Iterator[tuple[tuple[slice[Any, Any, Any], ...], torch.Tensor]]:
    """The outputs for a batch, a few slices at a time, and where they are in all of them."""
    whole = slice(None)
    regions = caller.regions(images, run)
    if regions is None:
        found: Any = caller.outputs(images, run)
        regions = iter([([whole] * (images.ndim - 1), found)])
        del found
    for (some, first, *others), outputs in regions:
        begin = first.start or 0
        for start in range(0, outputs.shape[2], SLICES):
            part = outputs[:, :, start : start + SLICES]
            where = slice(begin + start, begin + start + part.shape[2])
            yield (some, whole, where, *others), part


def _require_inverse(step: TaskStep, scores: torch.Tensor) -> None:
    """See that outputs which a task makes of scores mean these scores, at one voxel."""
    voxel = scores[(slice(0, 1), slice(None), *(slice(0, 1) for _ in scores.shape[2:]))]
    back = step.to_scores(step.outputs_of(voxel))
    if back.shape != voxel.shape or not bool((back - voxel).abs().max() < NEAR):
        raise StepError(
            f"The task {step.name!r} makes scores of outputs (to_scores), but no outputs of scores "
            "that mean the same (outputs_of), so that networks can't be averaged. Add the method "
            f"outputs_of to {type(step).__name__}."
        )


def mean_over_members(
    trained: TrainedNetwork,
    device: torch.device,
    predict: Callable[[TrainedNetwork], tuple[Predictions, MeanLoss]],
) -> tuple[Predictions, MeanLoss]:
    """The mean of what the members predict: all samples by one member, then by the next.

    Each member is thus loaded once, and images are read and transformed anew for each. Where
    labels are images, `MeanInferer` takes the mean, and members follow one another in each volume.

    Args:
        trained: The networks, or one.
        device: Where to compute.
        predict: Predicts the samples, always in the same order.
    """
    if passes_of(trained) == 1:
        return predict(trained)
    total: Any = None
    found: tuple[Predictions, MeanLoss] | None = None
    for place in range(passes_of(trained)):
        found = None  # what is left of it is the sum
        member = network_at(trained, place)
        member.network.to(device)
        found = predict(member)
        if total is not None:
            found[0].scores[:] += total
        total = found[0].scores
    assert found is not None  # there is a member
    return attrs.evolve(found[0], scores=total / passes_of(trained)), found[1]


def passes_of(trained: TrainedNetwork) -> int:
    """How often samples are predicted: once for each network whose scores are averaged."""
    alone = trained.members is None or trained.data.task.step.dense
    return 1 if alone else len(trained.paths)


def network_at(trained: TrainedNetwork, place: int) -> TrainedNetwork:
    """One of several networks, by its place among `TrainedNetwork.paths`; or the only one."""
    if trained.members is None:
        return trained
    member, processes = trained.members.member(place), trained.assembly.processes
    return attrs.evolve(member, assembly=attrs.evolve(member.assembly, processes=processes))


def inferer_of(trained: TrainedNetwork, device: torch.device) -> Inferer:
    """How a network is called, or the mean of several where labels are images."""
    if trained.members is None or not trained.data.task.step.dense:
        return trained.assembly.inferer(trained.data)
    return MeanInferer(members=trained.members, device=device, task=trained.data.task)
