"""`parametrize_with_checks`: every check of some steps as a test of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medpipe.testing.catalogue import checks_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.steps import Step


def parametrize_with_checks(steps: Sequence[Step | type[Step]]) -> pytest.MarkDecorator:
    """Let pytest call a test with each check of each step, as scikit-learn does for estimators.

    Args:
        steps: Steps, or their classes: of a class, each of its `Step.examples` is tried.

    Returns:
        A decorator for a test with the arguments ``step`` and ``check``.

    Example:
        ::

            @parametrize_with_checks([TinyCNN, Shift(most=0.5)])
            def test_steps(step, check):
                check(step)
    """
    return pytest.mark.parametrize(
        ("step", "check"),
        [
            pytest.param(step, check, id=f"{step.kind}-{step.name}-{check.name}")
            for step in steps
            for check in checks_for(step)
        ],
    )
