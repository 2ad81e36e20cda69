"""Every built-in handler passes all checks for plugins."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest

from medpipe import Registry
from medpipe.plugin import HandlerStep, TrackerStep
from medpipe.testing.catalogue import checks_for, outcomes_for
from support.broken.handlers import MORE
from support.marks import long

pytestmark = pytest.mark.long

STEPS = Registry.discover().names(HandlerStep)
SLOW = {"onnx"}


@pytest.mark.parametrize("name", [long(name) if name in SLOW else name for name in STEPS])
def test_it_fails_no_check(name: str) -> None:
    outcomes = list(outcomes_for(STEPS[name]))
    assert [str(outcome) for outcome in outcomes if outcome.status == "failed"] == []
    of_its_kind = [one for one in outcomes if one.check.kinds == (HandlerStep,)]
    if not any("not installed" in outcome.said for outcome in of_its_kind):
        assert any(outcome.status == "passed" for outcome in of_its_kind)


@pytest.mark.parametrize(("name", "step"), MORE)
def test_other_ways_to_fail_a_check(name: str, step: HandlerStep) -> None:
    (check,) = [one for one in checks_for(step) if one.name == name]
    (outcome,) = check.outcomes(step)
    assert outcome.status == "failed"
    assert outcome.said == "in a trial it writes trial.log"


@attrs.frozen(kw_only=True)
class Unplugged(TrackerStep):
    """Is not installed any more when it is used."""

    name: ClassVar[str] = "unplugged"
    loaded: ClassVar[list[int]] = []

    def load(self) -> None:
        self.loaded.append(1)
        if len(self.loaded) > 1:
            raise ImportError("The client is gone. Install it again.")


def test_a_skip_within_a_use_is_worded_once() -> None:
    (check,) = [one for one in checks_for(Unplugged) if one.name == "prints_nothing"]
    (outcome,) = check.outcomes(Unplugged())
    assert outcome.status == "skipped"
    assert outcome.said == "The client is gone. Install it again"
