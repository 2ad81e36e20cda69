"""``medpipe new-plugin``: what it writes is typed, installs, and passes medpipe's checks."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import medpipe
from medpipe import config
from medpipe.cli.source import builder_of
from medpipe.recipes.new_plugin import KINDS, plugin_files
from medpipe.steps import STEP_KINDS
from medpipe.testing import checks_for
from support.programs import exit_code, install, listed
from support.programs import medpipe as run_medpipe


def write(folder: Path, name: str, kinds: Any) -> Path:
    for path, text in plugin_files(name, kinds).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin with a step of each kind."""
    return write(tmp_path_factory.mktemp("medpipe-heart"), "heart", KINDS)


@pytest.fixture(scope="module")
def package(whole: Path) -> Any:
    sys.path.insert(0, str(whole / "src"))
    try:
        yield importlib.import_module("medpipe_heart")
    finally:
        sys.path.remove(str(whole / "src"))


def test_the_command_writes_a_plugin_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("new-plugin", "my-net", "--kind", "loss", "--kind", "network") == 0
    said = capsys.readouterr().out
    folder = tmp_path / "medpipe-my-net"
    assert re.findall("^  (.+)$", said, re.MULTILINE) == [
        'pip install -e "medpipe-my-net[test]"',
        "medpipe plugins",
        "pytest medpipe-my-net",
        "mypy --config-file medpipe-my-net/pyproject.toml medpipe-my-net/src medpipe-my-net/tests",
        "medpipe check-plugin medpipe-my-net",
        "medpipe run mednist_fast --set dataset.step=phantom --set dataset.samples=240 "
        "--set network.step=my_net_network --set loader.batch_size=16 "
        "--output runs/my_net_network",
    ]
    readme = (folder / "README.md").read_text()
    assert set(re.findall("^  (.+)$", said, re.MULTILINE)) <= set(_commands(readme))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {
        ".github/workflows/tests.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/medpipe_my_net/__init__.py",
        "src/medpipe_my_net/loss.py",
        "src/medpipe_my_net/network.py",
        "src/medpipe_my_net/py.typed",
        "tests/test_my_net_steps.py",
    }
    assert not [
        path for path in folder.rglob("*") if path.is_file() and "@NAME@" in path.read_text()
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "medpipe-my-net"
    assert project["entry-points"]["medpipe"] == {"my-net": "medpipe_my_net"}


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("new-plugin", "heart", "-o", str(tmp_path)) == 2
    assert "is there already" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "Heart", "1st", "a b", "../x", "a--b", "heart-", "é"])
def test_a_name_that_can_be_none_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("new-plugin", "--", name) == 2
    assert f"{name!r} can't be the name of a plugin" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_it_has_a_step_of_each_kind_that_is_asked_for(package: Any) -> None:
    assert [step.kind for step in package.STEPS] == [kind.kind for kind in STEP_KINDS]


@pytest.mark.parametrize("kinds", [KINDS, *((kind,) for kind in KINDS)], ids="-".join)
def test_its_readme_names_each_step_where_it_belongs(kinds: tuple[str, ...], package: Any) -> None:
    text = plugin_files("heart", kinds)["README.md"]
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \| .+ \| `(.+)` \|$", text, re.MULTILINE)
    assert [(kind, name) for kind, name, _ in rows] == [(kind, f"heart_{kind}") for kind in kinds]
    shown = re.findall(r"^```python\nimport medpipe\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)
    assert bool(shown) == (not {*kinds} <= {"task", "export"})
    if not shown:
        return
    registry = medpipe.Registry.discover().with_plugin(package, name="medpipe-heart")
    code = shown[0].replace('device="cpu"', "registry=registry").replace(".check()", "")
    told: list[Any] = []
    exec(code, {"medpipe": medpipe, "registry": registry, "print": told.append})
    written = config.write(told[0].configuration, registry=registry)
    others = {"task", "export", *({"optimizer", "schedule"} if len(kinds) > 1 else ())}
    for kind, name, table in rows:
        if kind not in others:
            assert f'{table}\nstep = "medpipe-heart:{name}"\n' in written


def test_its_readme_trains_with_each_step(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = medpipe.Registry.discover().with_plugin(package, name="medpipe-heart")
    monkeypatch.setattr(medpipe.Registry, "discover", lambda: registry)
    commands = _commands(plugin_files("heart", KINDS)["README.md"])
    for _, command, *options in map(shlex.split, commands):
        if command == "run":
            kind = options[-1].removeprefix("runs/heart_").removesuffix("_2")
            settings = [option for option in options if "=" in option]
            described = builder_of(options[0], settings, None).build().describe()
            assert f"heart_{kind}" in described or kind == "export"
            commands = [line for line in commands if f"runs/heart_{kind}" not in line]
    assert commands == [
        'pip install -e "medpipe-heart[test]"',
        "medpipe plugins",
        "pytest medpipe-heart",
        "mypy --config-file medpipe-heart/pyproject.toml medpipe-heart/src medpipe-heart/tests",
        "medpipe check-plugin medpipe-heart",
    ]


@pytest.mark.rare  # the commands are read above
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_training_commands_of_its_readme_train(
    kind: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "medpipe-heart", "").unlink()  # its package is in a folder of its own
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(whole / "src"), *sys.path]))
    monkeypatch.chdir(tmp_path)
    readme = plugin_files("heart", [kind])["README.md"]
    for code in re.findall(r"^```python\n(.+?)^```$", readme, re.MULTILINE | re.DOTALL):
        if "import medpipe" not in code:
            exec(code, {})
    small = ["--set=network.step=resnet10", "--set=network.widen_factor=0.125"]
    for program, *arguments in map(shlex.split, _commands(readme)):
        if program == "medpipe" and arguments[0] in ("run", "export"):
            more = small if arguments[0] == "run" and kind != "network" else []
            done = run_medpipe(tmp_path, *arguments, *more)
            assert done.returncode == 0, done.stderr
    run = medpipe.Run.load(tmp_path / "runs" / f"heart_{kind}")
    assert run.metrics["test"]["accuracy"] > 0.6
    if kind == "export":
        assert (tmp_path / "runs" / "heart_export-heart_export").is_dir()
    else:
        steps = {plugin["distribution"]: plugin["steps"] for plugin in run.record["plugins"]}
        assert steps["medpipe-heart"] == [f"{kind}:heart_{kind}"]


def _commands(readme: str) -> list[str]:
    return re.findall(r"^\$ (.+)$", readme, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_passes_the_checks(kind: str, package: Any) -> None:
    (step,) = [one for one in package.STEPS if one.kind == kind]
    for check in checks_for(step):
        for outcome in check.outcomes(step):
            assert outcome.status != "failed", str(outcome)


@pytest.mark.rare  # the file's name is looked at above
@pytest.mark.long
def test_tests_of_two_plugins_are_collected_together(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, name, ("inferer",)) for name in ("heart", "lung")]
    path = [*(str(folder / "src") for folder in folders), *sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only"]
        + [str(folder / "tests") for folder in folders],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "test_heart_steps.py::" in done.stdout
    assert "test_lung_steps.py::" in done.stdout


@pytest.mark.long
def test_it_is_typed_and_formatted(whole: Path, tmp_path: Path) -> None:
    for command in (
        ["mypy", "--cache-dir", str(tmp_path / "cache")],
        ["ruff", "check", "--select=E,F,I,UP,B", "--line-length=100", "."],
        ["ruff", "format", "--check", "--line-length=100", "."],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=whole,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_it_installs_and_its_tests_pass(tmp_path: Path) -> None:
    folder, site = write(tmp_path / "plugin", "my-net", ("loss", "network")), tmp_path / "site"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(site), str(wheel)], check=True, capture_output=True)
    steps = listed(site)["medpipe-my-net"]["steps"]
    assert [step["name"] for step in steps] == ["my_net_network", "my_net_loss"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout
