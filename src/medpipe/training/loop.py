"""The loop around a trainer's engine: losses, validation after each epoch, the best network.

Heavy: it imports torch and ignite; the package imports it inside functions.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch
from ignite.engine import Engine, Events

from medpipe.errors import StepError, TrainingError
from medpipe.evaluation.metrics import is_better
from medpipe.system.progress import bar
from medpipe.training.clock import Clock, ShownProgress
from medpipe.training.loss_events import on_loss
from medpipe.training.monitored import is_defined
from medpipe.training.stopping import Stopped, StopRequest

if TYPE_CHECKING:
    from medpipe.steps import Training

Metrics = Mapping[str, Any]

logger = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: Counted from 1.
        iterations: How many iterations there have been by its end.
        loss: The mean training loss of its batches.
        learning_rate: Of its last iteration, for the first group of parameters; None where the
            engine has no ``optimizer``.
        validation: The metrics on the validation split; empty where there is none.
        seconds: How long it took, validation included.
        best: Whether its network is the best so far.
    """

    number: int
    iterations: int
    loss: float
    learning_rate: float | None
    validation: Metrics
    seconds: float
    best: bool


@attrs.define(kw_only=True)
class Progress:
    """How far a training has come, as plain data: with the state dictionaries enough to resume.

    Attributes:
        iteration: Iterations done.
        epoch_length: Iterations in an epoch.
        losses: Of the iterations of the epoch that has begun.
        seconds: How long that epoch has taken.
        validating: Whether its iterations are done and its validation is not.
        best: The best value of the monitored metric.
        best_loss: The validation loss of the best epoch.
        best_epoch: Its number; 0: none yet.
        finished: Whether the training has come to its end, early stopping included.
        early: Whether that was before all epochs were done.
        history: The validation metrics of each epoch so far that are numbers.
    """

    iteration: int = 0
    epoch_length: int | None = None
    losses: list[float] = attrs.field(factory=list)
    seconds: float = 0.0
    validating: bool = False
    best: float | None = None
    best_loss: float | None = None
    best_epoch: int = 0
    finished: bool = False
    early: bool = False
    history: list[dict[str, float | None]] = attrs.field(factory=list)

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    def over(self, *, max_epochs: int, patience: int | None) -> bool:
        """Whether all epochs are done, or none was better for so many."""
        waited = self.epochs - self.best_epoch
        return self.epochs >= max_epochs or (patience is not None and waited >= patience)


@attrs.frozen(kw_only=True, eq=False)
class TrainingLoop:
    """Runs a trainer's engine.

    Attributes:
        training: What the trainer step gave.
        validate: Gives the metrics on the validation split; None where there is none, and then
            the last network counts as the best.
        monitor: The metric that decides which network is the best. In epochs where it is
            undefined the validation loss decides.
        mode: Whether more or less of it is better.
        patience: Stop after so many epochs without a better one; None: never.
        max_epochs: How many there are to be.
        on_epoch: Called after each epoch, before the next begins, with the progress to save.
        on_save: Called with the progress to save where the run is to stop before an epoch's end,
            and every so many seconds before it.
        save_every: So many seconds; None: never.
        stop: Says whether it is to stop.
        progress: How far an earlier run has come; the states must be loaded already.
    """

    training: Training
    validate: Callable[[], Metrics] | None
    monitor: str
    mode: Literal["max", "min"]
    patience: int | None
    max_epochs: int
    on_epoch: Callable[[Epoch, Progress], None]
    on_save: Callable[[Progress], None]
    stop: StopRequest
    save_every: float | None = None
    progress: Progress = attrs.field(factory=Progress)
    _pending: deque[_Pending] = attrs.field(factory=deque, init=False)
    _since_saved: Clock = attrs.field(factory=lambda: Clock(), init=False)

    def run(self) -> None:
        """Train to the end, or until the run is to stop.

        Raises:
            TrainingError: A loss is not finite; it names the epoch, the iteration and the
                samples. Where the engine has MONAI's iteration events, nothing of that step is
                applied. Where the optimizers have ``found_inf`` they skip the step themselves,
                and the loss is looked at one iteration later, without waiting for it.
                Or the engine ended by itself, and not between two epochs.
            StepError: The engine's output has no loss.
        """
        if self.progress.finished:
            return
        engine = self.training.engine
        if self.progress.iteration:
            engine.load_state_dict(
                {
                    "iteration": self.progress.iteration,
                    "epoch_length": self.progress.epoch_length,
                    "max_epochs": self.max_epochs,
                }
            )
        started = Clock(self.progress.seconds)
        if self.progress.validating and not self._finish_epoch(started):
            return
        length = engine.state.epoch_length
        total = None if length is None else self.max_epochs * length
        with bar("Training", total, unit="iterations") as plain:
            shown = ShownProgress(plain)
            late = _skip_by_themselves(self.training)
            on_loss(engine, lambda: self._record_loss(engine, late))
            engine.add_event_handler(
                Events.ITERATION_COMPLETED, lambda: self._finish_iteration(started, shown)
            )
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: self._finish_epoch(started))
            began = self.progress.iteration
            engine.run()
            if not self.progress.finished and self.stop.reason is None:
                self._end_with_engine(began)

    def _end_with_engine(self, began: int) -> None:
        """Take what has ended by itself for finished, where that is between two epochs.

        Raises:
            TrainingError: It is not: resuming would end at the same place each time.
        """
        engine, progress = self.training.engine, self.progress
        if progress.iteration == began:
            raise TrainingError(
                "The trainer's engine ended by itself without one iteration, in epoch "
                f"{max(engine.state.epoch, 1)} of {self.max_epochs}. Check that its loader gives "
                "batches, and what terminates the engine."
            )
        if progress.losses or self._pending:
            raise TrainingError(
                f"The trainer's engine ended by itself in epoch {engine.state.epoch} of "
                f"{self.max_epochs}, after {len(progress.losses) + len(self._pending)} of "
                f"{progress.epoch_length} iterations. Check whether its loader gives fewer batches "
                "than the engine's epoch_length, and what terminates the engine."
            )
        logger.warning(
            "The trainer's engine ended by itself after epoch %d of %d, so the training ends too.",
            engine.state.epoch,
            self.max_epochs,
        )
        progress.finished = progress.early = True
        self.on_save(progress)

    def _finish_iteration(self, started: Clock, shown: ShownProgress) -> None:
        engine, progress = self.training.engine, self.progress
        progress.iteration = engine.state.iteration
        progress.epoch_length = engine.state.epoch_length
        progress.seconds = started.seconds
        if shown.due:
            loss = f", loss {progress.losses[-1]:.4f}" if progress.losses else ""
            shown.describe(
                f"Epoch {engine.state.epoch}/{self.max_epochs}, iteration "
                f"{len(progress.losses) + len(self._pending)}/{progress.epoch_length}{loss}",
                done=progress.iteration,
            )
        # At an epoch's end the epoch is finished first: its validation would be lost.
        last = bool(progress.epoch_length) and progress.iteration % progress.epoch_length == 0  # type: ignore[operator]
        if last:
            return
        due = self.save_every is not None and self._since_saved.seconds >= self.save_every
        save = self.stop.agree(save=due)
        if self.stop.reason is not None:
            self._save()
            engine.terminate()
        elif save:
            self._save()

    def _save(self) -> None:
        """Save in the middle of an epoch."""
        self._look(0)
        self.on_save(self.progress)
        self._since_saved.restart()

    def _finish_epoch(self, started: Clock) -> bool:
        """Validate and report; return whether training continues."""
        engine, progress = self.training.engine, self.progress
        self._look(0)
        if not progress.losses:
            raise TrainingError(
                f"Epoch {engine.state.epoch} had no iteration. Check that the loader of the "
                "trainer's engine gives batches."
            )
        progress.validating = True
        try:
            metrics = self.validate() if self.validate is not None else {}
        except Stopped:
            self.on_save(progress)
            engine.terminate()
            return False
        progress.history.append(
            {name: v for name, v in metrics.items() if v is None or isinstance(v, float)}
        )
        better = self.validate is None or self._is_better(metrics)
        number = engine.state.epoch
        if better:
            progress.best, progress.best_loss = metrics.get(self.monitor), metrics.get("loss")
            progress.best_epoch = number
        epoch = Epoch(
            number=number,
            iterations=progress.iteration,
            loss=math.fsum(progress.losses) / len(progress.losses),
            learning_rate=_learning_rate(engine),
            validation=metrics,
            seconds=started.seconds,
            best=better,
        )
        progress.finished = progress.over(max_epochs=self.max_epochs, patience=self.patience)
        progress.early = progress.finished and number < self.max_epochs
        progress.losses, progress.seconds, progress.validating = [], 0.0, False
        self.on_epoch(epoch, progress)
        self.stop.agree()
        started.restart()
        self._since_saved.restart()
        if progress.early or self.stop.reason is not None:
            engine.terminate()
        return not progress.finished and self.stop.reason is None

    def _is_better(self, metrics: Metrics) -> bool:
        new, best = metrics.get(self.monitor), self.progress.best
        if not self.progress.best_epoch:
            return True
        if (is_defined(new) or is_defined(best)) and new != best:
            return is_better(self.mode, new, best)
        return is_better("min", metrics.get("loss"), self.progress.best_loss)

    def _record_loss(self, engine: Engine, late: bool) -> None:
        output: Any = engine.state.output
        if not isinstance(output, Mapping) or "loss" not in output:
            raise StepError(
                "The trainer's engine gives no 'loss' in its output. Return a dictionary with "
                "'loss' from its iteration, as MONAI's SupervisedTrainer does."
            )
        loss = torch.as_tensor(output["loss"]).detach()
        if not (late or self._pending) and math.isfinite(value := loss.item()):
            self.progress.losses.append(value)  # the short way of what follows
            return
        batch: Any = engine.state.batch
        self._pending.append(
            _Pending.of(
                loss,
                epoch=engine.state.epoch,
                iteration=engine.state.iteration,
                ids=batch.get("id", ()) if isinstance(batch, Mapping) else (),
                not_finite=() if late else _not_finite(batch),
            )
        )
        self._look(1 if late else 0)

    def _look(self, left: int) -> None:
        """Record the losses but the last so many, in their order.

        Raises:
            TrainingError: One is not finite.
        """
        while len(self._pending) > left:
            pending = self._pending.popleft()
            loss = pending.value()
            if not math.isfinite(loss):
                self._pending.clear()
                remedy = (
                    "Lower trainer.learning_rate, set trainer.gradient_clip, or check these "
                    "samples."
                )
                if pending.not_finite:
                    remedy = (
                        f"Values of {_some(pending.not_finite)} are not finite after the "
                        "transforms. Check the transform steps and these images."
                    )
                raise TrainingError(
                    f"The loss is {loss} in epoch {pending.epoch}, iteration "
                    f"{pending.iteration}; the batch held {_some(pending.ids)}. {remedy}"
                )
            self.progress.losses.append(loss)


@attrs.frozen(kw_only=True, eq=False)
class _Pending:
    """A loss on its way from the device."""

    copy: torch.Tensor
    arrived: torch.cuda.Event | None
    epoch: int
    iteration: int
    ids: Sequence[str]
    not_finite: Sequence[str]

    @classmethod
    def of(cls, loss: torch.Tensor, **about: Any) -> _Pending:
        """Start to fetch a loss, without waiting for it."""
        if loss.device.type != "cuda":
            # A copy: an engine may use the same tensor again.
            return cls(copy=loss.clone(), arrived=None, **about)
        copy = loss.to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(loss.device))
        return cls(copy=copy, arrived=arrived, **about)

    def value(self) -> float:
        """The loss, once it has arrived; what was asked of the device after it isn't waited for."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return float(self.copy)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(repr(item) for item in list(ids)[:5]) + more


def _not_finite(batch: Any) -> list[str]:
    """The samples of a batch whose images are not finite."""
    image = batch.get("image") if isinstance(batch, Mapping) else None
    if not isinstance(image, torch.Tensor) or "id" not in batch:
        return []
    finite = image.isfinite().flatten(1).all(dim=1).tolist()
    return [item for item, is_finite in zip(batch["id"], finite, strict=True) if not is_finite]


def _skip_by_themselves(training: Training) -> bool:
    """Whether every optimizer skips a step whose loss is not finite."""
    optimizers = [i for i in training.state.values() if isinstance(i, torch.optim.Optimizer)]
    return bool(optimizers) and all(
        getattr(optimizer, "found_inf", None) is not None for optimizer in optimizers
    )


def _learning_rate(engine: Engine) -> float | None:
    groups = getattr(getattr(engine, "optimizer", None), "param_groups", None)
    return float(groups[0]["lr"]) if groups else None
