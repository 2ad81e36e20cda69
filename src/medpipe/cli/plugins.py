"""``medpipe plugins``: every plugin, its steps, and what is wrong with those that are broken."""

from __future__ import annotations

import json
from typing import Any

from medpipe.registry.registry import Registry
from medpipe.steps import STEP_KINDS


def plugins(*, json_: bool = False) -> None:
    """List the plugins and their steps.

    Args:
        json_: Print JSON.
    """
    registry = Registry.discover()
    if json_:
        print(json.dumps(_plain(registry), indent=2))
        return
    for plugin in registry.plugins:
        took = "" if plugin.builtin else f", imported in {plugin.seconds:.2f} s"
        print(f"{plugin.title}{took}")
        if plugin.error is not None:
            print(f"  could not be loaded: {plugin.error}")
        for problem in plugin.problems:
            print(f"  left out: {problem}")
        for remark in plugin.remarks:
            print(f"  {remark}")
        for kind in STEP_KINDS:
            names = sorted(step.name for step in plugin.steps if step.kind == kind.kind)
            if names:
                print(f"  {kind.kind + ':':11}{', '.join(names)}")
    for conflict in registry.conflicts:
        print(conflict)


def _plain(registry: Registry) -> dict[str, Any]:
    return {
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "seconds": round(plugin.seconds, 4),
                "error": plugin.error,
                "problems": list(plugin.problems),
                "remarks": list(plugin.remarks),
                "steps": [{"kind": step.kind, "name": step.name} for step in plugin.steps],
            }
            for plugin in registry.plugins
        ],
        "conflicts": [
            {
                "kind": conflict.kind,
                "name": conflict.name,
                "claimants": list(conflict.claimants),
                "winner": conflict.winner,
            }
            for conflict in registry.conflicts
        ],
    }
