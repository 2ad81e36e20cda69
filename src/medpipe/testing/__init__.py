"""Checks of steps, for the tests of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.system.lazy import loaded

if TYPE_CHECKING:
    from medpipe.testing.catalogue import all_checks, checks_for
    from medpipe.testing.check import Check, CheckError, CheckSkipped, Outcome
    from medpipe.testing.marking import parametrize_with_checks
    from medpipe.testing.plugin_check import check_plugin
    from medpipe.testing.plugin_report import Checked, PluginReport, StepReport

__all__ = [
    "Check",
    "CheckError",
    "CheckSkipped",
    "Outcome",
    "Checked",
    "PluginReport",
    "StepReport",
    "all_checks",
    "check_plugin",
    "checks_for",
    "parametrize_with_checks",
]

_HOMES = {
    "medpipe.testing.catalogue": ["all_checks", "checks_for"],
    "medpipe.testing.check": ["Check", "CheckError", "CheckSkipped", "Outcome"],
    "medpipe.testing.marking": ["parametrize_with_checks"],
    "medpipe.testing.plugin_check": ["check_plugin"],
    "medpipe.testing.plugin_report": ["Checked", "PluginReport", "StepReport"],
}


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> object:
        return loaded(__name__, globals(), _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
