"""The command line as a user calls it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cyclopts import App

import medpipe
from medpipe import cli
from medpipe.cli import COMMANDS
from support.programs import TINY, call, exit_code

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.mark.long
def test_run_writes_a_run_and_says_where(configuration: Path, tmp_path: Path) -> None:
    done = call("run", str(configuration), "--set", "trainer.max_epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (output,) = (tmp_path / "runs").iterdir()
    assert output.name.startswith("phantom-")
    assert f"The run is in {output.relative_to(tmp_path)}" in done.stdout
    assert "accuracy" in done.stdout
    assert len(medpipe.Run.load(output).history) == 2


def test_check_describes_and_measures(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("check", str(configuration)) == 0
    verdict = "The pipeline can run.\n"
    assert capsys.readouterr().out.startswith(verdict)
    assert exit_code("check", str(configuration), "--describe") == 0
    printed = capsys.readouterr().out
    assert "network: the network step 'resnet10' (medpipe" in printed
    assert f"\n\n{verdict}" in printed


def test_check_ends_with_2_where_there_are_problems(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("check", str(configuration), "--set", "trainer.monitor=acuracy") == 2
    printed = capsys.readouterr().out
    assert "problem     trainer.monitor: 'acuracy' is not a metric" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run", "{configuration}", "--set", "network.step=resnet11"],
            "network is now another step; parameters of the previous one were dropped: "
            "widen_factor\n"
            "The configuration has problems:\n  network.step: There is no network step "
            "'resnet11'. Did you mean 'resnet101'? 'medpipe plugins' lists 27 network steps.\n",
        ),
        (
            ["run", "{configuration}", "--set", "loader.batch_size"],
            "A value can't be set:\n  loader.batch_size: write PATH=VALUE, such as "
            "trainer.max_epochs=5.",
        ),
        (
            [
                *("run", "{configuration}", "--set", "transfrom[0].x=1"),
                *("--set", "trainer", "--set", "transform[9].prob=1"),
            ],
            "A value can't be set:\n  transfrom: unknown section. Did you mean 'transform'?\n"
            "  trainer: write PATH=VALUE, such as trainer.max_epochs=5.\n"
            "  transform[9].prob: there is no entry 9; entries are numbered 0 to 3.",
        ),
        (
            ["run", "nothing.toml"],
            "The configuration can't be read:\n  nothing.toml: no such file or directory in the "
            "working directory ",
        ),
        (["show", "network", "densenet"], "There is no network step 'densenet'. "),
    ],
)
def test_a_users_error_is_one_message_and_exit_code_2(
    configuration: Path, arguments: list[str], message: str
) -> None:
    done = call(*[item.format(configuration=configuration) for item in arguments])
    assert done.returncode == 2
    assert done.stderr.startswith(message.partition("\n  network.widen")[0])
    assert "Traceback" not in done.stderr


def test_a_run_is_no_configuration_but_holds_one(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").touch()
    done = call("run", str(tmp_path))
    assert (done.returncode, done.stderr) == (
        2,
        f"The configuration can't be read:\n  {tmp_path}: is a folder. The configuration of the "
        f"run in it is {tmp_path / 'pipeline.toml'}.\n",
    )


def test_where_nobody_reads_on_it_ends_quietly() -> None:
    command = [sys.executable, "-m", "medpipe", "plugins"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_a_wrong_argument_ends_with_2_and_no_traceback() -> None:
    done = call("run", "--outptu", "x")
    assert done.returncode == 2
    assert "--outptu" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises((SystemExit, KeyboardInterrupt)) as caught:
        cli.main(["doctor"])
    assert isinstance(caught.value, SystemExit)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_an_error_of_medpipes_own_is_no_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its traceback, by which it can be reported."""

    def wrong(*_: object, **__: object) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(cli, "app", wrong)
    with pytest.raises(ValueError, match="a mistake"):
        cli.main(["doctor"])


def test_plugins_lists_as_json() -> None:
    listed = json.loads(call("plugins", "--json").stdout)
    assert listed["plugins"][0]["distribution"] == "medpipe-imaging"
    assert {"kind": "network", "name": "densenet121"} in listed["plugins"][0]["steps"]


def test_show_gives_parameters_and_origin() -> None:
    shown = call("show", "trainer", "supervised").stdout
    assert shown.startswith(f"trainer supervised, from medpipe-imaging {medpipe.__version__}\n")
    assert "  learning_rate: a number or 'auto'; default 'auto'" in shown


def test_doctor_names_versions_and_device() -> None:
    done = call("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch" in done.stdout
    assert "CPU cores" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_first_line_of_each(name: str) -> None:
    command = getattr(importlib.import_module(f"medpipe.cli.{name}"), name)
    said = command.help if isinstance(command, App) else command.__doc__
    assert COMMANDS[name] == said.strip().splitlines()[0]
    called = name.replace("_", "-")
    assert f" {called} " in call("--help").stdout
    assert COMMANDS[name].split()[0] in call(called, "--help").stdout


def test_the_version() -> None:
    assert call("--version").stdout.strip() == medpipe.__version__


@pytest.mark.long
def test_the_example_runs_without_data_or_network(tmp_path: Path, repository: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MEDPIPE_DATA"}
    environment["https_proxy"] = "http://127.0.0.1:9"  # nothing listens there
    environment["MEDPIPE_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, str(repository / "examples/mednist.py"), "--output", str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "so 'phantom' is used" in done.stdout
    assert f"The run is in {tmp_path / 'r'}" in done.stdout
    assert medpipe.Run.load(tmp_path / "r").metrics["test"]["accuracy"] > 0.9


@pytest.mark.long
def test_the_example_of_segmentation_runs_without_data(tmp_path: Path, repository: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MEDPIPE_DATA"}
    environment["MEDPIPE_CACHE"] = str(tmp_path / "cache")
    program = str(repository / "examples/hippocampus.py")
    done = subprocess.run(
        [sys.executable, program, "--output", str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "so 'phantom_masks' is used" in done.stdout
    assert "images of drawn volumes" in done.stdout
    assert medpipe.Run.load(tmp_path / "r").metrics["test"]["dice"] > 0.6


@pytest.mark.long
@pytest.mark.real_data
def test_the_example_learns_mednist(tmp_path: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "examples/mednist.py"), "--output", str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    test = medpipe.Run.load(tmp_path / "r").metrics["test"]
    assert test["images"] >= 5800
    assert test["accuracy"] >= 0.99
