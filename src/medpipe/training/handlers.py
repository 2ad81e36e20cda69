"""Attach handler steps to a trainer's engine: they see the training and don't change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import StepError
from medpipe.registry.failures import failures_named
from medpipe.training.determinism import Generators

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ignite.engine import Engine

    from medpipe.steps import HandlerStep, RunContext, RunEvent, Training


@attrs.frozen(kw_only=True, eq=False)
class Handlers:
    """The handlers of a run.

    Attributes:
        contexts: What each was attached to, under its title in errors.
        state: What a checkpoint must hold of them, by name.
    """

    contexts: Sequence[tuple[str, RunContext]]
    state: Mapping[str, Any]

    @classmethod
    def attach(
        cls,
        steps: Sequence[HandlerStep],
        training: Training,
        context: Callable[[], RunContext],
        title: Callable[[HandlerStep], str],
    ) -> Handlers:
        """Attach each handler; see `HandlerStep.attach`.

        Args:
            steps: The handlers.
            training: What the trainer step gave.
            context: Makes a context for each of them.
            title: Names a step in errors.

        Raises:
            StepError: One fails to attach, or gives an object without a state.
        """
        contexts: list[tuple[str, RunContext]] = []
        state: dict[str, Any] = {}
        for place, step in enumerate(steps):
            own, called = context(), title(step)
            engine: Any = _Watched(training.engine, called)
            with _alone(called, "to attach"):
                given = step.attach(engine, own)
            contexts.append((called, own))
            if given is None:
                continue
            if not (hasattr(given, "state_dict") and hasattr(given, "load_state_dict")):
                raise StepError(
                    f"{called} returns {given!r} from attach, which does not have both "
                    "state_dict and load_state_dict. Return an object that has both, or None."
                )
            state[f"handler[{place}]"] = given
        return cls(contexts=contexts, state=state)

    def fire(self, event: RunEvent, *arguments: object) -> None:
        """Call what the handlers gave for an event of the run.

        Raises:
            StepError: One fails; it is named.
        """
        for title, context in self.contexts:
            for listener in context.listeners(event):
                with _alone(title, f"at {event}"):
                    listener(*arguments)


class _Watched:
    """An engine whose handlers run with random states of their own, and are named if they fail."""

    def __init__(self, engine: Engine, title: str) -> None:
        self._engine, self._title = engine, title

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:  # handlers ask whether it is an engine
        return type(self._engine)

    def add_event_handler(self, event: Any, handler: Any, *args: Any, **kwargs: Any) -> Any:
        guarded = _guarded(handler, self._title)
        return self._engine.add_event_handler(event, guarded, *args, **kwargs)

    def on(self, event: Any, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            self.add_event_handler(event, function, *args, **kwargs)
            return function

        return decorate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _guarded(function: Any, title: str) -> Any:
    @wraps(function)  # ignite looks at its signature
    def call(*args: Any, **kwargs: Any) -> Any:
        with _alone(title, f"in iteration {_iteration(args)}"):
            return function(*args, **kwargs)

    return call


def _iteration(arguments: tuple[Any, ...]) -> object:
    state = getattr(arguments[0], "state", None) if arguments else None
    return getattr(state, "iteration", "unknown")


@contextmanager
def _alone(title: str, when: str) -> Iterator[None]:
    """Leave the random generators as they are, and name a handler that fails.

    Raises:
        StepError: It failed.
    """
    generators = Generators()
    before = generators.state_dict()
    try:
        with failures_named(title, f"failed {when}"):
            yield
    finally:
        generators.load_state_dict(before)
