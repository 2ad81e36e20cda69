"""What becomes of all checks for plugins, of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.testing import Outcome, checks_for

if TYPE_CHECKING:
    from medpipe.plugin import Step


def outcomes(step: type[Step] | Step) -> list[Outcome]:
    """Of each check and each example of a class."""
    return [outcome for check in checks_for(step) for outcome in check.outcomes(step)]
