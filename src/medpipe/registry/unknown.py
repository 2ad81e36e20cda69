"""What is said of a step that no plugin offers: what may be meant, and what may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.registry.wording import a_step, distribution_meant, normal_name, suggestion
from medpipe.steps import STEP_KINDS
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.registry.loading import Plugin
    from medpipe.steps import Step


def unknown_step(
    kind: type[Step], name: str, *, known: Sequence[str], plugins: Sequence[Plugin]
) -> str:
    """Sentences on a step that is not there.

    Args:
        kind: Its kind.
        name: Its name, or ``distribution:name``.
        known: The names of the steps of this kind.
        plugins: All plugins, those that could not be loaded too.
    """
    distribution, _, bare = name.rpartition(":")
    words = [f"There is no {kind.kind} step {name!r}."]
    if distribution and not any(_is(plugin, distribution) for plugin in plugins):
        words.append(f"There is no distribution {distribution!r} with steps.")
        words.append(_meant(plugins, kind, distribution, bare))
    else:
        words.append(suggestion(name, known))
    elsewhere = [other.kind for other in STEP_KINDS if _offering(plugins, other, name)]
    if elsewhere:
        words.append(f"There is {a_step(elsewhere[0])} of that name.")
    words.append(f"'medpipe plugins' lists {counted(len(known), f'{kind.kind} step')}.")
    words += _causes(plugins, distribution)
    return " ".join(word for word in words if word)


def _is(plugin: Plugin, distribution: str) -> bool:
    return normal_name(plugin.distribution) == normal_name(distribution)


def _offering(plugins: Sequence[Plugin], kind: type[Step], name: str) -> dict[str, Plugin]:
    """The plugins that offer a step, by their distributions."""
    return {
        plugin.distribution: plugin
        for plugin in plugins
        if any((cls.kind, cls.name) == (kind.kind, name) for cls in plugin.steps)
    }


def _meant(plugins: Sequence[Plugin], kind: type[Step], distribution: str, bare: str) -> str:
    """What a step of a distribution that is not there most likely means."""
    offering = _offering(plugins, kind, bare)
    known = [plugin.distribution for plugin in plugins]
    near = distribution_meant(distribution, offering) or next(iter(offering), "")
    if near:
        whole = bare if offering[near].builtin else f"{near}:{bare}"
        return f"Did you mean {whole!r}?"
    near = distribution_meant(distribution, known)
    return f"Did you mean the distribution {near!r}?" if near else ""


def _causes(plugins: Sequence[Plugin], distribution: str) -> list[str]:
    """Why plugins that may offer a missing step could not be loaded: of one distribution."""
    return [
        f"The plugin {plugin.title}, which may offer it, could not be loaded"
        f"{'' if plugin.error else ' in full'}: "
        f"{(plugin.error or ' '.join(plugin.problems)).removesuffix('.')}."
        for plugin in plugins
        if (plugin.error or plugin.problems) and (not distribution or _is(plugin, distribution))
    ]
