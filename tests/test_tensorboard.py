"""The handler `tensorboard`: its event files are read back."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medpipe
import medpipe.plugin
from medpipe.plugin import Point, RunFacts
from support.tiny_runs import registered, tiny

events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def builder(**parameters: Any) -> medpipe.PipelineBuilder:
    step = medpipe.step("tensorboard", **{"every": 1, **parameters})
    return registered(tiny()).handlers(step)


def read(folder: Path) -> Any:
    found = events.EventAccumulator(str(folder), {events.SCALARS: 0})
    found.Reload()
    return found


def curve(found: Any, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in found.Scalars(name)]


def assert_whole(folder: Path, run: medpipe.Run) -> None:
    found, last = read(folder), int(run.history[-1]["iterations"] or 0)
    assert [step for step, _ in curve(found, "training/loss")] == list(range(1, last + 1))
    for name in found.Tags()["scalars"]:
        steps = [step for step, _ in curve(found, name)]
        assert steps == sorted(set(steps)), name
    for row, (step, loss) in zip(run.history, curve(found, "validation/loss"), strict=True):
        assert step == row["iterations"]
        assert loss == pytest.approx(row["validation_loss"])
    accuracy = run.metrics["test"]["accuracy"]
    assert curve(found, "test/accuracy") == [(last, pytest.approx(accuracy))]


@pytest.mark.long
def test_a_run_that_stops_at_every_iteration_is_one_run_with_rising_steps(tmp_path: Path) -> None:
    pipeline = builder().build()
    run = pipeline.run(tmp_path / "run", max_time=0)
    while run.status == "stopped":
        run = pipeline.run(tmp_path / "run", resume=True, max_time=0)
    assert len(run.record["sessions"]) > 3
    folder = run.path / "tensorboard"
    assert_whole(folder, run)
    (text,) = [event.tensor_proto.string_val[0] for event in read(folder).Tensors("run")]
    assert b"| trainer.max_epochs | 2 |" in text
    assert run.record["split"]["digest"].encode() in text
    assert run.track("tensorboard") == 0


def test_files_of_one_second_are_read_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = registered(tiny()).build()
    run = pipeline.run(tmp_path / "run")
    monkeypatch.setattr("time.time", lambda: 1.75e9)
    step = medpipe.Registry.discover().create(medpipe.plugin.HandlerStep, "tensorboard")
    facts = RunFacts.read(run.path)
    for number in range(12):
        tracker = step.open(facts)
        assert tracker.sent() == ({"loss": number} if number else {})
        tracker.send([Point("loss", number + 1, 0.5)])
        tracker.close("stopped")
    found = [step for step, _ in curve(read(run.path / "tensorboard"), "loss")]
    assert found == list(range(1, 13))


def test_a_run_without_it_is_sent_later_to_a_folder_of_its_own(tmp_path: Path) -> None:
    run = registered(tiny()).handlers("csv").build().run(tmp_path / "run")
    logs = tmp_path / "logs"
    assert run.track("tensorboard", folder=str(logs), every=1) > 20
    (folder,) = logs.iterdir()
    assert folder.name == f"run-{run.record['id'][:8]}"
    assert_whole(folder, run)
    assert run.track("tensorboard", folder=str(logs), every=1) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small disk: {error}")
    if done.returncode:
        pytest.skip(f"no small disk, which needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_costs_a_warning(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    (small_disk / "filled").write_bytes(bytes(12_288))  # a page of 4 kB is left
    run = builder(folder=str(small_disk), wait=5).build().run(small_disk.parent / "run")
    assert run.status == "finished"
    assert "No space left on device" in caplog.text
    assert f"medpipe track {run.path} --to tensorboard." in caplog.text
    assert run.track("tensorboard", folder=str(run.path / "events")) > 20


def test_a_folder_that_is_a_file_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    run = builder(folder=str(tmp_path / "file")).build().run(tmp_path / "run")
    assert run.status == "finished"
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert sum("The tracker tensorboard failed: NotADirectoryError" in line for line in said) == 1
    assert sum("The tracker tensorboard lacks a part of the run" in line for line in said) == 1
