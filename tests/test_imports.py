"""Light commands stay light, public doors hold what they promise, tests import no tests."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

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
        aliases = {
            "Auto",
            "FaultKind",
            "Loss",
            "Inferer",
            "Denominator",
            "Exported",
            "RunEvent",
            "OnLeak",
            "Split",
            "Window",
            "hookimpl",
        }
        aliases |= {"Frames", "MissingSpacing", "Padding", "SpacingOf", "TrackedStatus"}
        if callable(value) and name not in aliases:
            assert value.__doc__, name


@pytest.mark.parametrize("door", ["medpipe", "medpipe.plugin"])
def test_a_door_gives_what_it_names_and_type_checkers_see_the_same(door: str) -> None:
    module = importlib.import_module(door)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (checked,) = [
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    homes = {name: home for home, names in module._HOMES.items() for name in names}
    assert seen == homes
    assert set(module.__all__) == {*homes, *({"__version__"} if door == "medpipe" else ())}
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=rf"module '{door}' has no attribute 'Pipelne'"):
        module.Pipelne  # noqa: B018


def test_a_name_is_loaded_when_it_is_used() -> None:
    code = (
        "import sys, medpipe\n"
        "loaded = {name for name in sys.modules if name.startswith('medpipe')}\n"
        "assert 'medpipe.builder' not in loaded and len(loaded) < 6, loaded\n"
        "medpipe.PipelineBuilder\n"
        "assert 'medpipe.builder' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_no_test_imports_a_test(repository: Path) -> None:
    """What two of them need is in `tests/support` or `tests/conftest.py`."""
    files = sorted((repository / "tests").rglob("*.py"))
    tests = {file.stem for file in files if file.stem.startswith("test_")} | {"conftest"}
    assert len(tests) > 100
    found = {
        f"{file.name} imports {name}"
        for file in files
        for name in imported(file)
        if tests & set(name.split("."))
    }
    assert not found


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports anywhere, or that a text in it does, which another runs."""
    pending = [ast.parse(file.read_text())]
    while pending:
        for node in ast.walk(pending.pop()):
            match node:
                case ast.Import():
                    yield from (alias.name for alias in node.names)
                case ast.ImportFrom():
                    yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)
                case ast.Constant(value=str(text)) if "import " in text:
                    with suppress(SyntaxError, ValueError):
                        pending.append(ast.parse(textwrap.dedent(text)))
