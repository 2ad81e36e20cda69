"""A job script that submits again on exit code 75 comes to an end: what can't go on is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medpipe import CheckFailed, RunError, TrainingError
from medpipe.plugin import Training
from medpipe.runs.resume import refuse_too_few_epochs
from medpipe.runs.run import Run
from medpipe.training.loop import Progress, TrainingLoop
from medpipe.training.planned import planned
from medpipe.training.stopping import Stopped, StopRequest
from support.marked_runs import ask, at, calls, checked, tiny

pytestmark = pytest.mark.usefixtures("_fresh_marks")


def test_an_epoch_without_an_iteration_is_a_problem(tmp_path: Path) -> None:
    builder = tiny().loader(batch_size=37, workers=0, drop_last=True)
    for longer in (builder, tiny(epoch_length=5).loader(batch_size=37, workers=0, drop_last=True)):
        report = longer.build().check()
        assert [str(problem) for problem in report.problems] == [
            "loader.drop_last: there is no iteration in an epoch: the training split has 36 "
            "samples, fewer than loader.batch_size = 37, and a last batch that isn't full is left "
            "out. Set it to false, or loader.batch_size to 36 or less."
        ]
    with pytest.raises(CheckFailed):
        builder.build().run(tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / "run.json").exists()
    assert tiny().loader(batch_size=36, workers=0, drop_last=True).build().check().ok


def test_patience_needs_a_validation_split() -> None:
    report = tiny(patience=2).split(validation=0.0, test=0.2).build().check()
    assert [str(problem) for problem in report.problems] == [
        "trainer.patience: it waits for a better validation, and the validation split is empty. "
        "Set split.validation above 0, or leave it out."
    ]


def loop_of(engine: Engine, epochs: int, **settings: Any) -> TrainingLoop:
    kept: list[Progress] = []
    return TrainingLoop(
        training=Training(engine=engine, state={}),
        validate=None,
        monitor="loss",
        mode="min",
        patience=None,
        max_epochs=epochs,
        on_epoch=lambda *_: None,
        on_save=kept.append,
        stop=StopRequest(),
        **settings,
    )


class Short(Engine):
    """An engine that has its data, as MONAI's trainers."""

    def __init__(self, batches: int, epochs: int, length: int | None = None) -> None:
        super().__init__(lambda *_: {"loss": torch.tensor(1.0)})
        self._data, self._epochs, self._length = [0] * batches, epochs, length

    def run(self) -> Any:  # type: ignore[override]
        return super().run(self._data, self._epochs, self._length)


def test_an_engine_that_ends_without_an_iteration_is_an_error() -> None:
    engine = Short(3, 2)
    engine.add_event_handler(Events.EPOCH_STARTED, engine.terminate)
    with pytest.raises(TrainingError) as caught:
        loop_of(engine, 2).run()
    assert str(caught.value) == (
        "The trainer's engine ended by itself without one iteration, in epoch 1 of 2. Check that "
        "its loader gives batches, and what terminates the engine."
    )


def test_an_engine_that_ends_within_an_epoch_is_an_error() -> None:
    engine = Short(3, 2)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=5), engine.terminate)
    with pytest.raises(TrainingError) as caught:
        loop_of(engine, 2).run()
    assert str(caught.value) == (
        "The trainer's engine ended by itself in epoch 2 of 2, after 2 of 3 iterations. Check "
        "whether its loader gives fewer batches than the engine's epoch_length, and what "
        "terminates the engine."
    )


def test_an_engine_that_ends_between_epochs_has_come_to_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    progress = Progress()
    loop_of(Short(3, 2), 5, progress=progress).run()
    assert progress.finished
    assert progress.early
    assert progress.iteration == 6
    assert "ended by itself after epoch 2 of 5" in caplog.text


def test_an_epoch_that_ends_without_a_loss_is_an_error() -> None:
    engine = Short(0, 1, 0)
    with pytest.raises(TrainingError, match=r"^Epoch 0 had no iteration\. Check that the loader"):
        loop_of(engine, 1)._finish_epoch(_clock())


def _clock() -> Any:
    from medpipe.training.clock import Clock

    return Clock()


def test_a_time_limit_waits_for_the_first_piece_of_work() -> None:
    stop = StopRequest(0)
    stop.check(first=True)
    with pytest.raises(Stopped):
        stop.check()


@pytest.mark.long
def test_a_session_that_gets_nowhere_is_an_error(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1).loader(batch_size=36).build()
    assert pipeline.run(tmp_path / "run", resume=True, max_time=0).status == "stopped"
    # The epoch's iteration is done. A signal comes in the validation, and again in the next.
    for _ in range(2):
        calls.clear()
        at[2 * checked(pipeline) + 3] = ask
        with pytest.raises(RunError) as caught:
            pipeline.run(tmp_path / "run", resume=True)
        assert str(caught.value) == (
            f"The run {tmp_path / 'run'} was stopped by SIGUSR1 before it made any progress, and "
            "would end the same way if it were submitted again unchanged. Give "
            "the job more time before the signal: enough for the check and "
            "all of a validation or test."
        )
        assert Run.load(tmp_path / "run").status == "failed"  # job scripts resubmit what stopped
    at.clear()
    # However short a time limit is, each session does something.
    states = [pipeline.run(tmp_path / "run", resume=True, max_time=0).status for _ in range(2)]
    assert states == ["stopped", "finished"]


@pytest.mark.parametrize(
    ("before", "other", "line"),
    [
        (
            {"schedule": {"step": "one_cycle"}},
            {"max_epochs": 4},
            "steps of the optimizer in all: 10 then, 20 now",
        ),
        (
            {"schedule": {"step": "cosine"}},
            {"max_epochs": 1},
            "steps of the optimizer in all: 10 then, 5 now",
        ),
        (
            {"schedule": {"step": "cosine"}},
            {"accumulation": 2},
            "steps of the optimizer in all: 10 then, 6 now",
        ),
        (
            {"schedule": {"step": "steps"}},
            {"epoch_length": 3},
            "steps of the optimizer in an epoch: 5 then, 3 now",
        ),
    ],
)
def test_a_schedule_of_another_length_is_refused_before_training(
    tmp_path: Path, before: dict[str, Any], other: dict[str, Any], line: str
) -> None:
    path = tmp_path / "run"
    tiny(max_epochs=2, **before).build().run(path, max_time=0)
    kept = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    changed = tiny(**{"max_epochs": 2, **before, **other}).build()
    with pytest.raises(RunError) as caught:
        changed.run(path, resume=True, allow_changed=True)
    assert str(caught.value) == (
        f"The run {path} can't be resumed, since its schedule was made for another length, and "
        f"the learning rate would jump or not reach its end:\n  {line}\n"
        "The length follows from trainer.max_epochs, trainer.epoch_length, trainer.accumulation, "
        "loader.batch_size and the number of training samples. Restore them, or begin a new "
        "run in another output folder; with weights.run it can start from this run's best network."
    )
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == kept


@pytest.mark.parametrize("schedule", ["constant", {"step": "steps"}])
def test_more_epochs_are_trained_where_the_schedule_knows_no_end(
    tmp_path: Path, schedule: str | dict[str, Any]
) -> None:
    tiny(max_epochs=1, schedule=schedule).build().run(tmp_path / "run", max_time=0)
    longer = tiny(max_epochs=2, schedule=schedule).build()
    run = longer.run(tmp_path / "run", resume=True)
    assert [row["epoch"] for row in run.history] == [1, 2]
    still_longer = tiny(max_epochs=3, schedule=schedule).build()
    run = still_longer.run(tmp_path / "run", resume=True)  # it was finished
    assert [row["epoch"] for row in run.history] == [1, 2, 3]


def test_more_epochs_are_trained_where_only_the_test_was_left(tmp_path: Path) -> None:
    pipeline = tiny(max_epochs=1, schedule="constant", epoch_length=1).build()
    states = [pipeline.run(tmp_path / "run", resume=True, max_time=0).status for _ in range(2)]
    assert states == ["stopped", "stopped"]  # the iteration, the validation
    longer = tiny(max_epochs=2, schedule="constant", epoch_length=1).build()
    run = longer.run(tmp_path / "run", resume=True, allow_changed="configuration")
    assert [row["epoch"] for row in run.history] == [1, 2]


def test_fewer_epochs_than_there_were_are_refused() -> None:
    def reached(iteration: int, **others: Any) -> dict[str, Any]:
        return {"iteration": iteration, "epoch_length": 5, "finished": False, **others}

    path = Path("run")
    for progress, now in [
        (reached(5, validating=True), 1),
        (reached(5, validating=False), 2),
        (reached(7, validating=False), 2),
        (reached(10, validating=True), 2),
    ]:
        refuse_too_few_epochs(path, progress, now)
        with pytest.raises(RunError) as caught:
            refuse_too_few_epochs(path, progress, now - 1)
        assert str(caught.value) == (
            f"The run run can't be resumed with trainer.max_epochs = {now - 1}: it is "
            f"already in epoch {now}. Set trainer.max_epochs to {now} or more, or begin a new run "
            f"in another output folder."
        )
    refuse_too_few_epochs(path, reached(10, validating=False, finished=True), 1)
    refuse_too_few_epochs(path, {**reached(0), "epoch_length": None}, 1)


def test_what_schedules_of_a_plugin_know_is_found() -> None:
    from monai.optimizers.lr_scheduler import WarmupCosineSchedule
    from torch.optim import lr_scheduler as torchs

    def found(make: Any) -> dict[str, Any]:
        optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
        state = {"network": torch.nn.Linear(1, 1), "optimizer": optimizer, "s": make(optimizer)}
        return planned(Training(engine=Engine(lambda *_: None), state=state))

    assert found(lambda o: torchs.OneCycleLR(o, 0.1, total_steps=9)) == {"s.total_steps": 9}
    assert found(lambda o: torchs.CosineAnnealingLR(o, 7)) == {"s.T_max": 7}
    assert found(lambda o: torchs.PolynomialLR(o, 7)) == {"s.total_iters": 7}
    assert found(lambda o: torchs.MultiStepLR(o, [2, 5])) == {"s.milestones": [2, 5]}
    assert found(torchs.ReduceLROnPlateau) == {}
    assert found(lambda o: torchs.ExponentialLR(o, 0.9)) == {}
    both = found(
        lambda o: torchs.SequentialLR(
            o, [torchs.LinearLR(o, total_iters=2), torchs.CosineAnnealingLR(o, 7)], [2]
        )
    )
    assert both == {
        "s._milestones": [2],
        "s._schedulers[0].total_iters": 2,
        "s._schedulers[1].T_max": 7,
    }
    assert found(lambda o: WarmupCosineSchedule(o, 3, 30)) == {
        "s.t_total": 30,
        "s.warmup_steps": 3,
    }


def test_what_a_trainer_says_of_its_schedule_counts() -> None:
    engine = Engine(lambda *_: None)
    assert planned(Training(engine=engine, state={}, planned={"end": 3})) == {"end": 3}


def test_what_another_command_left_unfinished_is_not_submitted_again(tmp_path: Path) -> None:
    from medpipe.cli.run import _stopped
    from medpipe.runs.run_set import RunSet

    def run(name: str, status: str) -> Run:
        configuration = tiny().build().configuration
        return Run(path=tmp_path / name, record={"status": status}, configuration=configuration)

    left = (run("fold-2", "failed"), run("fold-7", "stopped"))
    some = RunSet(path=tmp_path, runs=(), unfinished=left)
    assert _stopped(some, ["fold-0", "fold-1"]) is None
    stopped = _stopped(some, [f"fold-{fold}" for fold in range(10)])
    assert stopped is not None
    assert stopped.path.name == "fold-2"
