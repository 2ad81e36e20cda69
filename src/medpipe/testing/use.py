"""A typical use of a step of each kind, which the checks of all kinds watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from medpipe.system.raised import described
from medpipe.testing.check import Case, CheckSkipped, skip


@attrs.frozen(kw_only=True)
class Use:
    """A typical use of a step.

    Attributes:
        given: What the step gets, which it must leave as it is: tensors, arrays and plain data.
        call: Uses the step.
    """

    given: Any
    call: Callable[[], object]


_USES: dict[str, Callable[[Case], Use]] = {}


def typical(kind: str) -> Callable[[Callable[[Case], Use]], Callable[[Case], Use]]:
    """Say how a step of a kind is used."""

    def kept(function: Callable[[Case], Use]) -> Callable[[Case], Use]:
        _USES[kind] = function
        return function

    return kept


def use_of(case: Case) -> Use:
    """The typical use of a step.

    Raises:
        CheckSkipped: It can't be used; a check of its kind says why.
    """
    if case.step.kind not in _USES:
        raise skip(f"nothing is known about how {case.step.kind} steps are used")
    try:
        use = _USES[case.step.kind](case)
    except CheckSkipped:
        raise
    except Exception as error:
        raise skip(f"it can't be used: {described(error)}") from error

    def call() -> object:
        try:
            return use.call()
        except CheckSkipped:
            raise
        except Exception as error:
            raise skip(f"it can't be used: {described(error)}") from error

    return attrs.evolve(use, call=call)
