"""`TrackerStep`: a handler that sends a run to a tracker, which can't harm the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
from attrs.validators import ge

from medpipe.steps import HandlerStep
from medpipe.tracking.facts import Point
from medpipe.tracking.sender import Sender, described
from medpipe.tracking.tracker import Destination

if TYPE_CHECKING:
    from ignite.engine import Engine

    from medpipe.steps import RunContext
    from medpipe.tracking.facts import RunFacts
    from medpipe.tracking.tracker import TrackedStatus, Tracker

logger = logging.getLogger("medpipe")

ARTIFACTS = (
    "pipeline.toml",
    "run.json",
    "history.csv",
    "report.html",
    "model_card.md",
    "checkpoints/best.safetensors",
)


@attrs.frozen(kw_only=True)
class TrackerStep(HandlerStep):
    """Sends a training to a tracker; whatever happens to the tracker costs the run a warning.

    A thread of its own sends; the training never waits for it, and its end for `wait` seconds at
    most. What a tracker lacks is sent again when it answers again, and at the latest by
    ``medpipe track``.

    Attributes:
        every: Send the loss and the learning rate of every so many iterations.
        wait: How many seconds the end of a run waits for what is not sent yet.
        artifacts: The files of the run directory that are sent at its end, where they are there.
    """

    every: int = attrs.field(default=10, validator=ge(1))
    wait: float = attrs.field(default=10.0, validator=ge(0))
    artifacts: tuple[str, ...] = ARTIFACTS

    def load(self) -> None:
        """Import what the tracker needs.

        Raises:
            ImportError: It is not installed; the message says how to install it.
        """

    def open(self, facts: RunFacts) -> Tracker:
        """Find the run at the tracker by its id, or create it.

        Args:
            facts: What the run directory says.
        """
        raise NotImplementedError(f"{type(self).__name__} has no open method")

    @property
    def destination(self) -> Destination:
        """Where a run is sent, and what of it."""
        return Destination(
            name=self.name,
            load=self.load,
            open=self.open,
            every=self.every,
            wait=self.wait,
            artifacts=self.artifacts,
        )

    def attach(self, engine: Engine, context: RunContext) -> None:
        """Send while the engine trains; nothing of a try by a check."""
        if context.trial:
            return
        sender = Sender(self.destination, context.output, context.write_text)
        try:
            self.load()
            sender.start()
        except Exception as error:
            logger.warning(
                "The run is not sent to the tracker %s: %s. The run goes on; send it later with "
                "medpipe track %s --to %s.",
                self.name,
                described(error),
                context.output,
                self.name,
            )
        from ignite.engine import Events

        def note(engine: Any) -> None:
            iteration = engine.state.iteration
            if iteration % self.every == 0:
                sender.add(_points(engine, iteration))

        def end(status: TrackedStatus) -> Any:
            return lambda *_: sender.close(status)

        engine.add_event_handler(Events.ITERATION_COMPLETED, note)
        context.on("checkpoint_saved", sender.read_again)
        context.on("run_completed", end("finished"))
        context.on("run_stopped", end("stopped"))
        context.on("run_failed", end("failed"))


def _points(engine: Any, iteration: int) -> list[Point]:
    # A copy, left where it is: the engine may use the tensor again, and to look at it would wait.
    loss = engine.state.output["loss"]
    copy = loss.detach().clone() if hasattr(loss, "detach") else loss
    points = [Point("training/loss", iteration, copy)]
    groups = engine.optimizer.param_groups if hasattr(engine, "optimizer") else []
    if groups:
        points.append(Point("training/learning_rate", iteration, float(groups[0]["lr"])))
    return points
