"""``medpipe show``: one step, its parameters and where it comes from; or the result of a run."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Literal

import attrs

from medpipe import Run
from medpipe.cli.arguments import StepKind
from medpipe.registry.meanings import meanings, parameter_fields, without_meanings
from medpipe.registry.parameters import describe_type, parameter_types
from medpipe.registry.registry import Registry
from medpipe.steps import STEP_KINDS


def _show_run(path: Path) -> None:
    run = Run.load(path)
    print(f"{run.path}: {run.status}")
    print(run.summary() or "It has no metrics yet.")


def show(kind: StepKind | Literal["run"], name: str, /) -> None:
    """Show one step and its parameters, or the result of a run.

    Args:
        kind: The kind of step, or run.
        name: The name of the step, or the run directory.
    """
    if kind == "run":
        _show_run(Path(name))
        return
    registry = Registry.discover()
    cls = registry.get(next(item for item in STEP_KINDS if item.kind == kind), name)
    plugin = registry.plugin_of(cls)
    print(f"{kind} {name}, from {plugin.title if plugin else 'nowhere'}")
    print(without_meanings(inspect.getdoc(cls) or "").rstrip())
    said, fields = meanings(cls), parameter_fields(cls)
    for parameter, expected in parameter_types(cls).items():
        default = fields[parameter].default
        if default is attrs.NOTHING:
            shown = "required"
        elif isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            shown = "has a default"
        else:
            shown = f"default {default!r}"
        print(f"  {parameter}: {describe_type(expected)}; {shown}")
        if parameter in said:
            print(f"      {said[parameter]}")
