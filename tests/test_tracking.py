"""A tracker gets all of a run once, in rising steps; whatever it does, the run is the same."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medpipe
from medpipe.errors import RunError, UnknownStepError
from medpipe.plugin import Point
from medpipe.runs.tracked import tracker_names
from medpipe.tracking import sender as sending
from medpipe.tracking.facts import RunFacts, numbers
from medpipe.tracking.sender import Sender
from medpipe.training.checkpoint import load_checkpoint
from support.ledger import HANGING, REGISTRY, RELEASE, Ledger, builder, curves, ledger, lines
from support.marked_runs import plain

LACKS = "The tracker ledger lacks a part of the run: {}. Nothing is lost; send the run again with "
AGAIN = "medpipe track {} --to ledger."


def weights(run: medpipe.Run) -> Any:
    states, _ = load_checkpoint(run.path / "checkpoints/last.safetensors")
    return plain({name: states[name] for name in ("network", "optimizer", "$generators")})


def only(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("*.jsonl")
    return lines(path)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [line for line in found if "tracker" in line]


def assert_whole(found: dict[str, list[tuple[int, float]]], run: medpipe.Run) -> None:
    """Each point of the run is there once, in the order of its steps."""
    last = int(run.history[-1]["iterations"] or 0)
    assert [step for step, _ in found["training/loss"]] == list(range(1, last + 1))
    for name, points in found.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), name
    assert found["epoch/training_loss"] == [
        (row["iterations"], row["training_loss"]) for row in run.history
    ]
    assert found["test/accuracy"] == [(last, run.metrics["test"]["accuracy"])]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> medpipe.Run:
    return builder().build().run(tmp_path_factory.mktemp("without") / "run")


def started(step: Ledger, path: Path) -> Sender:
    sender = Sender(step.destination, path, lambda name, text: None)
    sender.start()
    return sender


@pytest.fixture
def released() -> Iterator[None]:
    RELEASE.clear()
    HANGING.clear()
    yield
    RELEASE.set()


@pytest.mark.long
def test_a_run_is_sent_whole_and_later_not_twice(
    without: medpipe.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = builder(ledger(tmp_path)).build().run(tmp_path / "run")
    assert weights(run) == weights(without)
    assert warnings(caplog) == []
    entries = only(tmp_path)
    found = curves(entries)
    assert_whole(found, run)
    low, high = run.metrics["test"]["intervals"]["accuracy"]
    assert (found["test/accuracy_low"][0][1], found["test/accuracy_high"][0][1]) == (low, high)
    assert {value for _, value in found["training/learning_rate"]} == {3e-3}
    told = entries[0]
    assert told["parameters"]["trainer.max_epochs"] == "2"
    assert told["parameters"]["transform.0.step"] == "load_image"
    assert told["tags"]["medpipe.split_digest"] == run.record["split"]["digest"]
    assert told["tags"]["medpipe.id"] == run.record["id"]
    files = {entry["file"] for entry in entries if "file" in entry}
    assert files >= {"pipeline.toml", "run.json", "history.csv", "best.safetensors"}
    assert entries[-1] == {"status": "finished"}

    loaded = medpipe.Run.load(run.path)
    assert loaded.track("ledger", registry=REGISTRY) == 0
    assert curves(only(tmp_path)) == found


@pytest.mark.parametrize("hangs", ["open", "send", "send_file", "close"])
@pytest.mark.usefixtures("released")
@pytest.mark.long
def test_one_that_hangs_costs_a_warning(
    hangs: str, without: medpipe.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = builder(ledger(tmp_path, hangs=hangs, wait=0.2)).build().run(tmp_path / "run")
    assert HANGING.is_set()
    assert run.status == "finished"
    assert weights(run) == weights(without)
    why = LACKS.format("it did not take all within 0.2 s") + AGAIN.format(run.path)
    assert warnings(caplog) == [why]


@pytest.mark.parametrize("error", ["ValueError", "SystemExit"])
@pytest.mark.parametrize("fails", ["open", "send"])
def test_one_that_fails_costs_warnings(
    fails: str,
    error: str,
    without: medpipe.Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = builder(ledger(tmp_path, fails=fails, error=error)).build().run(tmp_path / "run")
    assert run.status == "finished"
    assert weights(run) == weights(without)
    # The first only where it is tried before the end.
    *before, last = warnings(caplog)
    assert before in (
        [],
        [
            f"The tracker ledger failed: {error}: out of ink. The run goes on, and the tracker is "
            "tried again."
        ],
    )
    assert last == LACKS.format(f"{error}: out of ink") + AGAIN.format(run.path)
    with pytest.raises(RunError) as caught:
        run.track("ledger")
    assert str(caught.value).startswith(f"The run {run.path} could not be sent to the tracker")
    count = run.track("ledger", fails="")
    assert count > 20
    assert_whole(curves(only(tmp_path)), run)


@pytest.mark.long
def test_one_that_answers_again_gets_what_it_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = builder(ledger(tmp_path, fails="send", times=1)).build()
    run = pipeline.run(tmp_path / "run", max_time=0)
    assert warnings(caplog)  # it failed at the latest when the run was stopped
    run = pipeline.run(tmp_path / "run", resume=True)
    assert_whole(curves(only(tmp_path)), run)
    assert (run.path / "unsent_ledger.csv").read_text() == "curve,step,value,seconds\n"


def test_one_that_is_not_installed_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = builder(ledger(tmp_path, fails="load")).build().run(tmp_path / "run")
    assert run.status == "finished"
    assert warnings(caplog) == [
        "The run is not sent to the tracker ledger: ImportError: The ledger is not installed. Buy "
        f"one. The run goes on; send it later with {AGAIN.format(run.path)}"
    ]
    with pytest.raises(RunError, match=r"^The ledger is not installed\. Buy one\.$"):
        run.track("ledger")
    run.track("ledger", fails="")
    assert_whole(curves(only(tmp_path)), run)


@pytest.mark.long
def test_a_run_that_stops_at_every_iteration_is_one_run_there(tmp_path: Path) -> None:
    pipeline = builder(ledger(tmp_path)).build()
    run = pipeline.run(tmp_path / "run", max_time=0)
    assert only(tmp_path)[-1] == {"status": "stopped"}
    while run.status == "stopped":
        run = pipeline.run(tmp_path / "run", resume=True, max_time=0)
    assert len(run.record["sessions"]) > 3
    assert_whole(curves(only(tmp_path)), run)


@pytest.mark.long
def test_iterations_that_are_repeated_after_a_power_cut_are_sent_once(tmp_path: Path) -> None:
    pipeline = builder(ledger(tmp_path), medpipe.step("dying", at=8)).build()
    script = (
        "import sys; from pathlib import Path; import medpipe\n"
        "from support.ledger import builder, ledger\n"
        "folder = Path(sys.argv[1])\n"
        "builder(ledger(folder), medpipe.step('dying', at=8)).build().run(folder / 'run')\n"
    )
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "MEDPIPE_TEST_DIES": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", script, str(tmp_path)]
    died = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    run = pipeline.run(tmp_path / "run", resume=True)
    assert_whole(curves(only(tmp_path)), run)


def test_a_failed_run_is_said_to_have_failed(tmp_path: Path) -> None:
    pipeline = builder(ledger(tmp_path), learning_rate=1e30).build()
    with pytest.raises(medpipe.TrainingError):
        pipeline.run(tmp_path / "run")
    assert only(tmp_path)[-1] == {"status": "failed"}


def test_a_check_tells_no_tracker(tmp_path: Path) -> None:
    assert builder(ledger(tmp_path)).build().check().ok
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_sent_later_is_named(without: medpipe.Run) -> None:
    with pytest.raises(RunError, match=r"^The handler 'csv' is not a tracker\. Choose tensorboard"):
        without.track("csv")
    with pytest.raises(UnknownStepError):
        without.track("wandb")
    assert tracker_names(without.path, REGISTRY) == []


@pytest.mark.usefixtures("released")
def test_points_that_wait_are_bounded_and_the_newest_are_kept(
    without: medpipe.Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "MOST_WAITING", 100)
    step = Ledger(folder=str(tmp_path), hangs="open")
    sender = started(step, without.path)
    assert HANGING.wait(60)
    for number in range(1, 251):
        sender.add([Point("training/loss", number, 0.5)])
    RELEASE.set()
    sender.close("finished")
    found = curves(only(tmp_path))
    assert [step for step, _ in found["training/loss"]] == list(range(151, 251))
    assert warnings(caplog) == [
        "The tracker ledger lacks 150 points of single iterations, since it was away for too long."
    ]


def test_values_that_are_not_finite_are_left_out(without: medpipe.Run, tmp_path: Path) -> None:
    sender = started(Ledger(folder=str(tmp_path)), without.path)
    values = [1.0, math.nan, math.inf, 2.0]
    sender.add([Point("training/loss", step, value) for step, value in enumerate(values, 1)])
    sender.close("stopped")
    assert curves(only(tmp_path))["training/loss"] == [(1, 1.0), (4, 2.0)]


def test_numbers_of_tables_have_paths_and_intervals_two_ends() -> None:
    metrics = {
        "images": 7,
        "auc": None,
        "accuracy": 0.5,
        "interval_method": "wilson",
        "confusion": [[1, 2], [3, 4]],
        "classes": {"a/b": {"recall": 1.0, "f1": None}},
        "intervals": {"accuracy": [0.25, 0.75], "auc": None},
        "subgroups": {"sex": {"f": {"images": 1}}},
        "remarks": ["text"],
        "frozen": True,
    }
    assert dict(numbers(metrics)) == {
        "images": 7.0,
        "accuracy": 0.5,
        "classes/a_b/recall": 1.0,
        "accuracy_low": 0.25,
        "accuracy_high": 0.75,
    }


def test_names_that_trackers_refuse_are_changed_and_stay_apart(without: medpipe.Run) -> None:
    classes = {name: {"recall": place} for place, name in enumerate(("a b", "a+b", "Ö", "..", ""))}
    record = {**without.record, "metrics": {"test": {"classes": classes}}}
    facts = RunFacts.read(without.path)
    import attrs

    found = {point.name: point.value for point in attrs.evolve(facts, record=record).results()}
    assert found == {
        "test/classes/a_b/recall": 0,
        "test/classes/a_b/recall-2": 1,
        "test/classes/Ö/recall": 2,
        "test/classes/_/recall": 3,
        "test/classes/_/recall-2": 4,
    }
