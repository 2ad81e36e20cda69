"""The checks for plugins: each finds the step that is broken for it, and nothing else does."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from medpipe.testing import CheckError, all_checks, checks_for
from support.checked import outcomes

pytestmark = pytest.mark.long

KINDS = (
    "any_step",
    "imports",
    "transforms",
    "networks",
    "datasets",
    "readers",
    "tasks",
    "losses",
    "optimization",
    "schedules",
    "metrics",
    "inferers",
    "trainers",
    "handlers",
    "trackers",
    "exports",
)
MODULES = [importlib.import_module(f"support.broken.{kind}") for kind in KINDS]
BROKEN = [
    pytest.param(name, step, id=f"{name}-{getattr(step, '__name__', type(step).__name__)}")
    for module in MODULES
    for name, steps in module.BROKEN.items()
    for step in (steps if isinstance(steps, list) else [steps])
]
SOUND = [
    pytest.param(step, id=f"{module.__name__.rpartition('.')[2]}-{step!r:.40}")
    for module in MODULES
    for step in module.SOUND
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a broken step may leave something there


def failed(step: Any) -> set[str]:
    return {outcome.check.name for outcome in outcomes(step) if outcome.status == "failed"}


@pytest.mark.parametrize(("name", "step"), BROKEN)
def test_a_broken_step_fails_its_check_alone(name: str, step: Any) -> None:
    assert failed(step) == {name}
    (check,) = [one for one in checks_for(step) if one.name == name]
    with pytest.raises(CheckError) as caught:
        check(step)
    text = str(caught.value)
    assert check.protects in text
    assert check.remedy in text


@pytest.mark.parametrize("step", SOUND)
def test_a_sound_step_fails_none_and_is_skipped_with_a_reason(step: Any) -> None:
    for outcome in outcomes(step):
        assert outcome.status != "failed", str(outcome)
        assert bool(outcome.said.strip()) == (outcome.status == "skipped")


def test_each_check_has_a_broken_step_and_says_what_to_do() -> None:
    names = [check.name for check in all_checks()]
    assert len(set(names)) == len(names)
    assert set(names) == {name for module in MODULES for name in module.BROKEN}
    for check in all_checks():
        assert (check.tries.__doc__ or "").strip()
        assert check.protects.endswith(".")
        assert check.remedy.endswith(".")
