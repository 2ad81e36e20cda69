"""The trainer `supervised`: MONAI's `SupervisedTrainer` with any optimizer and schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge, gt, optional

from medpipe.builtin.optimizers import Adam
from medpipe.builtin.schedules import OneCycle
from medpipe.builtin.trainers.recomputation import repeated_blocks
from medpipe.builtin.trainers.training_step import (
    compiling,
    guard,
    make_inferer,
    prepare_channels_last,
    to_channels_last,
    trainer_class,
)
from medpipe.plugin import (
    Accumulation,
    Auto,
    AutoInfo,
    Freezing,
    OptimizerStep,
    ParameterGroup,
    ScheduleStep,
    Steps,
    TrainerStep,
    Training,
    TrainingParts,
    auto_learning_rate,
    follow_schedule,
    make_optimizer,
    or_auto,
    resolved,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def _not_compiled(step: Supervised, _: attrs.Attribute[Any], recompute: bool) -> None:
    # A configuration's values are tried before the defaults are in place.
    if recompute and getattr(step, "compile", False):
        raise ValueError(
            "can't be given with compile: a compiled step chooses by itself which activations it "
            "keeps."
        )


@attrs.frozen(kw_only=True)
class Supervised(TrainerStep):
    """MONAI's ``SupervisedTrainer``, the tutorial's set-up by default.

    The learning rate follows the schedule at every step of the optimizer. Networks of 2-D
    convolutions are computed in channels last where they can be, and on CUDA the optimizer is
    torch's fused one; neither changes what a checkpoint holds.

    Attributes:
        epoch_length: Iterations in an epoch; None: one pass of the training data. Where it is
            shorter, the next epoch continues where this one stopped.
        learning_rate: The highest. ``"auto"``: the optimizer's usual one (of Adam and the like
            twice as high for batches of 32 and more as for 8), a tenth of it where the network
            starts from trained weights.
        optimizer: The optimizer.
        schedule: What the learning rate is multiplied by at each step. ``"auto"``: ``one_cycle``.
        gradient_clip: The largest norm of all gradients together; None: no limit.
        accumulation: Iterations for one step of the optimizer: the gradient is that of the mean
            over all their samples, also where batches are uneven.
        parameters: Tables with ``match``: parameters with a learning rate of their own, or
            frozen, always or for some epochs; see `ParameterGroup`.
        compile: Compile the training step's network by ``torch.compile``, which takes a minute
            or more in the first iteration and needs a C++ compiler, on CUDA Triton. Validation,
            prediction and checkpoints are those of the network as it is.
        recompute: Compute the activations inside the network's repeated blocks (dense layers,
            residual blocks, and the like) again in the backward pass, instead of keeping them
            (Chen et al., 2016, arXiv:1604.06174). A step takes up to two fifths longer and
            much less memory; what is trained is the same. Hooks of modules inside blocks are called
            twice. Not with `compile`.
    """

    name: ClassVar[str] = "supervised"

    epoch_length: int | None = attrs.field(default=None, validator=optional(ge(1)))
    learning_rate: float | Auto = attrs.field(default="auto", validator=or_auto(gt(0)))
    optimizer: OptimizerStep = Adam()
    schedule: ScheduleStep | Auto = "auto"
    gradient_clip: float | None = attrs.field(default=None, validator=optional(gt(0)))
    accumulation: int = attrs.field(default=1, validator=ge(1))
    parameters: tuple[ParameterGroup, ...] = ()
    compile: bool = False
    recompute: bool = attrs.field(default=False, validator=_not_compiled)  # looks at the others

    def resolve(self, info: AutoInfo) -> TrainerStep:
        """Choose the learning rate and the schedule; see `TrainerStep.resolve`."""
        chosen: dict[str, Any] = {}
        if self.learning_rate == "auto":
            chosen["learning_rate"] = auto_learning_rate(
                self.optimizer.usual_rate,
                info.batch_size * self.accumulation,
                grows=self.optimizer.rate_grows,
                pretrained=info.pretrained,
            )
        if self.schedule == "auto":
            chosen["schedule"] = OneCycle()
        return super(Supervised, attrs.evolve(self, **chosen)).resolve(info)

    def recomputed_blocks(self, network: torch.nn.Module) -> Sequence[torch.nn.Module]:
        """Give the repeated blocks; see `TrainerStep.recomputed_blocks`.

        Raises:
            DataError: `recompute` is set, and the network repeats none.
        """
        return repeated_blocks(network) if self.recompute else ()

    def build(self, parts: TrainingParts) -> Training:
        """Make the trainer; see `TrainerStep.build`.

        Raises:
            DataError: A group of `parameters` fits no parameter, nothing is left to train, or
                there is nothing to `recompute`.
        """
        from monai.engines.utils import IterationEvents, default_prepare_batch

        network = parts.network
        channels_last = to_channels_last(parts)
        optimizer = make_optimizer(
            self.optimizer,
            network,
            learning_rate=resolved(self.learning_rate),
            groups=self.parameters,
        )
        length = self.epoch_length or len(parts.loader)
        steps = Steps(
            max_epochs=parts.max_epochs, epoch_length=length, accumulation=self.accumulation
        )
        loss, accumulation = parts.loss, None
        if self.accumulation > 1 and parts.denominator is not None:
            accumulation = Accumulation(parts.denominator, network, steps)
            loss = accumulation.weighed(loss)
        freezing = Freezing(network, self.parameters)  # first: what is frozen is not averaged
        trainer = trainer_class(compiled=self.compile)(
            device=parts.device,
            max_epochs=parts.max_epochs,
            train_data_loader=parts.loader,
            network=parts.parallel(network),
            optimizer=optimizer,
            loss_function=loss,
            epoch_length=length,
            non_blocking=parts.device.type == "cuda",
            prepare_batch=prepare_channels_last if channels_last else default_prepare_batch,
            inferer=make_inferer(parts, self.recomputed_blocks(network)),
            decollate=False,
            optim_set_to_none=True,
            accumulation_steps=self.accumulation,
            compile=self.compile,
            compile_kwargs=compiling(),
        )
        state: dict[str, Any] = {"network": network, "optimizer": optimizer}
        if accumulation is not None:  # first: gradients are clipped after it
            accumulation.attach(trainer)
            state["accumulation"] = accumulation
        freezing.attach(trainer)
        if self.gradient_clip is not None:
            trainer.add_event_handler(
                IterationEvents.BACKWARD_COMPLETED, _clip, network, self.gradient_clip, steps
            )
        if parts.device.type == "cuda" and optimizer.defaults.get("fused"):
            # On a CPU the loss is there at once, and the loop looks at it before the step.
            guard(trainer, optimizer, parts.device)
        planned = follow_schedule(
            trainer, optimizer, resolved(self.schedule), steps=steps, history=parts.history
        )
        return Training(engine=trainer, state=state, planned=planned)


def _clip(engine: Any, network: torch.nn.Module, most: float, steps: Steps) -> None:
    if steps.is_one(engine.state.iteration):
        import torch

        torch.nn.utils.clip_grad_norm_(network.parameters(), most)


TRAINERS = (Supervised,)
