"""Ways to test a plugin, which type checkers accept."""

from __future__ import annotations

from pathlib import Path

from use_steps import Invert, TinyCNN

from medpipe import Registry
from medpipe.plugin import Step
from medpipe.testing import (
    Check,
    CheckError,
    CheckSkipped,
    Outcome,
    PluginReport,
    all_checks,
    check_plugin,
    checks_for,
    parametrize_with_checks,
)


@parametrize_with_checks([TinyCNN, TinyCNN(width=4), Invert])
def test_steps(step: Step, check: Check) -> None:
    check(step)


def names_of_all_checks() -> list[str]:
    return [check.name for check in all_checks()]


def checks_of_a_class() -> tuple[Check, ...]:
    return checks_for(TinyCNN)


def what_a_step_fails(check: Check) -> str:
    try:
        check(TinyCNN())
    except CheckError as error:
        return str(error)
    except CheckSkipped as reason:
        return f"skipped: {reason}"
    return ""


def outcomes_of_examples(check: Check, registry: Registry) -> list[Outcome]:
    return [
        outcome
        for outcome in check.outcomes(Invert, registry=registry)
        if outcome.status == "failed"
    ]


def steps_that_pass(distribution: str) -> list[str]:
    report: PluginReport = check_plugin(distribution, checks=["can_be_pickled"])
    return [step.name for step in report.steps if step.passed and not step.lacking]


def numbers_of_a_report(report: PluginReport) -> int:
    return sum(step.count("skipped") for step in report.steps)


def examples_of_a_step(folder: Path) -> list[TinyCNN]:
    return list(TinyCNN.examples(folder))
