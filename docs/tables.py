"""Tables of the reference, made from the code, so that they can't fall behind it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import attrs
from gallery.examples import EXAMPLES

import medpipe
from medpipe.registry.meanings import meanings, parameter_fields
from medpipe.registry.parameters import describe_type, parameter_types
from medpipe.steps import STEP_KINDS, Step
from medpipe.testing import all_checks
from medpipe.tracking.step import TrackerStep

if TYPE_CHECKING:
    from pathlib import Path


def write_tables(folder: Path) -> None:
    """Write one Markdown file for each kind of built-in step, and one for the checks."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {f"{kind.kind}.md": steps_of(kind) for kind in STEP_KINDS}
    for name, text in {**written, "checks.md": checks()}.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def steps_of(kind: type[Step]) -> str:
    """The built-in steps of a kind: name, sentence, and a table of parameters for each."""
    registry = medpipe.Registry.discover()
    sections = []
    for name, cls in registry.names(kind).items():
        plugin = registry.plugin_of(cls)
        if plugin is None or not plugin.builtin:
            continue
        sentence = (inspect.getdoc(cls) or "").partition("\n")[0]
        shown = f" [Pictures](gallery.md#{name})" if name in EXAMPLES else ""
        sections.append(f"### `{name}`\n\n{sentence}{shown}\n\n{_parameters(cls)}")
    return "\n".join(sections)


def checks() -> str:
    """The checks of `medpipe.testing`: those of all kinds, then a table for each kind."""
    sections = []
    titles = {kind: f"Kind `{kind.kind}`" for kind in STEP_KINDS}
    titles[TrackerStep] = "Kind `handler`: those that derive from `TrackerStep`"
    for kind, title in {Step: "All kinds", **titles}.items():
        rows = [
            f"| `{check.name}` | {_sentence(check.tries)} | {check.protects} | {check.remedy} |"
            for check in all_checks()
            if check.kinds == (kind,)
        ]
        head = "| check | what must hold | what it protects | what to do |\n|---|---|---|---|"
        sections.append(f"## {title}\n\n{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)


def _sentence(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _parameters(cls: type[Any]) -> str:
    fields = parameter_fields(cls)
    types = parameter_types(cls)
    if not types:
        return "No parameters.\n"
    said = meanings(cls)
    lines = ["| parameter | what it is | takes | default |", "|---|---|---|---|"]
    for name, expected in types.items():
        shown = _default(fields[name].default)
        takes = describe_type(expected).replace("|", "\\|")
        lines.append(f"| `{name}` | {said[name]} | {takes} | {shown} |")
    return "\n".join(lines) + "\n"


def _default(default: Any) -> str:
    if default is attrs.NOTHING:
        return "required"
    if default is None:
        return "none"
    if attrs.has(type(default)):  # a table: an optimizer
        return f"`{default.name}`"
    return f"`{str(default).lower() if isinstance(default, bool) else repr(default)}`"
