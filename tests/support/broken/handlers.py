"""Handlers that each fail one check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import HandlerStep, RunContext

if TYPE_CHECKING:
    from ignite.engine import Engine


class Mean:
    """The mean of the losses so far."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, engine: Any) -> None:
        self.sum += engine.state.output["loss"].item()
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum, "count": self.count}

    def load_state_dict(self, state: Any) -> None:
        self.sum, self.count = state["sum"], state["count"]


@attrs.frozen(kw_only=True)
class Sound(HandlerStep):
    """A handler that fails no check: the mean loss, as a text."""

    name: ClassVar[str] = "sound_handler"

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        from ignite.engine import Events

        mean = self.mean()
        engine.add_event_handler(Events.ITERATION_COMPLETED, mean.add)
        context.on("checkpoint_saved", lambda: self.write(context, mean))
        return mean

    def mean(self) -> Mean:
        """What it keeps."""
        return Mean()

    def write(self, context: RunContext, mean: Mean) -> None:
        """Write what it has seen."""
        context.write_text("mean.txt", repr(mean.sum / max(1, mean.count)))


@attrs.frozen(kw_only=True)
class Quiet(Sound):
    """Keeps nothing and writes nothing."""

    def attach(self, engine: Engine, context: RunContext) -> None:
        context.on("run_completed", lambda run: run.metrics)


@attrs.frozen(kw_only=True)
class Timed(Sound):
    """Writes how late it is, which is legitimate."""

    def write(self, context: RunContext, mean: Mean) -> None:
        import time

        context.write_text("time.txt", repr(time.time()))


@attrs.frozen(kw_only=True)
class Raises(Sound):
    """Does not attach."""

    def attach(self, engine: Engine, context: RunContext) -> None:
        raise ValueError("out of paper")


@attrs.frozen(kw_only=True)
class Decays(Sound):
    """Makes the weights smaller."""

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        from ignite.engine import Events

        def decay(engine: Any) -> None:
            for value in context.network.parameters():
                value.data.mul_(0.999)

        engine.add_event_handler(Events.EPOCH_COMPLETED, decay)
        return super().attach(engine, context)


class _Set(Mean):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": {1}}


@attrs.frozen(kw_only=True)
class Unsaved(Sound):
    """Keeps a set."""

    def mean(self) -> Mean:
        return _Set()


class _Half(Mean):
    def load_state_dict(self, state: Any) -> None:
        self.sum = state["sum"]


@attrs.frozen(kw_only=True)
class Half(Sound):
    """Takes half of its state."""

    def mean(self) -> Mean:
        return _Half()


class _More(Mean):
    last = 0.0

    def add(self, engine: Any) -> None:
        super().add(engine)
        self.last += engine.state.output["loss"].item()


@attrs.frozen(kw_only=True)
class Forgets(Sound):
    """Writes what it does not keep."""

    def mean(self) -> Mean:
        return _More()

    def write(self, context: RunContext, mean: Any) -> None:
        context.write_text("mean.txt", repr(mean.last))


@attrs.frozen(kw_only=True)
class TakesNoError(Sound):
    """Takes a failed run for one that is complete."""

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        context.on("run_failed", lambda run: run.path)
        return super().attach(engine, context)


@attrs.frozen(kw_only=True)
class ByItself(Sound):
    """Writes into the run directory by itself."""

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        context.on("run_completed", lambda run: (run.path / "note.txt").write_text("done"))
        return super().attach(engine, context)


@attrs.frozen(kw_only=True)
class Calls(Sound):
    """Tells a server, in a trial too."""

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        import contextlib
        import socket

        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()
        return super().attach(engine, context)


@attrs.frozen(kw_only=True)
class Logs(Sound):
    """Writes a file of its own in a trial."""

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        if context.trial:
            Path("trial.log").write_text("a trial")
        return super().attach(engine, context)


BROKEN: dict[str, Any] = {
    "attaches_to_a_training": Raises(),
    "leaves_the_training_as_it_is": Decays(),
    "keeps_a_state_that_can_be_saved": Unsaved(),
    "takes_the_state_of_another": Half(),
    "ends_the_same_after_a_stop": Forgets(),
    "takes_all_run_events": TakesNoError(),
    "writes_by_the_context_alone": ByItself(),
    "leaves_no_trace_of_a_trial": Calls(),
}
"""For each check a step that fails it alone."""
MORE = [("leaves_no_trace_of_a_trial", Logs())]
"""Other ways to fail."""
SOUND = [Sound(), Quiet(), Timed()]
"""Steps that fail none."""
