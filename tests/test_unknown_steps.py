"""A step or a distribution that is not there: the message says which is meant."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import pytest

from medpipe import Registry
from medpipe.errors import UnknownStepError
from medpipe.plugin import NetworkStep, hookimpl


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("medpipe-coordat:coordatt", "Did you mean 'medpipe-coordatt:coordatt'? "),
        ("coordatt:coordatt", "Did you mean 'medpipe-coordatt:coordatt'? "),
        ("somewhere:coordatt", "Did you mean 'medpipe-coordatt:coordatt'? "),
        ("medpipe:densenet121", "Did you mean 'densenet121'? "),
        ("coordat:other", "Did you mean the distribution 'medpipe-coordatt'? "),
        ("somewhere:other", ""),
    ],
)
def test_a_step_of_a_distribution_that_is_not_there_says_which_is_meant(
    name: str, meant: str
) -> None:
    @attrs.frozen(kw_only=True)
    class Coordatt(NetworkStep):
        name: ClassVar[str] = "coordatt"

        def build(self, data: Any) -> Any: ...

    @hookimpl
    def medpipe_networks() -> list[type[NetworkStep]]:
        return [Coordatt]

    plugin = SimpleNamespace(medpipe_networks=medpipe_networks)
    registry = Registry.discover().with_plugin(plugin, name="medpipe-coordatt")
    with pytest.raises(UnknownStepError) as caught:
        registry.get(NetworkStep, name)
    assert str(caught.value).startswith(
        f"There is no network step {name!r}. There is no distribution "
        f"{name.partition(':')[0]!r} with steps. {meant}'medpipe plugins' lists "
    )


def test_a_name_in_the_environment_that_is_misspelt_says_which_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDPIPE_PLUGINS", "medpipe-imagin")
    (plugin,) = [one for one in Registry.discover().plugins if one.distribution == "medpipe-imagin"]
    assert (plugin.error or "").endswith(" has a plugin. Did you mean 'medpipe-imaging'?")
