"""Runs that stop and go on: by a signal, a time limit or an error, to the same end."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medpipe import LimitError, Run, RunError
from medpipe.training.checkpoint import load_checkpoint
from medpipe.training.stopping import StopRequest
from support.marked_runs import ask, at, calls, checked, state, tiny
from support.marks import long, rare

pytestmark = pytest.mark.usefixtures("_fresh_marks")


# 36 training samples are 5 batches of 8 and 12 validation samples; the check makes some calls.
@pytest.mark.parametrize(
    ("trainer", "moments"),
    [
        ({}, (3, 60)),  # in the first and in a later epoch
        long({}, (36, 84)),  # in an epoch's last batch
        ({}, (40, 130)),  # while it validates
        long({"accumulation": 2}, (5, 30, 70)),
        long({"epoch_length": 3}, (20, 50, 75)),  # an epoch is not a pass of the data
        ({"precision": "bfloat16"}, (45,)),
        long({"patience": 1, "optimizer": {"step": "sgd", "momentum": 0.9}}, (50,)),
    ],
)
def test_a_run_that_was_stopped_ends_as_if_it_had_not(
    tmp_path: Path, trainer: dict[str, Any], moments: tuple[int, ...]
) -> None:
    pipeline = tiny(**trainer).build()
    of_check = checked(pipeline)
    whole = pipeline.run(tmp_path / "whole")
    for number, moment in enumerate(moments, 1):
        calls.clear()
        at.clear()
        at[of_check + moment] = ask
        run = pipeline.run(tmp_path / "parts", resume=True)
        if number == 1:
            assert run.status == "stopped"
    at.clear()
    run = pipeline.run(tmp_path / "parts", resume=True)
    assert run.status == "finished"
    assert len(run.record["sessions"]) > 1
    assert {session.get("stopped_by") for session in run.record["sessions"]} == {"SIGUSR1", None}
    assert state(run) == state(whole)


@pytest.mark.long
def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    whole = tiny().build().run(tmp_path / "whole")
    pipeline = tiny().loader(workers=2).build()
    for _ in range(3):
        assert pipeline.run(tmp_path / "parts", resume=True, max_time=0).status == "stopped"
    assert state(pipeline.run(tmp_path / "parts", resume=True)) == state(whole)


@pytest.mark.long
def test_a_time_limit_lets_at_least_one_iteration_through(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).build()
    for done in range(1, 5):
        run = pipeline.run(tmp_path / "run", resume=True, max_time=0)
        assert run.status == "stopped"
        _, about = load_checkpoint(run.path / "checkpoints/last.safetensors")
        assert about["progress"]["iteration"] == done
        assert not (run.path / "predictions_test.csv").exists()
    # The fifth iteration ends the epoch; its validation and the test are still to be done.
    states = [pipeline.run(tmp_path / "run", resume=True, max_time=0).status for _ in range(2)]
    assert states == ["stopped", "stopped"]
    assert pipeline.run(tmp_path / "run", resume=True).status == "finished"
    assert len(Run.load(tmp_path / "run").history) == 1


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).build()
    pipeline.run(tmp_path / "run", resume=True)  # an empty output begins
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*")}
    assert pipeline.run(tmp_path / "run", resume=True).status == "finished"
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*")} == before


def test_a_finished_run_of_another_configuration_is_refused(tmp_path: Path) -> None:
    tiny(max_epochs=1).build().run(tmp_path / "run")
    with pytest.raises(RunError) as caught:
        tiny(max_epochs=1).loader(batch_size=4).build().run(tmp_path / "run", resume=True)
    assert str(caught.value) == (
        f"The run {tmp_path / 'run'} is finished, so these changes would have no effect:\n"
        "  loader.batch_size: 8, now 4\n"
        "Undo them, or begin a new run in another output folder; with weights.run it can start "
        "from "
        "this run's best network."
    )


def test_one_process_at_a_time_writes_to_a_run(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).build()
    pipeline.run(tmp_path / "run", max_time=0)
    holds = (
        "import sys, pathlib\nfrom medpipe.system import output_folders\n"
        f"with output_folders.only_writer(pathlib.Path({str(tmp_path / 'run')!r})):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(RunError) as caught:
        pipeline.run(tmp_path / "run", resume=True)
    text = re.sub(r"since \S+ \S+\. W", "since TIME. W", str(caught.value))
    assert text == (
        f"Another process writes to {tmp_path / 'run'}: process {other.pid} on {platform.node()}, "
        "since TIME. Wait until it ends, end it, or choose another folder with the argument "
        "output."
    )
    other.kill()  # what a killed process held is free
    other.wait()
    assert pipeline.run(tmp_path / "run", resume=True).status == "finished"
    assert not list((tmp_path / "run").glob(".lock*"))


def test_a_run_that_failed_goes_on(tmp_path: Path) -> None:
    def fail() -> None:
        raise MemoryError("planted")

    pipeline = tiny().build()
    whole = pipeline.run(tmp_path / "whole")
    calls.clear()
    at[2 * checked(pipeline) + 60] = fail
    with pytest.raises(LimitError, match=r"^The machine's memory is not enough: planted\."):
        pipeline.run(tmp_path / "run")
    assert Run.load(tmp_path / "run").status == "failed"
    at.clear()
    run = pipeline.run(tmp_path / "run", resume=True)
    assert run.status == "finished"
    assert "error" not in run.record
    assert state(run) == state(whole)


def test_ctrl_c_saves_and_a_second_one_does_not_wait(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).build()
    of_check = checked(pipeline)
    whole = pipeline.run(tmp_path / "whole")
    calls.clear()
    at[of_check + 12] = lambda: ask("SIGINT")
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(tmp_path / "run")
    run = Run.load(tmp_path / "run")
    assert run.status == "interrupted"
    _, about = load_checkpoint(run.path / "checkpoints/last.safetensors")
    assert about["progress"]["iteration"] == 2
    at.clear()
    assert state(pipeline.run(tmp_path / "run", resume=True)) == state(whole)
    calls.clear()

    def twice() -> None:
        ask("SIGINT")
        ask("SIGINT")

    at[of_check + 12] = twice
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(tmp_path / "again")
    assert not (tmp_path / "again/checkpoints/last.safetensors").exists()


def test_handlers_of_a_script_stay(tmp_path: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
    try:
        with StopRequest().listening():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
        assert heard == ["mine"]
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_configuration_data_set_or_split_is_refused(tmp_path: Path) -> None:
    from support.folders import image_folder

    folder = image_folder(tmp_path / "data", samples=60)
    builder = tiny(max_epochs=1).dataset("image_folder", root=folder)
    builder.build().run(tmp_path / "run", max_time=0)
    other = builder.trainer("supervised", max_epochs=2).loader(workers=2)
    with pytest.raises(RunError) as caught:
        other.build().run(tmp_path / "run", resume=True)
    assert str(caught.value) == (
        f"The run {tmp_path / 'run'} can't be resumed: this has changed since it was started:\n"
        "  trainer.learning_rate: 0.003, now 'auto'\n"
        "  trainer.schedule.step: 'one_cycle', now None\n"
        "  trainer.schedule.warm_up: 0.3, now None\n"
        "  trainer.schedule.start_divisor: 25.0, now None\n"
        "  trainer.schedule.end_divisor: 10000.0, now None\n"
        "  trainer.schedule: None, now 'auto'\n"
        "Undo these changes, or begin a new run in another output folder. To resume "
        'nevertheless, give allow_changed="configuration": the results will differ from those of '
        "a run that was not stopped, and the changes are recorded."
    )
    next(folder.rglob("*.png")).unlink()
    with pytest.raises(RunError) as caught:
        builder.build().run(tmp_path / "run", resume=True)
    assert str(caught.value) == (
        f"The run {tmp_path / 'run'} can't be resumed: this has changed since it was started:\n"
        "  the data: files were added, removed or changed\n"
        "Undo these changes, or begin a new run in another output folder. To resume "
        'nevertheless, give allow_changed="data": the results will differ from those of '
        "a run that was not stopped, and the changes are recorded."
    )


def test_to_go_on_needs_an_output(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^resume needs the run to resume: give its directory"):
        tiny().build().run(resume=True)


def test_without_resume_a_run_is_not_overwritten(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).build()
    pipeline.run(tmp_path / "run", max_time=0)
    with pytest.raises(RunError) as caught:
        pipeline.run(tmp_path / "run")
    assert str(caught.value) == (
        f"The output {tmp_path / 'run'} holds another run, which medpipe does not overwrite. "
        "Resume it with resume=True, choose another folder with the argument output, or remove it."
    )


@pytest.mark.parametrize("left", [("run.json",), ("run.json", "pipeline.toml")])
def test_a_run_that_was_killed_as_it_began_begins_again(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    pipeline = tiny(max_epochs=1).build()
    whole = pipeline.run(tmp_path / "whole")
    record = {**whole.record, "status": "running", "metrics": {}, "best_epoch": None}
    record["sessions"] = [{"started": record["started"], "from_iteration": 0}]  # nothing is saved
    (tmp_path / "killed").mkdir()
    for name in left:
        (tmp_path / "killed" / name).write_bytes((whole.path / name).read_bytes())
    (tmp_path / "killed/run.json").write_text(json.dumps(record))
    run = pipeline.run(tmp_path / "killed", resume=True)
    assert state(run) == state(whole)
    for name in ("pipeline.toml", "splits.csv"):
        assert (run.path / name).read_text() == (whole.path / name).read_text()


def test_another_machine_is_recorded(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).build()
    run = pipeline.run(tmp_path / "run", max_time=0)
    record = json.loads((run.path / "run.json").read_text())
    torch = record["versions"]["torch"]
    record["versions"]["torch"] = "2.0"
    record["precision"] = "bfloat16"
    (run.path / "run.json").write_text(json.dumps(record))
    text = (run.path / "run.json").read_bytes()
    with pytest.raises(RunError) as caught:
        pipeline.run(tmp_path / "run", resume=True, allow_changed="packages")
    assert str(caught.value) == (
        f"The run {tmp_path / 'run'} can't be resumed: this has changed since it was started:\n"
        "  precision: 'bfloat16' then, 'float32' now\n"
        "Undo these changes, or begin a new run in another output folder. To resume "
        'nevertheless, give allow_changed="hardware": the results will differ from those of '
        "a run that was not stopped, and the changes are recorded."
    )
    assert (run.path / "run.json").read_bytes() == text
    done = pipeline.run(tmp_path / "run", resume=True, allow_changed=["hardware", "packages"])
    now = done.record["sessions"][1]["changed"]
    assert now == [
        "precision: 'bfloat16' then, 'float32' now",
        f"versions.torch: '2.0' then, '{torch}' now",
    ]
    # Prediction computes as the session that wrote the test's predictions.
    assert done.record["precision"] == "float32"
    assert done.record["versions"]["torch"] == torch


CONFIGURATION = """
format = 1
[dataset]
step = "phantom"
samples = 60
size = 32
[network]
step = "resnet10"
widen_factor = 0.125
conv1_t_size = 3
[trainer]
step = "supervised"
max_epochs = 2
[loader]
batch_size = 8
workers = 2
[run]
device = "cpu"
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGTERM", 75), rare("SIGUSR1", 75), rare("SIGHUP", 75), long("SIGINT", 130)],
)
def test_signals_end_the_command_with_a_whole_checkpoint(
    tmp_path: Path, name: str, code: int
) -> None:
    (tmp_path / "job.toml").write_text(CONFIGURATION.replace("max_epochs = 2", "max_epochs = 500"))
    command = [sys.executable, "-m", "medpipe", "run", "job.toml", "-o", "run"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # Who starts the tests by nohup has SIGHUP ignored, and so would the command.
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Epoch 1:"):
            process.send_signal(getattr(signal, name))
            break
    rest = process.communicate(timeout=120)[1]
    assert process.returncode == code, rest
    run = Run.load(tmp_path / "run")
    assert run.status == ("interrupted" if name == "SIGINT" else "stopped")
    assert run.record["sessions"][0]["stopped_by"] == name
    states, about = load_checkpoint(run.path / "checkpoints/last.safetensors")
    assert about["progress"]["iteration"] >= 6
    assert "network" in states
