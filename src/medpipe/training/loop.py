"""The loop around a trainer's engine: losses, validation after each epoch, the best network.

Heavy: it imports torch and ignite; the package imports it inside functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch
from ignite.engine import Engine, Events

from medpipe.errors import StepError, TrainingError
from medpipe.evaluation.metrics import is_better
from medpipe.progress import Bar, bar

if TYPE_CHECKING:
    from medpipe.steps import Training

Metrics = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: Counted from 1.
        iterations: How many iterations there have been by its end.
        loss: The mean training loss of its batches.
        validation: The metrics on the validation part; empty where there is none.
        seconds: How long it took, validation included.
        best: Whether its network is the best so far.
    """

    number: int
    iterations: int
    loss: float
    validation: Metrics
    seconds: float
    best: bool


@attrs.define
class _Watch:
    """What the handlers remember between events."""

    losses: list[float] = attrs.field(factory=list)
    started: float = attrs.field(factory=time.perf_counter)
    best: float | None = None
    best_epoch: int = 0


def train(
    training: Training,
    *,
    validate: Callable[[], Metrics] | None,
    monitor: str,
    mode: Literal["max", "min"],
    patience: int | None,
    on_epoch: Callable[[Epoch], None],
    max_epochs: int,
) -> None:
    """Run a trainer's engine to its end.

    Args:
        training: What the trainer step gave.
        validate: Gives the metrics on the validation part; None where there is none, and then
            the last network counts as the best.
        monitor: The metric that decides which network is the best.
        mode: Whether more or less of it is better.
        patience: Stop after so many epochs without a better one; None: never.
        on_epoch: Called after each epoch, before the next begins.
        max_epochs: For the progress bar.

    Raises:
        TrainingError: A loss is not finite; it names the epoch, the iteration and the samples.
            Where the engine has MONAI's iteration events, nothing of that step is applied.
        StepError: The engine's output has no loss.
    """
    engine = training.engine
    watch = _Watch()
    with bar("Training", None, unit="iterations") as shown:
        engine.add_event_handler(_loss_event(engine), lambda: _record_loss(engine, watch))
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda: _show(engine, watch, shown, max_epochs)
        )

        def finish_epoch() -> None:
            metrics = validate() if validate is not None else {}
            better = validate is None or is_better(mode, metrics.get(monitor), watch.best)
            if better:
                watch.best, watch.best_epoch = metrics.get(monitor), engine.state.epoch
            on_epoch(
                Epoch(
                    number=engine.state.epoch,
                    iterations=engine.state.iteration,
                    loss=math.fsum(watch.losses) / len(watch.losses),
                    validation=metrics,
                    seconds=time.perf_counter() - watch.started,
                    best=better,
                )
            )
            watch.losses, watch.started = [], time.perf_counter()
            if patience is not None and engine.state.epoch - watch.best_epoch >= patience:
                engine.terminate()

        engine.add_event_handler(Events.EPOCH_COMPLETED, finish_epoch)
        engine.run()


def _loss_event(engine: Engine) -> Any:
    """The event before the step is applied, where the engine has it."""
    from monai.engines.utils import IterationEvents

    allowed = getattr(engine, "_allowed_events", ())
    if IterationEvents.LOSS_COMPLETED in allowed:
        return IterationEvents.LOSS_COMPLETED
    return Events.ITERATION_COMPLETED


def _record_loss(engine: Engine, watch: _Watch) -> None:
    output: Any = engine.state.output
    if not isinstance(output, Mapping) or "loss" not in output:
        raise StepError(
            "The trainer's engine gives no 'loss' in its output. Return a dictionary with "
            "'loss' from its iteration, as MONAI's SupervisedTrainer does."
        )
    loss = float(torch.as_tensor(output["loss"]).detach())
    if not math.isfinite(loss):
        batch: Any = engine.state.batch
        ids = batch.get("id", []) if isinstance(batch, Mapping) else []
        some = ", ".join(repr(item) for item in list(ids)[:5])
        more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        raise TrainingError(
            f"The loss is {loss} in epoch {engine.state.epoch}, iteration "
            f"{engine.state.iteration}; the batch held {some}{more}. Lower "
            "trainer.learning_rate, set trainer.gradient_clip, or look at these samples."
        )
    watch.losses.append(loss)


def _show(engine: Engine, watch: _Watch, shown: Bar, max_epochs: int) -> None:
    length = engine.state.epoch_length
    shown.describe(
        f"Epoch {engine.state.epoch}/{max_epochs}, iteration "
        f"{len(watch.losses)}/{length}, loss {watch.losses[-1]:.4f}"
    )
    shown.advance()
