"""Every built-in export passes all checks for plugins."""

from __future__ import annotations

import pytest

from medpipe import Registry
from medpipe.plugin import ExportStep
from medpipe.testing.catalogue import outcomes_for
from support.marks import rare

pytestmark = pytest.mark.long

STEPS = Registry.discover().names(ExportStep)
SLOW = {"bundle", "onnx"}
"""Which tests of their own verify too."""


@pytest.mark.parametrize("name", [rare(name) if name in SLOW else name for name in STEPS])
def test_it_fails_no_check(name: str) -> None:
    outcomes = list(outcomes_for(STEPS[name]))
    assert [str(outcome) for outcome in outcomes if outcome.status == "failed"] == []
    of_its_kind = [one for one in outcomes if one.check.kinds == (ExportStep,)]
    if not any("not installed" in outcome.said for outcome in of_its_kind):
        assert any(outcome.status == "passed" for outcome in of_its_kind)
