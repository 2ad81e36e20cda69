"""What type checkers say of uses of medpipe: of right ones nothing, of wrong ones an error each."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medpipe import PipelineBuilder
from medpipe.plugin import MetricStep, Step
from medpipe.registry.registry import Registry

USES = Path(__file__).parents[1] / "typing-tests"
FILES = sorted(USES.glob("*.py"))
REFUSED = re.compile(r"  # refused$")
Line = tuple[str, int]


def refused_lines() -> set[Line]:
    return {
        (file.name, number)
        for file in FILES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if REFUSED.search(line)
    }


def uses() -> list[str]:
    """The functions and classes that must be accepted, but for hooks, which offer the classes."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [
        f"{file.name}:{node.name}"
        for file in FILES
        if not file.name.startswith("wrong")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, kinds) and not node.name.startswith("medpipe_")
    ]


def said_by(*command: str) -> str:
    """What a checker prints; it reads medpipe from this checkout."""
    pytest.importorskip(command[0], reason="needs the extra check: mypy and basedpyright")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=USES.parent,
        env={**os.environ, "MYPYPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def errors_of_mypy() -> dict[Line, str]:
    printed = said_by("mypy", "--strict", "--output=json", *map(str, FILES))
    found = [json.loads(line) for line in printed.splitlines()]
    return {
        (Path(one["file"]).name, one["line"]): one["message"]
        for one in found
        if one["severity"] == "error"
    }


def errors_of_basedpyright() -> dict[Line, str]:
    printed = said_by(
        "basedpyright", "--outputjson", "--project", str(USES), "--pythonpath", sys.executable
    )
    found = json.loads(printed)["generalDiagnostics"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in found
        if one["severity"] == "error"
    }


@pytest.mark.long
@pytest.mark.parametrize("errors", [errors_of_mypy, errors_of_basedpyright])
def test_checkers_refuse_what_is_marked_and_nothing_else(errors: Any) -> None:
    found, marked = errors(), refused_lines()
    accepted = sorted(marked - set(found))
    surprising = {place: found[place] for place in sorted(set(found) - marked)}
    assert (accepted, surprising) == ([], {})


def test_uses_and_refusals_are_many_and_apart() -> None:
    refused = refused_lines()
    assert len(uses()) >= 30
    assert len(refused) >= 20
    assert {file for file, _ in refused} == {
        file.name for file in FILES if file.name.startswith("wrong")
    }


@pytest.mark.parametrize("module", ["use_steps", "use_training_steps", "user_project"])
def test_the_registry_takes_the_steps_that_checkers_accept(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(USES))
    offered = importlib.import_module(module)
    hooks = [name for name in vars(offered) if name.startswith("medpipe_")]
    plugin = Registry().with_plugin(offered).plugins[0]
    assert (plugin.problems, plugin.remarks) == ((), ())
    assert len({step.kind for step in plugin.steps}) == len(hooks) > 0
    classes = {
        one
        for one in vars(offered).values()
        if isinstance(one, type) and issubclass(one, Step) and one.__module__ == module
    }
    assert set(plugin.steps) == classes


@pytest.mark.long
def test_pipelines_that_checkers_accept_can_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    monkeypatch.syspath_prepend(str(USES))
    steps, described = (importlib.import_module(name) for name in ("use_steps", "use_builder"))
    given = {
        "medpipe.PipelineBuilder": PipelineBuilder(device="cpu"),
        "medpipe.Registry": Registry.discover(),
        "TransformStep": steps.Brighten(),
        "NetworkStep": steps.TinyCNN(),
        "MetricStep": Registry.discover().create(MetricStep, "f1"),
        "nn.Module": nn.Flatten(),
        "Path": tmp_path / "pipeline.toml",
    }
    made = {
        name: function(*(given[kind] for kind in kinds.values()))
        for name, function in vars(described).items()
        if inspect.isfunction(function) and name != "planned"
        for kinds in [{k: v for k, v in function.__annotations__.items() if k != "return"}]
    }
    built = [one.build() for one in made.values() if isinstance(one, PipelineBuilder)]
    assert len(built) == len(made) - 1  # one gives text
