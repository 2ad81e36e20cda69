"""`Check`: what every step of a kind must do, tried on one step at a time."""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.registry.registry import Registry
from medpipe.steps import Step
from medpipe.system.raised import described
from medpipe.testing.examples import examples_of, why_none
from medpipe.testing.watched import left_as_it_was

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Status = Literal["passed", "failed", "skipped"]
RAISED = "it raised "
"""How a failure begins that is an error which nobody expected."""


class CheckError(AssertionError):
    """A step fails a check; the message says how, what it protects, and what to do."""


class CheckSkipped(unittest.SkipTest):
    """A check says nothing of a step, for the reason in the message; pytest skips on it."""


class FailedError(Exception):
    """Raised in a check: how the step fails it, as the end of a sentence."""


def skip(reason: str) -> CheckSkipped:
    """What a check raises where it does not apply.

    Args:
        reason: Why, as a sentence without its full stop.
    """
    return CheckSkipped(reason)


def waits_for(check: str) -> str:
    """Why a check is skipped that says nothing as long as another fails; that one says more.

    Args:
        check: The name of the other.
    """
    return f"it needs what the check {check!r} finds wrong"


@attrs.frozen(kw_only=True)
class Case:
    """A step that is tried.

    Attributes:
        step: The step.
        registry: Where the name of a step is looked up.
        folder: An empty folder for files that a check writes.
        own: Whether the step is an example of its class; else it was given.
    """

    step: Any
    registry: Registry
    folder: Path
    own: bool


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a check.

    Attributes:
        check: The check.
        step: The step's class.
        example: The step as Python writes it; empty where its class gave no example.
        status: ``passed``, ``failed`` or ``skipped``.
        said: Why it failed or was skipped; empty if it passed.
        remedy: What to do about a failure: what the check says, or what fits better.
    """

    check: Check
    step: type[Step]
    example: str
    status: Status
    said: str = ""
    remedy: str = attrs.field()

    @remedy.default
    def _(self) -> str:
        return self.check.remedy

    def __str__(self) -> str:
        called = f"the {self.step.kind} step {self.step.name!r}"
        if self.status == "failed":
            return (
                f"{called} fails the check {self.check.name!r}: {self.said}. "
                f"{self.check.protects} {self.remedy}"
                + (f" (Tried: {self.example})" if self.example else "")
            )
        return f"{called}, {self.check.name}: {self.status}" + (self.said and f": {self.said}")


@attrs.frozen(kw_only=True)
class Check:
    """Something that every step of some kinds must do.

    Called with a step or its class, it tries it. Of a class, each of its `Step.examples` is tried.

    Attributes:
        name: Its name.
        kinds: The kinds of steps that it is for.
        protects: What goes wrong with a step that fails it: a sentence.
        remedy: What to do then: a sentence.
        needs: The checks without which this one can say nothing.
        of_examples: Whether it fails a class that gives no examples; else it is skipped then.
        tries: Tries a case; raises `FailedError`, or `CheckSkipped`.
    """

    name: str
    kinds: tuple[type[Step], ...]
    protects: str
    remedy: str
    needs: tuple[Check, ...] = ()
    of_examples: bool = False
    tries: Callable[[Case], None] = attrs.field(repr=False, eq=False)

    def fits(self, step: type[Step]) -> bool:
        """Whether it is for a step of this class."""
        return issubclass(step, self.kinds)

    def all_needs(self) -> tuple[Check, ...]:
        """The checks that it needs, and those that they need, these first."""
        found = [each for needed in self.needs for each in (*needed.all_needs(), needed)]
        return tuple({each.name: each for each in found}.values())

    def __call__(self, step: Step | type[Step]) -> None:
        """Try a step, or the examples of a class.

        Raises:
            CheckError: It fails the check.
            CheckSkipped: The check says nothing of it.
        """
        outcomes = list(self.outcomes(step))
        for outcome in outcomes:
            if outcome.status == "failed":
                raise CheckError(str(outcome))
        skipped = [outcome.said for outcome in outcomes if outcome.status == "skipped"]
        if len(skipped) == len(outcomes):
            raise CheckSkipped("; ".join(dict.fromkeys(skipped)) or "there are no examples")

    def outcomes(
        self, step: Step | type[Step], *, registry: Registry | None = None
    ) -> Iterator[Outcome]:
        """What becomes of it for a step, or for each example of a class.

        Args:
            step: The step, or its class.
            registry: Where the name of a step is looked up; by default the installed plugins.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                given = [step] if isinstance(step, Step) else examples_of(step, Path(folder))
            except Exception as error:
                yield self._without_examples(_class(step), error)
                return
            for one in given:
                own = isinstance(step, type)
                yield self.outcome(one, registry or Registry.discover(), own=own, known={})

    def _without_examples(self, step: type[Step], error: Exception) -> Outcome:
        if not self.of_examples:
            waits = waits_for("gives_examples")
            return Outcome(check=self, step=step, example="", status="skipped", said=waits)
        said, remedy = why_none(step, error)
        return Outcome(check=self, step=step, example="", status="failed", said=said, remedy=remedy)

    def outcome(
        self, step: Step, registry: Registry, *, own: bool, known: dict[str, Outcome]
    ) -> Outcome:
        """What becomes of it for a step.

        Args:
            step: The step.
            registry: Where the name of a step is looked up.
            own: Whether the step is an example of its class.
            known: The outcomes of other checks of the same step, by name; this one is added, and
                those that it needs.
        """
        if self.name not in known:
            status, said = self._tried(step, registry, own, known)
            # What a check says to do is about what it looks for, and not about any error.
            first = "Mend what raised this. " if said.startswith(RAISED) else ""
            known[self.name] = Outcome(
                check=self,
                step=type(step),
                example=repr(step),
                status=status,
                said=said,
                remedy=f"{first}{self.remedy}",
            )
        return known[self.name]

    def _tried(
        self, step: Step, registry: Registry, own: bool, known: dict[str, Outcome]
    ) -> tuple[Status, str]:
        for needed in self.all_needs():
            if not needed.fits(type(step)):
                continue
            found = needed.outcome(step, registry, own=own, known=known)
            if found.status == "failed":
                return "skipped", waits_for(needed.name)
        with tempfile.TemporaryDirectory() as folder, left_as_it_was():
            try:
                self.tries(Case(step=step, registry=registry, folder=Path(folder), own=own))
            except CheckSkipped as reason:
                return "skipped", str(reason)
            except FailedError as failure:
                return "failed", str(failure)
            except (Exception, SystemExit) as error:
                return "failed", f"{RAISED}{described(error)}"
        return "passed", ""


def check(
    *kinds: type[Step],
    protects: str,
    remedy: str,
    needs: Sequence[Check] = (),
    of_examples: bool = False,
) -> Callable[[Callable[[Case], None]], Check]:
    """Make a check of a function on a case.

    Args:
        kinds: The kinds of steps that it is for; none: all.
        protects: What goes wrong with a step that fails it: a sentence.
        remedy: What to do then: a sentence.
        needs: The checks without which it can say nothing.
        of_examples: Whether it fails a class that gives no examples.
    """

    def made(function: Callable[[Case], None]) -> Check:
        return Check(
            name=function.__name__.strip("_"),
            kinds=kinds or (Step,),
            protects=protects,
            remedy=remedy,
            needs=tuple(needs),
            of_examples=of_examples,
            tries=function,
        )

    return made


def _class(step: Step | type[Step]) -> type[Step]:
    return step if isinstance(step, type) else type(step)
