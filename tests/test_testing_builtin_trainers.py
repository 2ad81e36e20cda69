"""Every built-in trainer passes all checks for plugins."""

from __future__ import annotations

from typing import Any

import pytest

from medpipe import Registry
from medpipe.plugin import OptimizerStep, ScheduleStep, TrainerStep
from medpipe.testing.catalogue import checks_for, outcomes_for
from support.marks import long, rare

pytestmark = pytest.mark.long

STEPS = Registry.discover().names(TrainerStep)
SLOW = {"onnx"}


@pytest.mark.parametrize("name", [long(name) if name in SLOW else name for name in STEPS])
def test_it_fails_no_check(name: str) -> None:
    outcomes = list(outcomes_for(STEPS[name]))
    assert [str(outcome) for outcome in outcomes if outcome.status == "failed"] == []
    of_its_kind = [one for one in outcomes if one.check.kinds == (TrainerStep,)]
    if not any("not installed" in outcome.said for outcome in of_its_kind):
        assert any(outcome.status == "passed" for outcome in of_its_kind)


FORMS: list[dict[str, Any]] = [
    {"accumulation": 3},
    {"gradient_clip": 1.0},
    {"recompute": True},
    {"precision": "bfloat16"},
    {"epoch_length": 3},
    {"learning_rate": 1e-5},
    *({"loss": Registry.discover().losses[name]()} for name in ("dice_ce", "mse")),
    *(
        {"schedule": cls()}
        for name, cls in Registry.discover().names(ScheduleStep).items()
        if name != "milestones"
    ),
    *({"optimizer": cls()} for cls in Registry.discover().names(OptimizerStep).values()),
]


@pytest.mark.parametrize(
    "parameters", [(rare if "optimizer" in form else long)(form) for form in FORMS], ids=str
)
def test_no_form_of_supervised_is_a_false_alarm(parameters: dict[str, Any]) -> None:
    step = Registry.discover().create(TrainerStep, "supervised")
    form = type(step)(**parameters)
    known: dict[str, Any] = {}
    for check in checks_for(form):
        if check.kinds == (TrainerStep,):
            check.outcome(form, Registry.discover(), own=False, known=known)
    unlike = {name: one.said for name, one in known.items() if one.status != "passed"}
    if form.loss != "auto" and "mask" not in form.loss.labels:
        assert unlike.pop("takes_several_outputs") == "its loss is for labels that are no masks"
    assert unlike == {}
