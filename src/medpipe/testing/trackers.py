"""Checks of handlers that send runs to a tracker."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.handlers import (
    METRICS,
    attached,
    attaches_to_a_training,
    installed,
    run_directory,
)
from medpipe.tracking.facts import Point, RunFacts
from medpipe.tracking.step import TrackerStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from medpipe.tracking.tracker import Tracker

WAIT = 0.2
"""How many seconds the end of a run may wait for what is not sent yet, in these checks."""
SLOW = 5.0
"""Seconds beyond it from which on a run has waited for its tracker."""
ANSWER = 10.0
"""Seconds in which a tracker must answer, or nothing can be said of it."""
CURVES = ("training/loss", "validation/accuracy")


@check(
    TrackerStep,
    protects="A server that is away must not cost a training of days.",
    remedy="Reach the server in open and in the Tracker alone, and leave attach to TrackerStep.",
    needs=[attaches_to_a_training],
)
def survives_without_its_server(case: Case) -> None:
    """Where the tracker can't be reached, a training goes on and ends."""

    def away(step: TrackerStep, facts: RunFacts) -> Tracker:
        raise ConnectionRefusedError("a check of medpipe.testing is under way")

    try:
        _train(case, away)
    except Exception as error:
        raise FailedError(
            f"where its server can't be reached, the run ends: {described(error)}"
        ) from error


@check(
    TrackerStep,
    protects="A training must not wait for a server, nor a cluster's job for its end.",
    remedy="Reach the server in open and in the Tracker alone, and leave attach to TrackerStep.",
    needs=[survives_without_its_server],
)
def never_waits_for_its_server(case: Case) -> None:
    """Where the tracker does not answer, a training goes on, and ends after `wait` seconds."""
    training, released, asked = threading.get_ident(), threading.Event(), []

    def hanging(step: TrackerStep, facts: RunFacts) -> Tracker:
        if threading.get_ident() == training:
            asked.append(step)
        else:
            released.wait(2 * (WAIT + SLOW))
        raise TimeoutError("a check of medpipe.testing is under way")

    try:
        seconds = _train(case, hanging)
    finally:
        released.set()
    if asked:
        raise FailedError("the training itself asks its server, and waits for the answer")
    if seconds > WAIT + SLOW:
        raise FailedError(f"its server does not answer, and the run's end takes {seconds:.0f} s")


@check(
    TrackerStep,
    protects="A resumed run goes on at its tracker, and no point of a curve is there twice.",
    remedy="Let open find the run by facts.id, and sent give the last step of each of its curves.",
    needs=[attaches_to_a_training],
)
def finds_its_run_again(case: Case) -> None:
    """Opened again, a run has the last step of each curve that was sent."""
    installed(case)
    facts = RunFacts.read(run_directory(case))
    for step in (3, 7):
        tracker = _opened(case, facts)
        tracker.send([Point(name, at, 0.5) for name in CURVES for at in (step - 1, step)])
        tracker.close("stopped")
        found = {name: at for name, at in _opened(case, facts).sent().items() if name in CURVES}
        if found != dict.fromkeys(CURVES, step):
            raise FailedError(
                f"after points up to step {step} of {' and '.join(CURVES)} were sent, sent gives "
                f"{found or 'neither'}"
            )


def _train(case: Case, answer: Callable[[Any, RunFacts], Tracker]) -> float:
    """Train with a tracker that answers in some way; give the seconds that the end took."""
    step = _answering(case.step, answer)
    with _unlogged(), attached(attrs.evolve(case, step=step)) as one:
        one.tried.loop(stop_at=2, fire=one.handlers.fire)
        start = time.monotonic()
        one.handlers.fire("validation_completed", dict(METRICS))
        one.handlers.fire("checkpoint_saved")
        one.end()
        return time.monotonic() - start


def _answering(step: TrackerStep, answer: Callable[[Any, RunFacts], Tracker]) -> TrackerStep:
    """The step, with a tracker that answers in another way, and with nothing to install."""
    cls = type(step)
    own = {"open": answer, "load": lambda _: None, "__module__": cls.__module__}
    other = type(cls.__name__, (cls,), own)
    values = {field.alias: getattr(step, field.name) for field in attrs.fields(cls) if field.init}
    found: TrackerStep = other(**{**values, "wait": WAIT})
    return found


def _opened(case: Case, facts: RunFacts) -> Tracker:
    """The run at the tracker; a library that tries a server for minutes is not waited for."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(case.step.open(facts))
        except (Exception, SystemExit) as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ANSWER)
    if not found or isinstance(found[0], BaseException):
        said = described(found[0]) if found else f"no answer within {ANSWER:g} s"
        raise skip(f"its tracker can't be reached: {said}")
    tracker: Tracker = found[0]
    return tracker


@contextmanager
def _unlogged() -> Iterator[None]:
    """Without the warnings that these checks ask for."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
