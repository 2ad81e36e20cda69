"""Runs that train longer than they were to, and runs that ended before they saved anything."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import medpipe
from medpipe import Run, RunError, TrainingError
from medpipe.system.options import command_line, option
from support.marked_runs import state, tiny

CONSTANT: dict[str, Any] = {"schedule": "constant", "learning_rate": 1e-2}


@pytest.mark.long
@pytest.mark.parametrize("more", [{}, {"patience": 3}, {"accumulation": 2, "epoch_length": 3}])
def test_a_finished_run_trains_longer_as_if_it_had_been_set_so(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    settings = {**CONSTANT, **more}
    whole = tiny(**settings, max_epochs=4).build().run(tmp_path / "whole")
    first = tiny(**settings, max_epochs=2).build().run(tmp_path / "parts")
    longer = tiny(**settings, max_epochs=4).build()
    run = longer.run(tmp_path / "parts", resume=True)
    assert run.status == "finished"
    assert len(run.history) == 4
    assert state(run) == state(whole)
    before, now = run.record["sessions"]
    assert before["metrics"] == first.metrics  # the first results are not lost
    assert before["best_epoch"] == first.record["best_epoch"]
    assert now["changed"] == ["trainer.max_epochs: 2, now 4"]
    record = (run.path / "run.json").read_text()
    assert longer.run(tmp_path / "parts", resume=True).status == "finished"
    assert (run.path / "run.json").read_text() == record
    with pytest.raises(RunError, match=r"so these changes would have no effect:\n"):
        tiny(**settings, max_epochs=2).build().run(tmp_path / "parts", resume=True)


def test_a_run_that_has_not_ended_may_become_longer(tmp_path: Path) -> None:
    tiny(**CONSTANT, max_epochs=1).build().run(tmp_path / "parts", max_time=0)
    run = tiny(**CONSTANT, max_epochs=2).build().run(tmp_path / "parts", resume=True)
    assert state(run) == state(tiny(**CONSTANT, max_epochs=2).build().run(tmp_path / "whole"))


@pytest.mark.long
def test_early_stopping_ends_a_run_until_its_patience_is_raised(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": "constant", "learning_rate": 5.0, "monitor": "loss"}
    settings |= {"optimizer": {"step": "sgd"}, "gradient_clip": 1.0}
    run = tiny(**settings, max_epochs=8, patience=1).build().run(tmp_path / "run")
    done, best = len(run.history), run.record["best_epoch"]
    assert done < 8  # it stopped early
    with pytest.raises(RunError) as caught:
        tiny(**settings, max_epochs=40, patience=1).build().run(run.path, resume=True)
    assert str(caught.value) == (
        f"The run {run.path} stopped early, after epoch {done}: loss was best in epoch {best}, and "
        "trainer.patience = 1. More epochs would change nothing. Set a larger trainer.patience too."
    )
    assert Run.load(run.path).status == "finished"
    patient = tiny(**settings, max_epochs=8, patience=8).build()
    longer = patient.run(run.path, resume=True)
    assert len(longer.history) == 8
    whole = patient.run(tmp_path / "whole")
    assert state(longer) == state(whole)


def test_a_schedule_laid_out_for_the_run_does_not_train_longer(tmp_path: Path) -> None:
    tiny(max_epochs=1).build().run(tmp_path / "run")
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*") if f.is_file()}
    with pytest.raises(RunError, match=r"its schedule was made for another length") as caught:
        tiny(max_epochs=2).build().run(tmp_path / "run", resume=True)
    assert "with weights.run it can start from this run's best network." in str(caught.value)
    assert {f: f.stat().st_mtime_ns for f in before} == before


def test_epochs_that_the_data_decided_may_become_more(tmp_path: Path) -> None:
    auto = tiny(schedule="constant", max_epochs="auto").build()
    record = auto.run(tmp_path / "run", max_time=0).record
    decided = record["auto"]["trainer.max_epochs"]
    fewer = tiny(schedule="constant", max_epochs=decided - 1).build()
    with pytest.raises(RunError, match=rf"trainer.max_epochs: 'auto', now {decided - 1}\n"):
        fewer.run(tmp_path / "run", resume=True)
    more = tiny(schedule="constant", max_epochs=decided + 1).build()
    assert more.run(tmp_path / "run", resume=True, max_time=0).status == "stopped"


def test_a_run_that_failed_before_it_saved_anything_leaves_its_folder_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = tiny(**{**CONSTANT, "learning_rate": 1e30}, max_epochs=1, optimizer={"step": "sgd"})
    with pytest.raises(TrainingError) as caught:
        wrong.build().run(tmp_path / "run")
    assert Run.load(tmp_path / "run").status == "failed"
    (tmp_path / "run/quarantine.csv").write_text("of the run that failed")
    for resume in (False, True):
        with caplog.at_level(logging.INFO, logger="medpipe"):
            run = tiny(**CONSTANT, max_epochs=1).build().run(tmp_path / "run", resume=resume)
    assert run.status == "finished"
    assert len(run.record["sessions"]) == 1
    assert not (run.path / "quarantine.csv").exists()
    assert state(run) == state(tiny(**CONSTANT, max_epochs=1).build().run(tmp_path / "whole"))
    assert (
        f"The run in {tmp_path / 'run'} saved no checkpoint, so it begins anew: it failed with "
        f"TrainingError: {caught.value}" in caplog.messages
    )


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(tmp_path: Path) -> None:
    tiny(max_epochs=1).build().run(tmp_path / "run", max_time=0)
    for file in (tmp_path / "run/checkpoints").iterdir():
        file.unlink()
    for resume in (False, True):
        with pytest.raises(medpipe.MedpipeError, match=r"holds another run|are missing, so"):
            tiny(max_epochs=1).build().run(tmp_path / "run", resume=resume)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["sessions"][-1]["saved"] == 1


def test_options_are_written_as_they_are_given() -> None:
    def written() -> list[str]:
        return [
            option("allow_changed", "data"),
            option("allow_changed", ["data", "threads"]),
            option("resume", True),
            option("output"),
        ]

    python = [
        'allow_changed="data"',
        'allow_changed=["data", "threads"]',
        "resume=True",
        "the argument output",
    ]
    assert written() == python
    with command_line():
        assert written() == [
            "--allow-changed=data",
            "--allow-changed=data --allow-changed=threads",
            "--resume",
            "--output",
        ]
    assert written() == python
