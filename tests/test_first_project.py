"""What a first project meets: init, recipes, --set and --unset, the default chain, the log."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from medpipe import ConfigError, PipelineBuilder, config, recipes
from medpipe.cli import main
from medpipe.system import threads
from support.folders import image_folder
from support.marked_runs import tiny
from support.marks import long


def command(*arguments: object) -> int:
    try:
        main([str(each) for each in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_an_empty_project_is_written_once_and_can_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("init", tmp_path / "mine") == 0
    written = {path.name: path.read_text() for path in (tmp_path / "mine").iterdir()}
    assert sorted(written) == [".gitignore", "README.md", "pipeline.toml"]
    assert "/data/" in written[".gitignore"]
    monkeypatch.chdir(tmp_path / "mine")
    image_folder(Path("data"))
    assert command("check", "pipeline.toml", "--set", "network.step=resnet18") == 0
    capsys.readouterr()
    assert command("init") == 2
    assert capsys.readouterr().err == (
        "The output pipeline.toml is there already, and medpipe does not overwrite it. Choose "
        "another folder.\n"
    )
    assert {path.name: path.read_text() for path in Path().iterdir() if path.is_file()} == written


def test_recipes_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(recipes.names())
    assert lines[1] == "mednist: The set-up of MONAI's first-model tutorial."
    for name in recipes.names():
        assert command("recipes", name) == 0
        text = capsys.readouterr().out
        assert PipelineBuilder.from_toml(text) == PipelineBuilder.from_recipe(name)
    assert command("recipes", "mednists") == 2
    assert "Did you mean 'mednist'?" in capsys.readouterr().err


def test_another_step_drops_the_parameters_of_the_one_before() -> None:
    document = config.parse(
        '[network]\nstep = "densenet121"\ndropout_prob = 0.2\n'
        '[trainer]\nmax_epochs = 3\nloss = "focal"\n[[transform]]\nstep = "rand_flip"\nprob = 0.5\n'
    )
    assert config.set_value(document, "network.step", "densenet121") == []
    assert config.set_value(document, "network.step", "resnet18") == ["dropout_prob"]
    assert document["network"] == {"step": "resnet18"}
    assert config.set_value(document, "transform[0].step", "rand_rotate") == ["prob"]
    assert config.set_value(document, "trainer.step", "supervised") == []  # it had none
    assert document["trainer"]["max_epochs"] == 3


def test_a_section_that_is_not_written_has_its_default_step() -> None:
    document: dict[str, Any] = {"format": 1}
    assert config.set_value(document, "trainer.max_epochs", 5) == []
    assert config.set_value(document, "network.step", "resnet18") == []
    assert config.set_value(document, "loader.batch_size", 5) == []
    assert document == {
        "format": 1,
        "trainer": {"step": "supervised", "max_epochs": 5},
        "network": {"step": "resnet18"},
        "loader": {"batch_size": 5},
    }


def test_unset_removes_a_value_and_says_where_there_is_none() -> None:
    document: dict[str, Any] = {
        "trainer": {"step": "supervised", "loss": {"step": "focal", "gamma": 1.0}},
        "transform": [{"step": "load_image"}, {"step": "to_tensor"}],
    }
    config.unset_value(document, "trainer.loss.gamma")
    config.unset_value(document, "transform[0]")
    assert document == {
        "trainer": {"step": "supervised", "loss": {"step": "focal"}},
        "transform": [{"step": "to_tensor"}],
    }
    for path, message in {
        "trainer.lr": "trainer.lr: 'lr' is not set. Set there: step, loss.",
        "transform[1]": "transform[1]: there is no entry 1; entries are numbered 0 to 0.",
        "trainer.step.x": "trainer.step.x: 'x' is not a part of the configuration there.",
        "loader.workers": "loader.workers: 'loader' is not set. Set there: trainer, transform.",
        "trainr": "trainr: unknown section. Did you mean 'trainer'?",
    }.items():
        with pytest.raises(ConfigError) as caught:
            config.unset_value(document, path)
        assert [str(problem) for problem in caught.value.problems] == [message]


def test_set_and_unset_are_applied_by_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder(tmp_path / "data")
    (tmp_path / "p.toml").write_text(
        f'format = 1\n[dataset]\nstep = "image_folder"\nroot = "{tmp_path / "data"}"\n'
        '[network]\nstep = "densenet121"\ndropout_prob = 0.1\n[loader]\nbatch_size = 4\n'
    )
    given = ("--set", "network.step=resnet18", "--unset", "loader.batch_size", "--describe")
    assert command("check", tmp_path / "p.toml", *given) == 0
    said = capsys.readouterr()
    assert (
        "network is now another step; parameters of the previous one were dropped: dropout_prob\n"
        in said.err
    )
    assert 'batch_size = "auto"' in said.out
    assert command("check", tmp_path / "p.toml", "--unset", "split.seed") == 2
    assert capsys.readouterr().err.endswith(
        "A value can't be unset:\n"
        "  split.seed: 'split' is not set. Set there: format, dataset, network, loader.\n"
    )


def test_default_stands_for_the_default_chain() -> None:
    chain = tomllib.loads(PipelineBuilder().to_toml())["transform"]
    added = PipelineBuilder.from_toml(
        'format = 1\n[[transform]]\nstep = "default"\n[[transform]]\nstep = "rand_flip"\n'
    )
    assert added == PipelineBuilder().transform("rand_flip")
    by_name = 'format = 1\ntransform = ["default", "rand_flip"]\n'  # as after --set
    assert PipelineBuilder.from_toml(by_name) == added
    assert tomllib.loads(added.to_toml())["transform"][: len(chain)] == chain
    with pytest.raises(ConfigError, match=r"transform\[1\]: 'default' takes no parameters\."):
        PipelineBuilder.from_toml(
            'format = 1\n[[transform]]\nstep = "to_tensor"\n'
            '[[transform]]\nstep = "default"\nprob = 0.5\n'
        )


def test_a_chain_that_loads_nothing_is_said_so(tmp_path: Path) -> None:
    builder = PipelineBuilder().dataset("image_folder", root=image_folder(tmp_path))
    report = builder.transforms("scale_intensity", "to_tensor").build().check()
    assert len(report.problems) == 1
    assert str(report.problems[0]).endswith(
        "The image is not loaded yet: unless this step is to load it, begin the chain with "
        "load_image."
    )


SCRIPT = """
import logging, sys
sys.path.insert(0, {tests!r})
from support.marked_runs import tiny
from support.marks import long
if {configured}:
    logging.basicConfig(level=logging.ERROR)
tiny(max_epochs=2).build().run({output!r})
assert not logging.getLogger("medpipe").handlers
"""


@pytest.mark.long
@pytest.mark.parametrize("configured", [False, long(True)])
def test_a_script_sees_the_epochs_unless_it_set_logging_up(
    tmp_path: Path, configured: bool
) -> None:
    tests = str(Path(__file__).parent)
    text = SCRIPT.format(tests=tests, configured=configured, output=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("Epoch ")]
    assert len(lines) == (0 if configured else 2)
    assert done.stdout == ""


def test_run_threads_hold_for_the_run_alone(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    run = tiny(max_epochs=1).settings(threads=before + 1).build().run(tmp_path / "run")
    assert run.record["hardware"]["threads"] == before + 1
    assert torch.get_num_threads() == before
    assert "threads = " in (run.path / "pipeline.toml").read_text()


def test_threads_that_others_leave_no_cores_for_are_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    for others, own, says in ((0, 4, ""), (2, 2, ""), (3, 2, "1"), (2, 4, "2"), (9, 4, "1")):
        monkeypatch.setattr(threads, "_others_at_work", lambda others=others: others)
        with threads.threads(own):
            warned = threads.warning_of_busy_cores()
        assert (f"Set run.threads = {says}," in warned) if says else not warned
    assert warned == (
        "other processes use 4 of the 4 CPU cores, and torch computes with 4 threads, which wait "
        "for each other: that can take many times as long. Set run.threads = 1, or end the others."
    )
    with threads.threads(1):
        assert not threads.warning_of_busy_cores()


@pytest.mark.long
def test_work_of_others_is_seen() -> None:
    if not Path("/proc/loadavg").exists():
        pytest.skip("needs Linux's /proc")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        seen = max(threads._others_at_work() for _ in range(20))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert seen >= 2
