"""`Registry`: discovery, attribution, conflicts and look-up of steps.

Plugins are found by their entry points in the group ``medpipe``. Each is loaded on its own; an
error in one is recorded and does not affect the others.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from medpipe.errors import ConfigError, PluginError, UnknownStepError
from medpipe.registry.conflict import Conflict
from medpipe.registry.loading import (
    Plugin,
    load_plugin,
    module_of,
    not_installed,
    unreadable,
)
from medpipe.registry.parameters import structure, unstructure
from medpipe.registry.unknown import unknown_step
from medpipe.registry.wording import a_step, distribution_meant, normal_name
from medpipe.registry.wrapped import Wrapped
from medpipe.steps import (
    DatasetStep,
    ExportStep,
    HandlerStep,
    InfererStep,
    LossStep,
    MetricStep,
    NetworkStep,
    OptimizerStep,
    ReaderStep,
    ScheduleStep,
    Step,
    TaskStep,
    TrainerStep,
    TransformStep,
)
from medpipe.system.distribution import (
    name_and_version,
    own_distribution,
    plugin_points,
    unreadable_points,
)
from medpipe.system.gc_pause import paused_collector
from medpipe.system.html import table

if TYPE_CHECKING:
    import importlib.metadata
    from collections.abc import Iterable, Mapping

__all__ = ["Conflict", "Plugin", "Registry"]

StepT = TypeVar("StepT", bound=Step)

NAMED = 5
"""Plugins in the short form of a registry."""


@attrs.frozen
class Registry:
    """The available steps, as an immutable value.

    Attributes:
        plugins: Every plugin that was found, including those that could not be loaded.
    """

    plugins: tuple[Plugin, ...] = ()
    _index: dict[tuple[str, str], tuple[tuple[Plugin, type[Step]], ...]] = attrs.field(
        init=False, eq=False, repr=False
    )

    @_index.default
    def _(self) -> dict[tuple[str, str], tuple[tuple[Plugin, type[Step]], ...]]:
        index: dict[tuple[str, str], tuple[tuple[Plugin, type[Step]], ...]] = {}
        for plugin in self.plugins:
            for cls in plugin.steps:
                key = (cls.kind, cls.name)
                found = index.get(key, ())
                if not any(item[1] is cls for item in found):  # of an entry point that is twice
                    index[key] = (*found, (plugin, cls))
        return index

    def __repr__(self) -> str:
        steps = sum(len(plugin.steps) for plugin in self.plugins)
        names = [plugin.distribution for plugin in self.plugins]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"Registry({steps} steps of {', '.join(names[:NAMED])}{more})"

    def _repr_html_(self) -> str:
        rows = []
        for plugin in self.plugins:
            if plugin.error is not None:
                rows.append((plugin.title, "could not be loaded", plugin.error))
            names: dict[str, list[str]] = {}
            for step in plugin.steps:
                names.setdefault(step.kind, []).append(step.name)
            rows += [(plugin.title, kind, ", ".join(sorted(some))) for kind, some in names.items()]
        return table(rows, title="Steps", head=("plugin", "kind", "names"))

    @classmethod
    def discover(cls) -> Registry:
        """Load the built-in steps and every installed plugin.

        The environment variable ``MEDPIPE_PLUGINS`` (names of distributions, separated by
        commas; empty for none) limits which third-party plugins are loaded. Each plugin is loaded
        once per process.
        """
        return _discover(os.environ.get("MEDPIPE_PLUGINS"))

    def with_plugin(self, plugin: object, *, name: str | None = None) -> Registry:
        """Return a registry with one more plugin: a module, or any object with hooks.

        Args:
            plugin: Holds functions that are marked with `medpipe.plugin.hookimpl`.
            name: What to call it; by default the module's or class's name.

        Raises:
            PluginError: The plugin is broken, or its name is taken.
        """
        called = name or str(getattr(plugin, "__name__", type(plugin).__name__))
        loaded = load_plugin(lambda: plugin, name=called, distribution=called, version="")
        wrong = loaded.error or " ".join(loaded.problems)
        if wrong:
            raise PluginError(f"The plugin {called!r} can't be used: {wrong}")
        if any(normal_name(other.distribution) == normal_name(called) for other in self.plugins):
            raise PluginError(
                f"A plugin {called!r} is registered already. Give this one another name=."
            )
        return Registry((*self.plugins, loaded))

    def get(self, kind: type[StepT], name: str) -> type[StepT]:
        """The class of a step.

        Args:
            kind: The kind, such as `NetworkStep`.
            name: A registered name, or ``distribution:name``.

        Raises:
            UnknownStepError: There is none, or several plugins claim the bare name.
        """
        distribution, _, bare = name.rpartition(":")
        found = self._index.get((kind.kind, bare), ())
        if distribution:
            found = tuple(
                item
                for item in found
                if normal_name(item[0].distribution) == normal_name(distribution)
            )
        elif any(plugin.builtin for plugin, _ in found):
            found = tuple(item for item in found if item[0].builtin)
        if len(found) == 1:
            return found[0][1]  # type: ignore[return-value]  # the index's key holds the kind
        if found:
            names = " or ".join(repr(_qualified(*item)) for item in found)
            raise UnknownStepError(
                f"{len(found)} plugins offer {a_step(kind.kind)} {bare!r}. Name one of them: "
                f"{names}."
            )
        known = list(self.names(kind))
        raise UnknownStepError(unknown_step(kind, name, known=known, plugins=self.plugins))

    def create(
        self, kind: type[StepT], name: str, parameters: Mapping[str, object] | None = None
    ) -> StepT:
        """Make a step from plain data.

        Raises:
            UnknownStepError: There is no such step.
            ConfigError: Parameters are wrong; every problem is listed.
        """
        cls = self.get(kind, name)
        made, problems = structure(cls, parameters or {}, path="", resolve=self.get)
        if problems:
            raise ConfigError(f"The {kind.kind} step {name!r} can't be made", problems)
        return made  # type: ignore[no-any-return]

    def plugin_of(self, step: Step | type[Step]) -> Plugin | None:
        """The plugin that supplied a step; None for one that is not registered."""
        cls = step if isinstance(step, type) else type(step)
        candidates = self._index.get((cls.kind, getattr(cls, "name", "")), ())
        return next((plugin for plugin, item in candidates if item is cls), None)

    def is_builtin(self, step: Step) -> bool:
        """Whether medpipe supplied a step."""
        plugin = self.plugin_of(step)
        return plugin is not None and plugin.builtin

    def title(self, step: Step) -> str:
        """A step and where it comes from, for errors and descriptions."""
        if isinstance(step, Wrapped):
            return f"the ready {step.kind} {step.title}"
        plugin = self.plugin_of(step)
        origin = plugin.title if plugin else "not registered"
        return f"the {step.kind} step {step.name!r} ({origin})"

    def saved_name(self, cls: type[Step]) -> str:
        """The name of a step in a saved configuration: qualified if not built in.

        Raises:
            UnknownStepError: The class is not registered.
        """
        plugin = self.plugin_of(cls)
        if plugin is None:
            raise UnknownStepError(
                f"The {cls.kind} step {cls.__name__} is not registered. Offer it by a plugin, or "
                "add it with Registry.discover().with_plugin(...)."
            )
        return cls.name if plugin.builtin else _qualified(plugin, cls)

    def made_by(self, step: Step) -> dict[str, Any] | None:
        """What decides what a step gives: its name, its parameters and its plugin's version.

        None where the version is not known, as for ready objects and the steps of a script.
        """
        plugin = self.plugin_of(step)
        if plugin is None or not plugin.version or isinstance(step, Wrapped):
            return None
        return {**unstructure(step, name_of=self.saved_name), "version": plugin.version}

    def names(self, kind: type[Step]) -> Mapping[str, type[Step]]:
        """Every step of a kind by its shortest unambiguous name, sorted."""
        some: dict[str, type[Step]] = {}
        for (of_kind, name), found in self._index.items():
            if of_kind != kind.kind:
                continue
            builtin = any(plugin.builtin for plugin, _ in found)
            for plugin, cls in found:
                bare = plugin.builtin or (len(found) == 1 and not builtin)
                some[name if bare else _qualified(plugin, cls)] = cls
        return dict(sorted(some.items()))

    @property
    def datasets(self) -> Mapping[str, type[DatasetStep]]:
        """The dataset steps by name."""
        return self.names(DatasetStep)  # type: ignore[return-value]

    @property
    def transforms(self) -> Mapping[str, type[TransformStep]]:
        """The transform steps by name."""
        return self.names(TransformStep)  # type: ignore[return-value]

    @property
    def networks(self) -> Mapping[str, type[NetworkStep]]:
        """The network steps by name."""
        return self.names(NetworkStep)  # type: ignore[return-value]

    @property
    def trainers(self) -> Mapping[str, type[TrainerStep]]:
        """The trainer steps by name."""
        return self.names(TrainerStep)  # type: ignore[return-value]

    @property
    def losses(self) -> Mapping[str, type[LossStep]]:
        """The loss steps by name."""
        return self.names(LossStep)  # type: ignore[return-value]

    @property
    def optimizers(self) -> Mapping[str, type[OptimizerStep]]:
        """The optimizer steps by name."""
        return self.names(OptimizerStep)  # type: ignore[return-value]

    @property
    def schedules(self) -> Mapping[str, type[ScheduleStep]]:
        """The schedule steps by name."""
        return self.names(ScheduleStep)  # type: ignore[return-value]

    @property
    def metrics(self) -> Mapping[str, type[MetricStep]]:
        """The metric steps by name."""
        return self.names(MetricStep)  # type: ignore[return-value]

    @property
    def inferers(self) -> Mapping[str, type[InfererStep]]:
        """The inferer steps by name."""
        return self.names(InfererStep)  # type: ignore[return-value]

    @property
    def handlers(self) -> Mapping[str, type[HandlerStep]]:
        """The handler steps by name."""
        return self.names(HandlerStep)  # type: ignore[return-value]

    @property
    def readers(self) -> Mapping[str, type[ReaderStep]]:
        """The reader steps by name."""
        return self.names(ReaderStep)  # type: ignore[return-value]

    @property
    def tasks(self) -> Mapping[str, type[TaskStep]]:
        """The task steps by name."""
        return self.names(TaskStep)  # type: ignore[return-value]

    @property
    def exports(self) -> Mapping[str, type[ExportStep]]:
        """The export steps by name."""
        return self.names(ExportStep)  # type: ignore[return-value]

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Every name that more than one plugin claims."""
        some = []
        for (kind, name), found in sorted(self._index.items()):
            if len(found) > 1:
                winner = next((item.distribution for item, _ in found if item.builtin), None)
                claimants = tuple(_qualified(*item) for item in found)
                some.append(Conflict(kind=kind, name=name, claimants=claimants, winner=winner))
        return tuple(some)

    @property
    def failures(self) -> tuple[Plugin, ...]:
        """The plugins that could not be loaded, or not all of their steps."""
        return tuple(plugin for plugin in self.plugins if plugin.error or plugin.problems)


@functools.cache
def _discover(limit: str | None) -> Registry:
    wanted = (
        None if limit is None else {normal_name(item) for item in limit.split(",") if item.strip()}
    )
    own = own_distribution()
    plugins: list[Plugin] = []
    for point in _entry_points(own):
        distribution, version = name_and_version(point.dist)
        nameless = not distribution
        distribution = distribution or re.split(r"[.:]", point.value.strip())[0] or "unknown"
        builtin = distribution == own
        if not builtin and wanted is not None and normal_name(distribution) not in wanted:
            continue
        load = functools.partial(module_of, point)
        with paused_collector():
            plugin = load_plugin(load, name=point.name, distribution=distribution, version=version)
        twice = [one.name for one in plugins if one.distribution == distribution and one.steps]
        odd = [_NAMELESS] if nameless else []
        odd += [_TWICE.format(point.name, name) for name in twice if plugin.steps]
        plugins.append(attrs.evolve(plugin, remarks=(*plugin.remarks, *odd)))
    plugins += [unreadable(*failed) for failed in unreadable_points()]
    found = {normal_name(plugin.distribution) for plugin in plugins}
    there = [name_and_version(point.dist)[0] for point in _entry_points(own)]
    absent = sorted((wanted or set()) - found - {normal_name(own)})
    plugins += [not_installed(name, distribution_meant(name, there)) for name in absent]
    return Registry(tuple(plugins))


_NAMELESS = "its distribution has no METADATA with a name, so that it is named by its module."
_TWICE = "its entry point {} is offered beside {}; one for a distribution is enough."


def _entry_points(own: str) -> Iterable[importlib.metadata.EntryPoint]:
    """The entry points, medpipe's own first, the others sorted by distribution."""

    def order(point: importlib.metadata.EntryPoint) -> tuple[bool, str, str]:
        name = normal_name(name_and_version(point.dist)[0])
        return (name != normal_name(own), name, point.name)

    return sorted(plugin_points(), key=order)


def _qualified(plugin: Plugin, cls: type[Step]) -> str:
    return f"{plugin.distribution}:{cls.name}"
