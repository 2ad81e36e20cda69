"""The trainer `supervised`: MONAI's `SupervisedTrainer` with optimizer and schedule by name."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt, lt, optional

from medpipe.builtin.trainers.parameter_groups import Freezing, ParameterGroup, divide
from medpipe.builtin.trainers.recomputation import repeated_blocks
from medpipe.builtin.trainers.training_step import (
    can_fuse,
    compiling,
    guard,
    keep_in_step,
    make_inferer,
    prepare_channels_last,
    to_channels_last,
    trainer_class,
)
from medpipe.plugin import TrainerStep, Training, TrainingParts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Betas = tuple[float, float]


def _betas(_: object, field: attrs.Attribute[Any], value: Betas) -> None:
    if not all(0 <= item < 1 for item in value):
        raise ValueError(f"'{field.name}' must be two numbers from 0 to below 1: {value}")


def _not_compiled(step: Supervised, _: attrs.Attribute[Any], recompute: bool) -> None:
    # A configuration's values are tried before the defaults are in place.
    if recompute and getattr(step, "compile", False):
        raise ValueError(
            "can't be given with compile: a compiled step decides itself what it keeps."
        )


@attrs.frozen(kw_only=True)
class Adam:
    """``torch.optim.Adam`` (Kingma and Ba, 2014, arXiv:1412.6980)."""

    name: Literal["adam"] = "adam"
    betas: Betas = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = attrs.field(default=1e-8, validator=gt(0))
    weight_decay: float = attrs.field(default=0.0, validator=ge(0))


@attrs.frozen(kw_only=True)
class AdamW:
    """``torch.optim.AdamW`` (Loshchilov and Hutter, 2017, arXiv:1711.05101)."""

    name: Literal["adamw"] = "adamw"
    betas: Betas = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = attrs.field(default=1e-8, validator=gt(0))
    weight_decay: float = attrs.field(default=0.01, validator=ge(0))


@attrs.frozen(kw_only=True)
class SGD:
    """``torch.optim.SGD``, with Nesterov's momentum where asked."""

    name: Literal["sgd"] = "sgd"
    momentum: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])
    nesterov: bool = attrs.field(default=False)
    weight_decay: float = attrs.field(default=0.0, validator=ge(0))

    @nesterov.validator
    def _needs_momentum(self, _: attrs.Attribute[Any], nesterov: bool) -> None:
        if nesterov and self.momentum == 0:
            raise ValueError("needs a momentum above 0.")


@attrs.frozen(kw_only=True)
class OneCycle:
    """``OneCycleLR`` up to the trainer's learning rate and down (Smith, arXiv:1708.07120)."""

    name: Literal["one_cycle"] = "one_cycle"
    warm_up: float = attrs.field(default=0.3, validator=[gt(0), lt(1)])
    start_divisor: float = attrs.field(default=25.0, validator=ge(1))
    end_divisor: float = attrs.field(default=1e4, validator=ge(1))


@attrs.frozen(kw_only=True)
class Cosine:
    """Cosine annealing down to a fraction (Loshchilov and Hutter, arXiv:1608.03983, eq. 5)."""

    name: Literal["cosine"] = "cosine"
    end_fraction: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])


@attrs.frozen(kw_only=True)
class Steps:
    """``StepLR``: times `factor` after every `epochs` epochs."""

    name: Literal["steps"] = "steps"
    epochs: int = attrs.field(default=1, validator=ge(1))
    factor: float = attrs.field(default=0.1, validator=[gt(0), lt(1)])


@attrs.frozen(kw_only=True)
class Supervised(TrainerStep):
    """MONAI's ``SupervisedTrainer``, the tutorial's set-up by default.

    The learning rate follows the schedule at every step of the optimizer. Networks of 2-D
    convolutions are computed in channels last where they can be, and on CUDA the optimizer is
    torch's fused one; neither changes what a checkpoint holds.

    Attributes:
        epoch_length: Iterations in an epoch; None: one pass of the training data. Where it is
            shorter, the next epoch continues where this one stopped.
        learning_rate: The optimizer's, and the highest of a one-cycle schedule.
        optimizer: A table with ``name``: ``adam``, ``adamw`` or ``sgd``, and its parameters.
        schedule: A table with ``name``: ``one_cycle``, ``cosine`` or ``steps``; None: constant.
        gradient_clip: The largest norm of all gradients together; None: no limit.
        accumulation: Iterations whose gradients are averaged into one step.
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
    learning_rate: float = attrs.field(default=1e-5, validator=gt(0))
    optimizer: Adam | AdamW | SGD = Adam()
    schedule: OneCycle | Cosine | Steps | None = None
    gradient_clip: float | None = attrs.field(default=None, validator=optional(gt(0)))
    accumulation: int = attrs.field(default=1, validator=ge(1))
    parameters: tuple[ParameterGroup, ...] = ()
    compile: bool = False
    recompute: bool = attrs.field(default=False, validator=_not_compiled)  # looks at the others

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
        from ignite.engine import Events
        from monai.engines.utils import IterationEvents, default_prepare_batch

        network = parts.network
        owner = divide(network, self.parameters)
        channels_last = to_channels_last(parts)
        optimizer = self._optimizer(network, owner)
        freezing = Freezing(network, self.parameters, owner)
        length = self.epoch_length or len(parts.loader)
        trainer = trainer_class(compiled=self.compile)(
            device=parts.device,
            max_epochs=self.max_epochs,
            train_data_loader=parts.loader,
            network=network,
            optimizer=optimizer,
            loss_function=parts.loss,
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
        trainer.add_event_handler(Events.EPOCH_STARTED, _freeze, freezing)
        if self.gradient_clip is not None:
            trainer.add_event_handler(
                IterationEvents.BACKWARD_COMPLETED, _clip, network, self.gradient_clip
            )
        if parts.device.type == "cuda" and optimizer.defaults["fused"]:
            # On a CPU the loss is there at once, and the loop looks at it before the step.
            guard(trainer, optimizer, parts.device)
        epoch_steps = math.ceil(length / self.accumulation)
        schedule = self._schedule(optimizer, epoch_steps)
        if schedule is not None:
            state["schedule"] = schedule
            trainer.add_event_handler(Events.ITERATION_COMPLETED, _advance, schedule)
        return Training(engine=trainer, state=state, planned=self._planned(epoch_steps))

    def _planned(self, epoch_steps: int) -> dict[str, int]:
        """What the schedule was laid out for."""
        if self.schedule is None:
            return {}
        if isinstance(self.schedule, Steps):  # more epochs change none of its steps
            return {"steps of the optimizer in an epoch": epoch_steps}
        return {"steps of the optimizer in all": self.max_epochs * epoch_steps}

    def _optimizer(
        self, network: torch.nn.Module, owner: dict[str, int | None]
    ) -> torch.optim.Optimizer:
        """The optimizer, with a group for each of `parameters` that is ever trained.

        What is frozen for some epochs is in it from the start, so that its state has one form.
        """
        import torch

        members: dict[int | None, list[torch.nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            index = owner[name]
            if parameter.requires_grad and (index is None or not self.parameters[index].freeze):
                members.setdefault(index, []).append(parameter)
        groups = [
            {"params": members[index], **self._rates(index)}
            for index in (None, *range(len(self.parameters)))
            if index in members
        ]
        options = attrs.asdict(self.optimizer)
        cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        made: torch.optim.Optimizer = cls[options.pop("name")](
            groups,
            lr=self.learning_rate,
            # None: torch chooses, as by default.
            fused=can_fuse(item for group in members.values() for item in group) or None,
            **options,
        )
        keep_in_step(made)
        return made

    def _rates(self, index: int | None) -> dict[str, float]:
        """What a group of the optimizer has of its own."""
        if index is None:
            return {}
        group = self.parameters[index]
        own = {"lr": group.learning_rate, "weight_decay": group.weight_decay}
        return {name: value for name, value in own.items() if value is not None}

    def _schedule(
        self, optimizer: torch.optim.Optimizer, epoch_steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        from torch.optim import lr_scheduler

        schedule, steps = self.schedule, self.max_epochs * epoch_steps
        if isinstance(schedule, OneCycle):
            return lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                # One more than there are: it is advanced after the last step too.
                total_steps=steps + 1,
                pct_start=schedule.warm_up,
                div_factor=schedule.start_divisor,
                final_div_factor=schedule.end_divisor,
                cycle_momentum=False,
            )
        if isinstance(schedule, Cosine):
            # CosineAnnealingLR has one end for all groups, whatever their learning rates.
            return lr_scheduler.LambdaLR(optimizer, partial(_cosine, steps, schedule.end_fraction))
        if isinstance(schedule, Steps):
            size = schedule.epochs * epoch_steps
            return lr_scheduler.StepLR(optimizer, step_size=size, gamma=schedule.factor)
        return None


def _clip(engine: Any, network: torch.nn.Module, most: float) -> None:
    if _is_step(engine):
        import torch

        torch.nn.utils.clip_grad_norm_(network.parameters(), most)


def _freeze(engine: Any, freezing: Freezing) -> None:
    freezing.apply(engine.state.epoch)


def _cosine(steps: int, end: float, step: int) -> float:
    """The part of the learning rate that is left after so many steps."""
    return end + (1 - end) * (1 + math.cos(math.pi * step / steps)) / 2


def _advance(engine: Any, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    if _is_step(engine):
        schedule.step()


def _is_step(engine: Any) -> bool:
    """Whether the optimizer steps in this iteration: with accumulation, in every n-th and last."""
    place = (engine.state.iteration - 1) % engine.state.epoch_length + 1
    return bool(place == engine.state.epoch_length or place % engine.accumulation_steps == 0)


TRAINERS = (Supervised,)
