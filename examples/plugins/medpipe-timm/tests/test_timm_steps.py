"""medpipe's checks of each step, and that the plugin is found where it is installed."""

from __future__ import annotations

import pytest
from medpipe_timm import STEPS

from medpipe import Registry
from medpipe.plugin import Step
from medpipe.testing import Check, parametrize_with_checks


@parametrize_with_checks(STEPS)
def test_steps(step: type[Step], check: Check) -> None:
    check(step)


@pytest.mark.parametrize("step", STEPS)
def test_the_plugin_is_installed(step: type[Step]) -> None:
    plugins = {plugin.distribution: plugin for plugin in Registry.discover().plugins}
    assert step in plugins["medpipe-timm"].steps
