"""Checks of handlers."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import RunError
from medpipe.steps import HandlerStep, RunContext, TrainerStep
from medpipe.system import files
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.finished_run import copied_run
from medpipe.testing.learnable import learnable
from medpipe.testing.trainings import training_of
from medpipe.testing.use import Use, typical
from medpipe.testing.watched import difference
from medpipe.tracking.step import TrackerStep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from medpipe.runs.run import Run
    from medpipe.testing.trainings import Tried
    from medpipe.training.handlers import Handlers

METRICS = {"loss": 1.0, "accuracy": 0.5, "balanced_accuracy": 0.5, "auc": None}
"""Of a validation."""


@attrs.define(eq=False, kw_only=True)
class _Attached:
    """A handler that is attached to a training.

    Attributes:
        tried: The training.
        handlers: The handler.
        output: The run directory.
        written: What it has written by its context: texts, and networks by name.
        ended: Whether it was told how the run ended.
    """

    tried: Tried
    handlers: Handlers
    output: Path
    written: dict[str, Any] = attrs.field(factory=dict)
    ended: bool = False

    @property
    def run(self) -> Run:
        """The run."""
        from medpipe.runs.run import Run

        return Run.load(self.output)

    @property
    def state(self) -> Any:
        """What it keeps in checkpoints; None: nothing."""
        return next(iter(self.handlers.state.values()), None)

    def end(self, event: Any = "run_completed") -> None:
        """Tell it how the run ended."""
        self.ended = True
        self.handlers.fire(event, self.run if event != "run_failed" else RunError("it failed"))

    def kept(self) -> dict[str, Any]:
        """Its state and what it has written."""
        state = None if self.state is None else copy.deepcopy(self.state.state_dict())
        return {"state": state, **self.written}


@check(
    HandlerStep,
    protects="A handler is attached before the training, as the library does it.",
    remedy="Use engine.add_event_handler and context.on, and give an object with a state, or None.",
)
def attaches_to_a_training(case: Case) -> None:
    """It attaches to an engine, and sees an epoch."""
    with attached(case) as one:
        one.tried.loop(stop_at=1, fire=one.handlers.fire)


@check(
    HandlerStep,
    protects="Two runs that differ in a handler alone must end with the same network.",
    remedy="Look at the engine, the network and the gradients, and change none of them.",
    needs=[attaches_to_a_training],
)
def leaves_the_training_as_it_is(case: Case) -> None:
    """With it and without it a training ends with the same state, bit by bit."""
    with training_of(case, learnable("multiclass", 2), trainer=_trainer(case)) as tried:
        tried.loop()
        without, iterations = tried.states(), tried.engine.state.iteration
    with attached(case) as one:
        one.tried.loop(fire=one.handlers.fire)
        one.end()
        states = one.tried.states()
        found = {name: states[name] for name in without}
        if one.tried.engine.state.iteration != iterations:
            raise FailedError("with it the training ends at another iteration")
    changed = difference(without, found)
    if changed:
        raise FailedError(f"with it the training ends with another {changed}")


@check(
    HandlerStep,
    protects="Checkpoints are safetensors and JSON: no code in them can run.",
    remedy="Let state_dict give tensors, numbers, texts, lists and dictionaries alone.",
    needs=[attaches_to_a_training],
)
def keeps_a_state_that_can_be_saved(case: Case) -> None:
    """What it keeps can be written to a checkpoint."""
    with attached(case) as one:
        if one.state is None:
            raise skip("it keeps nothing")
        _cut(one, case, 1)


@check(
    HandlerStep,
    protects="A resumed run has another handler, which gets what the first one kept.",
    remedy="Let load_state_dict take all that state_dict gives.",
    needs=[keeps_a_state_that_can_be_saved],
)
def takes_the_state_of_another(case: Case) -> None:
    """Attached anew, with the state of another, it gives the same state."""
    with attached(case) as one:
        if one.state is None:
            raise skip("it keeps nothing")
        _cut(one, case, 6)
        before = one.kept()["state"]
    with attached(case) as one:
        one.tried.restore(case.folder / "checkpoint.safetensors")
        changed = difference(before, _plain(one.kept()["state"], before))
    if changed:
        raise FailedError(f"with the state of another it gives another {changed}")


@check(
    HandlerStep,
    protects="What a handler gives must not depend on where a run was stopped.",
    remedy="Put into the state what it counts and averages, and write whole files, not lines.",
    needs=[takes_the_state_of_another],
)
def ends_the_same_after_a_stop(case: Case) -> None:
    """Stopped within an epoch and resumed, it has kept and written the same."""
    if isinstance(case.step, TrackerStep):
        raise skip("a tracker is asked what it has, and gets the rest")
    wholes = []
    for _ in range(2):
        with attached(case) as one:
            one.tried.loop(fire=one.handlers.fire)
            one.end()
            wholes.append(one.kept())
    if wholes[0] == {"state": None}:
        raise skip("it keeps nothing and writes nothing")
    if changed := difference(wholes[0], wholes[1]):
        raise skip(f"what it keeps differs in two equal runs anyway: {changed}")
    with attached(case) as one:
        _cut(one, case, 6)
        one.end("run_stopped")
        written = one.written
    with attached(case) as one:
        one.written.update(written)
        progress = one.tried.restore(case.folder / "checkpoint.safetensors")
        one.tried.loop(progress=progress, fire=one.handlers.fire)
        one.end()
        changed = difference(wholes[0], _plain(one.kept(), wholes[0]))
    if changed:
        raise FailedError(f"after a stop it ends with another {changed}")


@check(
    HandlerStep,
    protects="A listener that fails ends the run, at its end too.",
    remedy="Take what RunContext.on says of the event: metrics, nothing, a Run or an error.",
    needs=[attaches_to_a_training],
)
def takes_all_run_events(case: Case) -> None:
    """It takes every event of a run, with metrics that are undefined too."""
    for last in ("run_completed", "run_stopped", "run_failed"):
        with attached(case) as one:
            one.tried.loop(stop_at=1, fire=one.handlers.fire)
            one.handlers.fire("validation_completed", dict(METRICS))
            one.handlers.fire("checkpoint_saved")
            one.end(last)


@check(
    HandlerStep,
    protects="A run directory is whole after a kill, and nobody else's files are touched.",
    remedy="Write by context.write_text and context.write_network alone.",
    needs=[attaches_to_a_training],
)
def writes_by_the_context_alone(case: Case) -> None:
    """In the run directory and the working folder is nothing that the context has not written."""
    if isinstance(case.step, TrackerStep):
        raise skip("a tracker writes where it is told to")
    with working_in(case.folder / "work") as work, attached(case) as one:
        before = listed(one.output)
        one.tried.loop(fire=one.handlers.fire)
        one.end()
        more = (listed(one.output) - before - set(one.written)) | listed(work)
    if more:
        raise FailedError(f"it writes {', '.join(sorted(more)[:3])} by itself")


@check(
    HandlerStep,
    protects="A check tries a pipeline, and must leave no trace of it.",
    remedy="Where context.trial is set, tell no server and start no program.",
    needs=[attaches_to_a_training],
)
def leaves_no_trace_of_a_trial(case: Case) -> None:
    """In a trial it attaches, writes no file by itself, and calls no server and no program."""
    installed(case)
    called: list[str] = []
    with working_in(case.folder / "work") as work, _told(called):
        with attached(case, trial=True) as one:
            one.tried.run(2)
            one.handlers.fire("validation_completed", dict(METRICS))
            one.handlers.fire("checkpoint_saved")
            one.ended = True  # a trial has no end
        more = listed(work)
    if called:
        raise FailedError(f"in a trial it calls {called[0]}")
    if more:
        raise FailedError(f"in a trial it writes {', '.join(sorted(more)[:3])}")


@typical("handler", found_by=attaches_to_a_training)
def _use(case: Case) -> Use:
    """A training that it sees."""
    metrics = dict(METRICS)
    installed(case)

    def call() -> object:
        with attached(case) as one:
            one.tried.run(2)
            one.handlers.fire("validation_completed", metrics)
            one.handlers.fire("checkpoint_saved")
            one.end()
        return None

    return Use(given=[metrics], call=call)


@contextmanager
def attached(case: Case, *, trial: bool = False) -> Iterator[_Attached]:
    """A training with the handler attached as the library does it; in the end it is told of it."""
    from medpipe.training.handlers import Handlers

    installed(case)
    # In a trial there is no run directory; see medpipe.checks.trial.
    output = case.folder / "work" / "check" if trial else run_directory(case)
    written: dict[str, Any] = {}

    def write_text(name: str, text: str) -> None:
        _refuse_wrong(name, text)
        if not trial:
            files.write_text(output / name, text)
            written[name] = text

    def write_network(name: str, state: Mapping[str, Any]) -> None:
        from medpipe.training.checkpoint import Tensors, save_checkpoint

        if not trial:
            save_checkpoint(output / name, {"network": Tensors(state)}, about={})
            written[name] = {key: value.detach().clone() for key, value in state.items()}

    data = learnable("multiclass", 2)
    with training_of(case, data, trainer=_trainer(case)) as tried:
        context = RunContext(
            output=output,
            network=tried.parts.network,
            data=data,
            write_text=write_text,
            write_network=write_network,
            trial=trial,
        )
        training = tried.training
        handlers = Handlers.attach((case.step,), training, lambda: context, case.registry.title)
        state = {**training.state, **handlers.state}
        tried = attrs.evolve(tried, training=attrs.evolve(training, state=state))
        one = _Attached(tried=tried, handlers=handlers, output=output, written=written)
        try:
            yield one
        finally:
            if not one.ended:
                with suppress(Exception):
                    one.end("run_stopped")


def run_directory(case: Case) -> Path:
    """A run directory, which is there before the handlers are one."""
    output = case.folder / "run"
    return output if output.exists() else copied_run(output)


def _refuse_wrong(name: object, text: object) -> None:
    if not (isinstance(name, str) and isinstance(text, str)):
        raise TypeError(f"write_text takes two texts, got {name!r} and a {type(text).__name__}.")


def _cut(one: _Attached, case: Case, at: int) -> None:
    """Train for some iterations, and write a checkpoint."""
    path = case.folder / "checkpoint.safetensors"

    def save(progress: Any) -> None:
        try:
            one.tried.checkpoint(progress, path)
        except RunError as error:
            raise FailedError(str(error).rstrip(".")) from error

    one.tried.loop(stop_at=at, save=save, fire=one.handlers.fire)


def _trainer(case: Case) -> TrainerStep:
    return case.registry.create(TrainerStep, "supervised")


def installed(case: Case) -> None:
    """See that what a tracker needs is installed."""
    if isinstance(case.step, TrackerStep):
        try:
            case.step.load()
        except ImportError as error:
            raise skip(str(error).rstrip(".")) from error


def _plain(found: Any, like: Any) -> Any:
    """What a checkpoint gave back, with the tuples of what it was made from."""
    if isinstance(found, Mapping) and isinstance(like, Mapping):
        return {key: _plain(value, like.get(key)) for key, value in found.items()}
    return found


def listed(folder: Path) -> set[str]:
    """The files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """Work in an empty folder for a while."""
    before = os.getcwd()  # noqa: PTH109
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


@contextmanager
def _told(called: list[str]) -> Iterator[None]:
    """Note what is called: servers, which are refused, and programs."""
    connect, start = socket.socket.connect, subprocess.Popen.__init__

    def refused(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            called.append(f"the server {address}")
            raise ConnectionRefusedError("a check of medpipe.testing is under way")
        connect(self, address)

    def noted(self: Any, arguments: Any, *more: Any, **options: Any) -> None:
        called.append(f"the program {arguments}")
        start(self, arguments, *more, **options)

    socket.socket.connect = refused  # type: ignore[assignment, method-assign]
    subprocess.Popen.__init__ = noted  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        subprocess.Popen.__init__ = start  # type: ignore[method-assign]
