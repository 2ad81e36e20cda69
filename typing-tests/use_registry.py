"""Ways to look up steps and plugins, which type checkers accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import medpipe
from medpipe.plugin import LossStep, NetworkStep, Step, TransformStep

if TYPE_CHECKING:
    from collections.abc import Mapping


def installed_networks() -> Mapping[str, type[NetworkStep]]:
    return medpipe.Registry.discover().networks


def class_by_kind_and_name(registry: medpipe.Registry) -> type[TransformStep]:
    return registry.get(TransformStep, "resize")


def step_with_parameters(registry: medpipe.Registry) -> LossStep:
    return registry.create(LossStep, "focal", {"gamma": 1.0})


def module_as_a_plugin(registry: medpipe.Registry, module: object) -> medpipe.Registry:
    return registry.with_plugin(module, name="mine")


def where_a_step_comes_from(registry: medpipe.Registry, step: Step) -> str:
    plugin = registry.plugin_of(step)
    return "this script" if plugin is None else f"{plugin.distribution} {plugin.version}"


def what_could_not_be_loaded(registry: medpipe.Registry) -> dict[str, str | None]:
    return {plugin.name: plugin.error for plugin in registry.failures}


def names_that_several_claim(registry: medpipe.Registry) -> list[tuple[str, ...]]:
    return [conflict.claimants for conflict in registry.conflicts]
