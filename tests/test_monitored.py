"""A monitored metric that is undefined: what is said of the choice of the best network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import pytest

from medpipe.plugin import MetricStep, Task
from medpipe.report.facts import ReportFacts
from medpipe.training.monitored import never_defined, undefined_epoch
from support.tiny_runs import tiny

Array = np.ndarray[Any, np.dtype[Any]]
CALLS: list[int] = []


@attrs.frozen(kw_only=True)
class Sometimes(MetricStep):
    """Undefined in some of the validations."""

    name: ClassVar[str] = "sometimes"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})
    undefined: tuple[int, ...]

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        CALLS.append(1)
        return np.full(len(labels), np.nan if len(CALLS) in self.undefined else 0.5)


def trained(
    undefined: tuple[int, ...], path: Path, caplog: pytest.LogCaptureFixture
) -> tuple[list[str], Any]:
    CALLS.clear()
    builder = tiny().metrics(Sometimes(undefined=undefined))
    builder = builder.trainer("supervised", max_epochs=2, learning_rate=3e-3, monitor="sometimes")
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        run = builder.build().run(path)
    said = [one.getMessage() for one in caplog.records if "(trainer.monitor)" in one.getMessage()]
    return said, run


def test_a_run_says_that_its_best_network_was_not_chosen_by_the_metric(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said, run = trained((1, 2), tmp_path / "run", caplog)
    first, last = said
    assert first.startswith(
        "The validation metric 'sometimes' (trainer.monitor) is undefined in epoch 1. Until it is "
        "defined, the validation loss decides which network is the best, for trainer.patience too."
    )
    losses = [row["validation_loss"] for row in run.history]
    best = losses.index(min(losses)) + 1
    assert run.record["best_epoch"] == best
    assert last.startswith(
        "The best network was not chosen by 'sometimes' (trainer.monitor), which was undefined in "
        f"every epoch: that of epoch {best} was taken, by the validation loss. It is undefined "
    )
    assert run.facts().choice == (
        "the best by validation loss, since validation sometimes was undefined in every epoch"
    )


def test_one_epoch_without_it_is_never_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said, run = trained((2,), tmp_path / "run", caplog)
    assert [one.partition(". It is undefined")[0] for one in said] == [
        "The validation metric 'sometimes' (trainer.monitor) is undefined in epoch 2. An epoch "
        "where it is undefined is never the best, and counts for trainer.patience as one that "
        "is not better"
    ]
    assert run.record["best_epoch"] == 1


def test_each_thing_is_said_once() -> None:
    none: dict[str, float | None] = {"auc": None, "loss": 1.0}
    some: dict[str, float | None] = {"auc": 0.5, "loss": 1.0}
    assert undefined_epoch("auc", [some]) is None
    assert undefined_epoch("auc", [none, none]) is None
    assert undefined_epoch("auc", [none, some]) is None
    assert "epoch 2. An epoch" in str(undefined_epoch("auc", [some, {"loss": 1.0}]))
    assert "the first epoch counts" in str(undefined_epoch("loss", [{"loss": float("nan")}]))
    assert never_defined("auc", [none, some], 1) is None
    assert "for it is the first: its loss is undefined too" in str(never_defined("auc", [{}], 1))


@pytest.mark.parametrize(
    ("row", "choice"),
    [
        ({"validation_auc": 0.5, "validation_loss": 1.0}, "the best by validation auc"),
        ({"training_loss": 0.5}, "the last, as there was no validation"),
        (
            {"validation_f1": 0.5, "validation_auc": None},
            "the first, since validation auc was undefined in every epoch",
        ),
    ],
)
def test_a_report_says_by_what_the_network_was_chosen(row: dict[str, Any], choice: str) -> None:
    record = {"auto": {"trainer.monitor": "auc"}}
    facts: Any = ReportFacts
    made = facts(
        path=Path(),
        record=record,
        data=None,
        metrics={},
        predictions={},
        history=[row],
        dataset=None,
        trained=None,
    )
    assert made.choice == choice
