"""`check_plugin`: try all steps of an installed plugin, and the plugin as a whole."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from medpipe.errors import PluginError
from medpipe.registry.registry import Registry
from medpipe.registry.remedies import lacks, what_to_do
from medpipe.registry.wording import distribution_meant, normal_name
from medpipe.system.progress import bar
from medpipe.system.raised import described
from medpipe.testing.catalogue import all_checks, checks_for, outcomes_for
from medpipe.testing.examples import GIVE, examples_of, why_none
from medpipe.testing.importing import SECONDS, import_elsewhere
from medpipe.testing.plugin_report import Checked, PluginReport, StepReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.registry.loading import Plugin
    from medpipe.steps import Step
    from medpipe.testing.check import Outcome


def check_plugin(distribution: str, *, checks: Sequence[str] = ()) -> PluginReport:
    """Try all steps of a plugin, and the plugin as a whole.

    Args:
        distribution: The name of an installed distribution, or else of a module in the working
            folder, as it is before it is installed.
        checks: The names of the checks of steps that are tried; empty: all.

    Raises:
        PluginError: There is no such plugin, or no such check.
    """
    known = {one.name for one in all_checks()}
    if wrong := [name for name in checks if name not in known]:
        raise PluginError(
            f"There is no check {wrong[0]!r}. The checks are {', '.join(sorted(known))}."
        )
    registry, plugins = _found(distribution)
    classes = [cls for plugin in plugins for cls in plugin.steps]
    classes = list(dict.fromkeys(classes))
    steps = []
    with bar("Checking", len(classes), unit="steps") as shown:
        for cls in classes:
            shown.describe(f"Checking the {cls.kind} {cls.name}")
            steps.append(_of_step(cls, registry, checks))
            shown.advance()
    return PluginReport(
        distribution=plugins[0].distribution,
        version=plugins[0].version,
        plugin=list(_of_plugin(plugins, registry, classes)),
        steps=steps,
    )


def _found(name: str) -> tuple[Registry, list[Plugin]]:
    """A registry that has the plugin, and the plugin: one record for each entry point."""
    registry = Registry.discover()
    named = [one for one in registry.plugins if normal_name(one.distribution) == normal_name(name)]
    if named and not all((one.error or "").startswith("MEDPIPE_PLUGINS") for one in named):
        return registry, named
    if re.fullmatch(r"\w+(\.\w+)*", name):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            try:
                registry = registry.with_plugin(importlib.import_module(name), name=name)
            except PluginError:
                raise
            except Exception as error:
                raise PluginError(
                    f"The module {name!r} can't be imported: {described(error)}. Mend it, and try "
                    "again."
                ) from error
            return registry, [registry.plugins[-1]]
    near = distribution_meant(name, [one.distribution for one in registry.plugins if one.steps])
    meant = f"Did you mean {near!r}? Else install" if near else "Install"
    raise PluginError(
        f"There is no plugin {name!r}: no installed distribution of that name offers steps, and "
        f"the working folder has no module of that name. {meant} it (pip install -e .); 'medpipe "
        "plugins' lists those that are there."
    )


def _of_step(cls: type[Step], registry: Registry, names: Sequence[str]) -> StepReport:
    checked = [_checked(one) for one in outcomes_for(cls, registry=registry, names=names)]
    wanted = [one for one in checks_for(cls) if not names or one.name in names]
    return StepReport(kind=cls.kind, name=cls.name, checked=checked, demanded=len(wanted))


def _checked(outcome: Outcome) -> Checked:
    return Checked(
        name=outcome.check.name,
        status=outcome.status,
        said=outcome.said,
        protects=outcome.check.protects,
        remedy=outcome.remedy,
        example=outcome.example,
    )


def _of_plugin(
    plugins: Sequence[Plugin], registry: Registry, classes: Sequence[type[Step]]
) -> Iterator[Checked]:
    """The checks of the plugin as a whole."""
    named = " ".join(what_to_do(plugin) + "." for plugin in plugins if what_to_do(plugin))
    broken = [
        f"{plugin.title}: {said}"
        for plugin in plugins
        for said in (plugin.error, *plugin.problems)
        if said
    ]
    yield _judged(
        "loads",
        broken,
        protects="What can't be loaded is not there, and each command says so.",
        remedy=named,
    )
    yield _judged(
        "has_what_it_requires",
        [said for plugin in plugins if (said := lacks(plugin))],
        protects="A plugin without what it requires fails where it is used.",
        remedy=named,
    )
    yield _judged(
        "imports_quietly",
        [said for plugin in plugins for said in plugin.remarks],
        protects="Every command of medpipe imports all plugins.",
        remedy="Define steps and hooks when the module is imported, and do nothing else.",
    )
    modules = sorted({cls.__module__ for cls in classes})
    yield _imports(modules)
    yield _typed(modules)
    own = {plugin.distribution for plugin in plugins}
    yield _judged(
        "has_names_of_its_own",
        [
            str(conflict).removeprefix("conflict: ")
            for conflict in registry.conflicts
            if any(claimant.rpartition(":")[0] in own for claimant in conflict.claimants)
        ],
        protects="A name that two plugins offer must be written with its distribution.",
        remedy="Choose another name for the step.",
    )
    lacking = list(_without_examples(classes))
    yield _judged(
        "gives_examples_of_all_steps",
        [said for said, _ in lacking],
        protects="Without a step to try, no check says anything.",
        remedy=" ".join(dict.fromkeys(remedy for _, remedy in lacking)) or GIVE,
    )


def _judged(name: str, wrong: Sequence[str], *, protects: str, remedy: str) -> Checked:
    return Checked(
        name=name,
        status="failed" if wrong else "passed",
        said=" ".join(f"{said.rstrip('.')}." for said in wrong),
        protects=protects,
        remedy=remedy,
    )


def _imports(modules: Sequence[str]) -> Checked:
    wrong = []
    path = tuple(item for item in sys.path if item)
    for module in modules:
        found = import_elsewhere(module, path)
        if found is None:
            wrong.append(f"another process can't import {module}")
        elif found.heavy:
            wrong.append(f"importing {module} imports {', '.join(found.heavy)}")
        elif found.seconds > SECONDS:
            wrong.append(f"importing {module} takes {found.seconds:.2f} s")
    return _judged(
        "imports_without_torch",
        wrong,
        protects="Every command of medpipe imports all plugins.",
        remedy="Import torch, and what takes long, inside of the methods that need it.",
    )


def _typed(modules: Sequence[str]) -> Checked:
    """Whether type checkers look at the annotations of the packages."""
    protects = "Without the file py.typed type checkers pass over a package's annotations."
    remedy = "Put an empty file py.typed beside the package's __init__.py, and into the wheel."
    packages, single = [], []
    for name in sorted({module.partition(".")[0] for module in modules}):
        places = getattr(sys.modules.get(name), "__path__", None)
        if places is None:
            single.append(name)
        elif not any((Path(place) / "py.typed").is_file() for place in places):
            packages.append(f"the package {name} has no file py.typed")
    if packages or not single:
        return _judged("is_typed", packages, protects=protects, remedy=remedy)
    said = f"{', '.join(single)} is a single module, which can't have a file py.typed"
    return Checked(name="is_typed", status="skipped", said=said, protects=protects, remedy=remedy)


def _without_examples(classes: Sequence[type[Step]]) -> Iterator[tuple[str, str]]:
    """The steps without examples, each with why, and what to do."""
    for cls in classes:
        with tempfile.TemporaryDirectory() as folder:
            try:
                examples_of(cls, Path(folder))
            except Exception as error:
                said, remedy = why_none(cls, error)
                yield f"{cls.kind} {cls.name}: {said}", remedy
