"""A typical use of a step of each kind, which the checks of all kinds watch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from medpipe.system.raised import described
from medpipe.testing.check import Case, Check, CheckSkipped, skip, waits_for


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
_FOUND_BY: dict[str, Check] = {}


def typical(kind: str, found_by: Check) -> Callable[[Callable[[Case], Use]], Callable[[Case], Use]]:
    """Say how a step of a kind is used.

    Args:
        kind: The kind.
        found_by: The check that fails, or one that it needs, where a step can't be used so.
    """

    def kept(function: Callable[[Case], Use]) -> Callable[[Case], Use]:
        _USES[kind], _FOUND_BY[kind] = function, found_by
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
        raise _unusable(case, error) from error

    def call() -> object:
        try:
            return use.call()
        except CheckSkipped:
            raise
        except Exception as error:
            raise _unusable(case, error) from error

    return attrs.evolve(use, call=call)


def _unusable(case: Case, error: Exception) -> CheckSkipped:
    """Why a step can't be used: the check that says so, and else the error."""
    last = _FOUND_BY[case.step.kind]
    for one in (*last.all_needs(), last):
        if not one.fits(type(case.step)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                one.tries(attrs.evolve(case, folder=Path(folder)))
            except CheckSkipped:
                continue
            except Exception:
                return skip(waits_for(one.name))
    return skip(f"it can't be used: {described(error)}")
