"""Tests of a plugin that type checkers must refuse, where ``refused`` stands."""

from __future__ import annotations

from use_steps import TinyCNN

import medpipe.testing
from medpipe.testing import Check, PluginReport, check_plugin, checks_for, parametrize_with_checks


def names_that_are_not_there() -> None:
    medpipe.testing.run_checks(TinyCNN)  # refused
    from medpipe.testing import assert_step  # refused


def what_is_no_step(check: Check) -> None:
    parametrize_with_checks(TinyCNN)  # refused
    parametrize_with_checks(["tiny"])  # refused
    checks_for("tiny")  # refused
    check("tiny")  # refused
    check()  # refused


def parts_of_a_check(check: Check) -> None:
    check.name = "can_be_pickled"  # refused
    for outcome in check.outcomes(TinyCNN):
        outcome.status == "ok"  # refused
        outcome.message  # refused


def parts_of_a_report(report: PluginReport) -> None:
    check_plugin(TinyCNN)  # refused
    check_plugin("medpipe-tiny", ["can_be_pickled"])  # refused
    report.passed()  # refused
    report.steps[0].count("ok")  # refused
