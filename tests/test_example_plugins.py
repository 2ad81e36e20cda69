"""The plugins of `examples/plugins`, installed as wheels into a new environment, in one run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import pytest

import medpipe
from medpipe.training.checkpoint import load_checkpoint
from support.marked_runs import plain
from support.marks import rare

PLUGINS = Path(__file__).parents[1] / "examples" / "plugins"
STEPS = {
    "medpipe-convnext": ["network:convnext"],
    "medpipe-dicom-patients": ["dataset:dicom_patients"],
    "medpipe-mixup": ["loss:mean_labels", "trainer:mixup"],
    "medpipe-randconv": ["transform:randconv"],
    "medpipe-webhook": ["handler:webhook"],
}
"""What each offers."""
SLOW = {"medpipe-dicom-patients", "medpipe-webhook"}
"""Those whose own tests take long; the run with all of them has their steps too."""
ALONE = {"medpipe-grades", "medpipe-timm"}
"""Those with tests of their own."""
NOT_PASSED_ON = ("PYTHONPATH", "PYTEST_ADDOPTS", "MEDPIPE_PLUGINS")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="the environment is laid out as on Linux"),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheels, and with what medpipe needs."""
    folder = tmp_path_factory.mktemp("plugins")
    venv.create(folder / "environment", symlinks=True)
    (site,) = (folder / "environment").glob("lib/python*/site-packages")
    paths = [path for path in sys.path if path.endswith("site-packages")]
    paths.append(str(Path(medpipe.__file__).parents[1]))
    (site / "there.pth").write_text("\n".join(paths) + "\n")
    for name in STEPS:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=PLUGINS / name, check=True, capture_output=True)
    python = folder / "environment" / "bin" / "python"
    wheels = map(str, folder.glob("*.whl"))
    called(python, folder, "pip", "install", "--no-deps", "--no-index", *wheels)
    return python


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}
    return {**kept, "OMP_NUM_THREADS": "1"}


def called(python: Path, folder: Path, *arguments: str) -> str:
    """Call a module in the environment; what it prints."""
    done = subprocess.run(
        [str(python), "-m", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def test_all_are_found_without_a_problem(python: Path, tmp_path: Path) -> None:
    found = json.loads(called(python, tmp_path, "medpipe", "plugins", "--json"))["plugins"]
    others = {plugin["distribution"]: plugin for plugin in found}
    assert set(STEPS) | ALONE == {path.parent.name for path in PLUGINS.glob("*/pyproject.toml")}
    for name, steps in STEPS.items():
        plugin = others[name]
        assert (plugin["error"], plugin["problems"]) == (None, [])
        assert sorted(f"{step['kind']}:{step['name']}" for step in plugin["steps"]) == steps


@pytest.mark.parametrize("name", [rare(name) if name in SLOW else name for name in STEPS])
def test_its_own_tests_pass_where_it_is_installed(python: Path, tmp_path: Path, name: str) -> None:
    tests = PLUGINS / name / "tests"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--import-mode=importlib"]
    said = called(python, tmp_path, "pytest", *options, f"--rootdir={tmp_path}", str(tests))
    assert " passed" in said


@pytest.mark.parametrize("name", STEPS)
def test_what_its_readme_shows_works(python: Path, tmp_path: Path, name: str) -> None:
    text = (PLUGINS / name / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE)]
    after = commands[4:]  # those that install and test are tried above
    assert [command[0] for command in commands[:4]] == ["pip", "medpipe", "pytest", "mypy"]
    for program, *arguments in after:
        called(python, tmp_path, *(arguments[1:] if program == "python" else [program, *arguments]))
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)):
        (tmp_path / f"block_{number}.py").write_text(code)
        called(python, tmp_path, f"block_{number}")


def test_a_killed_run_with_all_of_them_ends_as_one_that_was_not(
    python: Path, tmp_path: Path
) -> None:
    called(python, tmp_path, "medpipe_dicom_patients.drawn", "series")
    run = ["medpipe", "run", str(PLUGINS / "together.toml"), "--output"]
    said = called(python, tmp_path, *run, "whole")
    assert "accuracy" in said
    killed = tmp_path / "killed"
    program = subprocess.Popen(
        [str(python), "-m", *run, str(killed)],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (killed / "checkpoints" / "last.safetensors").exists():
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait()
    called(python, tmp_path, *run, str(killed), "--resume")
    states = [
        plain(load_checkpoint(tmp_path / run / "checkpoints" / "last.safetensors")[0])
        for run in ("whole", "killed")
    ]
    assert states[0] == states[1]
    records = [record(tmp_path / run) for run in ("whole", "killed")]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert records[0]["metrics"]["test"]["auc"] > 0.8
    assert records[0]["plugins"] == records[1]["plugins"]
    used = {plugin["distribution"]: plugin["steps"] for plugin in records[0]["plugins"]}
    assert {name: sorted(steps) for name, steps in used.items() if name in STEPS} == STEPS


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found
