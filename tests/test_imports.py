"""Light commands stay light, and the public doors hold what they promise."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

HEAVY = ("torch", "monai", "numpy", "ignite", "sklearn", "scipy", "PIL", "matplotlib")

LIGHT = {
    "import medpipe": "import medpipe",
    "import medpipe.plugin": "import medpipe.plugin",
    "medpipe plugins": "from medpipe.cli import main; main(['plugins'])",
    "medpipe show": "from medpipe.cli import main; main(['show', 'network', 'densenet121'])",
    "read a configuration": (
        "import medpipe; b = medpipe.PipelineBuilder.from_recipe('mednist_fast');"
        "assert medpipe.PipelineBuilder.from_toml(b.to_toml()) == b; b.build().describe()"
    ),
    "report problems": (
        "import medpipe\ntry: medpipe.PipelineBuilder().network('nope').build()\n"
        "except medpipe.ConfigError: pass"
    ),
}


@pytest.mark.parametrize("what", LIGHT)
def test_light_things_import_nothing_heavy(what: str) -> None:
    code = f"""
import sys
try:
    exec({LIGHT[what]!r})
except SystemExit as end:
    assert not end.code, end.code
found = [name for name in {HEAVY!r} if name in sys.modules]
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("door", ["medpipe", "medpipe.plugin"])
def test_public_names_are_there_and_documented(door: str) -> None:
    module = importlib.import_module(door)
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        value = getattr(module, name)
        aliases = {"FaultKind", "Loss", "OnLeak", "Part", "TaskKind", "Window", "hookimpl"}
        aliases |= {"Frames", "MissingSpacing", "Padding", "SpacingOf"}
        if callable(value) and name not in aliases:
            assert value.__doc__, name


def test_everything_public_is_named_in_all() -> None:
    import medpipe

    modules = {"annotations"} | {n for n in vars(medpipe) if n.startswith("_")}
    loose = [
        name
        for name, value in vars(medpipe).items()
        if name not in modules
        and name not in medpipe.__all__
        and not hasattr(value, "__path__")
        and type(value).__name__ != "module"
    ]
    assert loose == []
