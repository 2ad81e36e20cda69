"""Small trainings on a set that can be learned, which checks of trainers and handlers watch.

Loaders, loop and checkpoints are the library's own. torch and Ignite are imported inside functions.
"""

from __future__ import annotations

import copy
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.assembly import Assembly
from medpipe.config import Configuration
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.settings import LoaderSettings
from medpipe.steps import (
    DataInfo,
    NetworkStep,
    TrainerStep,
    Training,
    TrainingParts,
)
from medpipe.testing.check import Case, skip
from medpipe.testing.learnable import BATCH, SAMPLES, Listed, Small, loader_of
from medpipe.training.determinism import seeded
from medpipe.training.stopping import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from medpipe.data.loading.loader import Loader
    from medpipe.training.loop import Progress
    from medpipe.training.run_checkpoints import Found

EPOCHS = 3
ENOUGH = 2000
"""Iterations after which a training that should be over is."""


@attrs.define(eq=False)
class Seen:
    """What was seen of a training.

    Attributes:
        losses: How often the loss was called.
        calls: How the network was called for a gradient: by what `TrainingParts.parallel` gave, or
            by itself.
        types: The types of what its last layer gave.
        optimizers: The optimizers that made steps.
        rates: Their learning rates, at each step.
    """

    losses: int = 0
    calls: list[Literal["parallel", "itself"]] = attrs.field(factory=list)
    types: set[str] = attrs.field(factory=set)
    optimizers: list[Any] = attrs.field(factory=list)
    rates: list[list[float]] = attrs.field(factory=list)
    inside: bool = False

    def watch(self, network: nn.Module) -> None:
        """See the calls of a network."""
        import torch

        def before(module: nn.Module, _: object) -> None:
            if module is network and torch.is_grad_enabled():
                self.calls.append("parallel" if self.inside else "itself")

        def after(_: nn.Module, __: object, output: Any) -> None:
            if torch.is_grad_enabled():
                self.types.add(str(output.dtype).removeprefix("torch."))

        network.register_forward_pre_hook(before)
        network.head.register_forward_hook(after)  # type: ignore[union-attr]

    def parallel(self, network: nn.Module) -> nn.Module:
        """Wrap a network, as torch's `DistributedDataParallel` does."""
        from torch import nn

        seen = self

        class Parallel(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = network

            def forward(self, *inputs: Any, **options: Any) -> Any:
                seen.inside = True
                try:
                    return self.module(*inputs, **options)
                finally:
                    seen.inside = False

        return Parallel()

    def step(self, optimizer: Any, *_: object) -> None:
        """See a step of an optimizer."""
        if not any(optimizer is known for known in self.optimizers):
            self.optimizers.append(optimizer)
        self.rates.append([float(group["lr"]) for group in optimizer.param_groups])


class _StopsAt(StopRequest):
    """Asks to stop after so many iterations."""

    def __init__(self, engine: Any, iteration: int) -> None:
        super().__init__()
        self._engine, self._iteration = engine, iteration

    @property
    def reason(self) -> str | None:
        return "the check" if self._engine.state.iteration >= self._iteration else None


@attrs.frozen(kw_only=True, eq=False)
class Tried:
    """A training that is tried.

    Attributes:
        training: What the trainer step gave.
        parts: What it was given.
        loader: The library's loader.
        seen: What was seen of it.
        history: The validation metrics so far.
    """

    training: Training
    parts: TrainingParts
    loader: Loader
    seen: Seen
    history: list[dict[str, float | None]]

    @property
    def engine(self) -> Any:
        """The trainer's engine."""
        return self.training.engine

    def run(self, iterations: int, each: Callable[[], object] | None = None) -> None:
        """Let the engine run for so many iterations, calling a function after each."""
        from ignite.engine import Events

        done = 0

        def follow() -> None:
            nonlocal done
            done += 1
            if (each is not None and each()) or done >= iterations:
                self.engine.terminate()

        self.engine.add_event_handler(Events.ITERATION_COMPLETED, follow)
        self.engine.run()

    def loop(
        self,
        *,
        progress: Progress | None = None,
        stop_at: int = ENOUGH,
        save: Callable[[Progress], object] = lambda _: None,
        fire: Callable[..., object] = lambda *_: None,
    ) -> list[Any]:
        """Train as a run does, with a validation after each epoch.

        Args:
            progress: How far it has come.
            stop_at: Stop after so many iterations.
            save: Called where a checkpoint is written.
            fire: Tells handlers of the run's events.

        Returns:
            The epochs, as the library counts them.
        """
        from medpipe.training.loop import Progress, TrainingLoop

        epochs: list[Any] = []
        reached = progress or Progress()
        self.history[:] = reached.history
        reached.history = self.history

        def validate() -> dict[str, float | None]:
            metrics: dict[str, float | None] = {"loss": self.loss()}
            fire("validation_completed", metrics)
            return metrics

        def on_epoch(epoch: Any, now: Progress) -> None:
            epochs.append(epoch)
            on_save(now)

        def on_save(now: Progress) -> None:
            save(now)
            fire("checkpoint_saved")

        TrainingLoop(
            training=self.training,
            validate=validate,
            monitor="loss",
            mode="min",
            patience=None,
            max_epochs=self.parts.max_epochs,
            on_epoch=on_epoch,
            on_save=on_save,
            stop=_StopsAt(self.engine, stop_at),
            progress=reached,
        ).run()
        return epochs

    def loss(self) -> float:
        """The loss of the network on the whole set, in evaluation mode."""
        import torch

        batches = self.loader.dataset
        key = next(iter(EpochBatchSampler(count=SAMPLES, batch_size=SAMPLES, seed=None)))
        batch: Any = batches[key]
        network = self.parts.network
        was_training = network.training
        with torch.no_grad():
            outputs = network.eval()(batch["image"])
            found = float(_plain_loss(self.parts)(outputs, batch["label"]))
        network.train(was_training)
        return found

    def states(self) -> dict[str, Any]:
        """The states of what a checkpoint holds, by name."""
        return {
            name: copy.deepcopy(item.state_dict()) for name, item in self.training.state.items()
        }

    def checkpoint(self, progress: Progress, path: Path) -> None:
        """Write a checkpoint as a run does."""
        from medpipe.training.checkpoint import save_checkpoint
        from medpipe.training.restoring import checkpoint_of

        state, about = checkpoint_of(self.training, progress, self.loader)
        save_checkpoint(path, state, about=about)

    def restore(self, path: Path) -> Progress:
        """Put a checkpoint back as a resumed run does."""
        from medpipe.training.checkpoint import load_checkpoint
        from medpipe.training.restoring import restore

        return restore(_found(*load_checkpoint(path)), self.training, self.loader, seed=0)


def _found(states: Mapping[str, Any], about: Mapping[str, Any]) -> Found:
    from medpipe.training.run_checkpoints import Found

    return Found(states=states, about=about)


def _plain_loss(parts: TrainingParts) -> Any:
    return getattr(parts.loss, "plain", parts.loss)


@contextmanager
def training_of(
    case: Case,
    data: DataInfo,
    *,
    trainer: TrainerStep | None = None,
    network: NetworkStep | None = None,
    epochs: int = EPOCHS,
    precision: Literal["float32", "bfloat16"] = "float32",
    parallel: bool = False,
    loss: Callable[[Any, int], Any] = lambda value, _: value,
) -> Iterator[Tried]:
    """Build a training as a run does, from the seed 0; all generators are put back afterwards.

    Args:
        case: The trainer, unless another is given.
        data: What to train on.
        trainer: The trainer.
        network: The network; by default a small one.
        epochs: For how many epochs.
        precision: In what to compute.
        parallel: Whether the network is wrapped as in a run on several processes.
        loss: Changes a loss, which has been called so many times.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    seen = Seen()
    history: list[dict[str, float | None]] = []
    with seeded(0):
        assembly = _assembly(case, trainer or case.step, network or Small(), epochs, data)
        loader, device = loader_of(data), torch.device("cpu")
        built = assembly.network(data)
        seen.watch(built)
        plain = assembly.loss(data, device)

        def watched(outputs: Any, labels: Any) -> Any:
            seen.losses += 1
            return loss(plain(outputs, labels), seen.losses)

        watched.plain = plain  # type: ignore[attr-defined]
        parts = assembly.parts(
            network=built,
            loss=plain,
            loader=loader,
            device=device,
            precision=precision,
            data=data,
            history=history,
        )
        parts = attrs.evolve(parts, loss=watched)
        if parallel:
            parts = attrs.evolve(parts, parallel=seen.parallel)
        training = assembly.trainer(parts)
        if isinstance(logger := getattr(training.engine, "logger", None), logging.Logger):
            logger.disabled = True  # Ignite would tell the errors that checks ask for
        handle = register_optimizer_step_pre_hook(seen.step)
        try:
            yield Tried(training=training, parts=parts, loader=loader, seen=seen, history=history)
        finally:
            handle.remove()


def _assembly(
    case: Case, trainer: TrainerStep, network: NetworkStep, epochs: int, data: DataInfo
) -> Assembly:
    try:
        trainer = attrs.evolve(trainer, max_epochs=epochs, patience=None)
    except ValueError as error:
        raise skip(f"it can't train for {epochs} epochs: {error}") from error
    configuration = Configuration(
        dataset=Listed(),
        transforms=(),
        network=network,
        trainer=trainer,
        loader=LoaderSettings(batch_size=BATCH, workers=0, sampling="shuffled"),
    )
    assembly = Assembly(configuration=configuration, registry=case.registry)
    return assembly.resolved(data, SAMPLES)
