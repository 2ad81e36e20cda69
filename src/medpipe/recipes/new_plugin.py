"""The files of a new plugin, from the templates beside this module."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING

from medpipe.errors import ConfigError, Problem
from medpipe.hookspecs import hook_of
from medpipe.recipes.plugin_commands import commands_of, next_commands, training_section
from medpipe.steps import STEP_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = tuple(kind.kind for kind in STEP_KINDS)
"""What a plugin can have a step of."""
USUAL = ("transform", "network")
MOST_NAMED = 4
"""How many kinds a plugin's summary names."""

_USED = {
    "dataset": ".dataset({step!r}, root='images')  # PATIENT_NUMBER_CLASS.png",
    "reader": ".reader({step!r})",
    "transform": ".transform({step!r})",
    "network": ".network({step!r})",
    "metric": ".metric({step!r})",
    "inferer": ".inferer({step!r})",
    "handler": ".handler({step!r})",
}
"""How a builder names a step; `_trainer` has those that belong to trainers."""

_TABLES = {
    "dataset": "`[dataset]`",
    "transform": "`[[transform]]`",
    "network": "`[network]`",
    "trainer": "`[trainer]`",
    "loss": "`[trainer.loss]`",
    "optimizer": "`[trainer.optimizer]`",
    "schedule": "`[trainer.schedule]`",
    "metric": "`[[metric]]`",
    "inferer": "`[inferer]`",
    "handler": "`[[handler]]`",
    "reader": "`[[reader]]`",
    "task": "`[dataset.task]`",
    "export": "`medpipe export RUN --format {step}`",
}
"""Where a step is named: the table of a configuration, or a command."""


def distribution_of(name: str) -> str:
    """The distribution of a plugin: ``medpipe-heart`` for ``heart``, and for itself."""
    return "medpipe-" + name.removeprefix("medpipe-").replace("_", "-")


def plugin_files(name: str, kinds: Sequence[str] = USUAL) -> dict[str, str]:
    """The files of an installable plugin, by their paths in its folder.

    Args:
        name: The plugin's name without ``medpipe-``.
        kinds: The kinds of steps that it begins with; see `KINDS`.

    Raises:
        ConfigError: The name can't be that of a distribution and a module, or there is no such
            kind.
    """
    short = name.removeprefix("medpipe-")
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", short):
        message = f"{name!r} can't be the name of a plugin."
        remedy = "Use lower case letters, digits and single '-', and begin with a letter: 'my-net'."
        raise ConfigError(
            "No plugin is written", [Problem(path="", message=message, remedy=remedy)]
        )
    kinds = [kind for kind in KINDS if kind in kinds]
    step = short.replace("-", "_")
    title = "".join(part.capitalize() for part in step.split("_"))
    classes = {kind: f"{title}{kind.capitalize()}" for kind in kinds}
    summary = f"A plugin of medpipe with {_listed(kinds)}."
    distribution = distribution_of(name)
    commands = commands_of(distribution, distribution)
    words = {
        "SUMMARY": summary,
        "COMMANDS": "\n".join(f"$ {command}" for command in commands),
        "TRAINING": training_section(step, kinds),
        "TABLE": "\n".join(_row(kind, step) for kind in kinds),
        "USAGE": _usage(step, kinds),
        "STEP": step,
        "CLASS": title,
        "NAME": distribution.removeprefix("medpipe-"),
    }
    package = f"src/medpipe_{step}"
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        ".gitignore": "gitignore.txt",
        ".github/workflows/tests.yml": "workflow.yml.txt",
        # A name of its own: pytest refuses two modules of one name, of two plugins, in a session.
        f"tests/test_{step}_steps.py": "test_steps.py.txt",
        **{f"{package}/{kind}.py": f"{kind}.py.txt" for kind in kinds},
    }
    written = {path: _filled(_template(file), words) for path, file in files.items()}
    written[f"{package}/__init__.py"] = _package(f"medpipe_{step}", summary, classes)
    written[f"{package}/py.typed"] = ""
    return written


def commands_for(name: str, kinds: Sequence[str], folder: str) -> list[str]:
    """What to do with a new plugin, from the folder that its own lies in.

    Args:
        name: The plugin's name.
        kinds: The kinds of its steps.
        folder: Its own folder.
    """
    distribution = distribution_of(name)
    step = distribution.removeprefix("medpipe-").replace("-", "_")
    return next_commands(distribution, folder, step, kinds)


def _template(file: str) -> str:
    folder = resources.files("medpipe.recipes") / "plugin"
    return (folder / file).read_text(encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    for word, said in words.items():
        text = text.replace(f"@{word}@", said)
    return text


def _package(module: str, summary: str, classes: dict[str, str]) -> str:
    """The module with the hooks."""
    bases = {kind.kind: kind.__name__ for kind in STEP_KINDS if kind.kind in classes}
    imports = "\n".join(
        f"from {module}.{kind} import {cls}" for kind, cls in sorted(classes.items())
    )
    hooks = "".join(
        f"""

@hookimpl
def {hook_of(kind)}() -> list[type[{kind.__name__}]]:
    return [{classes[kind.kind]}]
"""
        for kind in STEP_KINDS
        if kind.kind in classes
    )
    used = [*sorted([*bases.values(), "Step"]), "hookimpl"]
    named = [json.dumps(name) for name in ["STEPS", *sorted(classes.values())]]
    plugin = _listing("from medpipe.plugin import ", used, around="()", bare=True)
    public = _listing("__all__ = ", named, around="[]")
    steps = _listing("STEPS: list[type[Step]] = ", list(classes.values()), around="[]")
    return f'"""{summary}"""\n\n{plugin}\n\n{imports}\n\n{public}\n\n{steps}\n{hooks}'


def _listing(begin: str, items: Sequence[str], *, around: str, bare: bool = False) -> str:
    """Items on the line that begins so, or one on each where they are too many for it.

    Args:
        begin: The beginning.
        items: The items.
        around: Both brackets.
        bare: Whether a single line goes without them.
    """
    alone = ", ".join(items)
    line = begin + (alone if bare else f"{around[0]}{alone}{around[1]}")
    if len(line) <= 100:
        return line
    return "\n".join([begin + around[0], *(f"    {item}," for item in items), around[1]])


def _row(kind: str, step: str) -> str:
    text = _template(f"{kind}.py.txt")
    (said,) = re.findall(r'class @CLASS@\w+\(\w+\):\n    """(.+?)(?:"""|\n)', text)
    named = _TABLES[kind].format(step=f"{step}_{kind}")
    what = said.replace("@STEP@", step).replace("``", "`")
    return f"| {kind} | `{step}_{kind}` | {what} | {named} |"


def _usage(step: str, kinds: Sequence[str]) -> str:
    lines = [line.format(step=f"{step}_{kind}") for kind, line in _USED.items() if kind in kinds]
    lines += _trainer(step, kinds)
    if not lines:
        return ""
    dataset = [] if "dataset" in kinds else ['.dataset("phantom", samples=60)']
    chain = "\n".join(f"    {line}".replace("'", '"') for line in [*dataset, *lines])
    return f"""{_added(step) if "transform" in kinds else ""}
In Python:

```python
import medpipe

pipeline = (
    medpipe.PipelineBuilder(device="cpu")
{chain}
    .build()
)
print(pipeline.check())
```
{_replaced(kinds)}"""


def _replaced(kinds: Sequence[str]) -> str:
    """That a builder's methods have two forms, for the kinds of which there may be several."""
    some = [kind for kind in ("reader", "transform", "metric", "handler") if kind in kinds]
    sentences = [
        f"`.{kind}(...)` adds to the {kind}s that are there, `.{kind}s(...)` replaces them."
        for kind in some
    ]
    return "\n" + " ".join(sentences) + "\n" if sentences else ""


def _added(step: str) -> str:
    """How a configuration adds a transform to the default chain."""
    option = f"""--set 'transform=["default", "{step}_transform"]'"""
    return (
        "\n`[[transform]]` replaces the default chain; a first entry with "
        f'`step = "default"` keeps it, on the command line `{option}`.\n'
    )


def _trainer(step: str, kinds: Sequence[str]) -> list[str]:
    """How a builder names the trainer and its steps."""
    inner = {kind: f"{step}_{kind}" for kind in ("loss", "optimizer", "schedule") if kind in kinds}
    if "trainer" in kinds:  # the one that is written takes a loss, as all do
        inner = {kind: name for kind, name in inner.items() if kind == "loss"}
    elif not inner:
        return []
    trainer = f"{step}_trainer" if "trainer" in kinds else "supervised"
    given = [repr(trainer), *(f"{kind}={name!r}" for kind, name in inner.items())]
    return [f".trainer({', '.join(given)})"]


def _listed(kinds: Sequence[str]) -> str:
    if len(kinds) > MOST_NAMED:
        return f"{len(kinds)} steps"
    names = [f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in kinds]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
