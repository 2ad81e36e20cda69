"""`RunSet`: folds and seeds taken together, and what can't be."""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import medpipe
from medpipe.errors import RunError
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import read_predictions, write_predictions
from medpipe.runs.run_set import RunSet
from medpipe.runs.spread import Spread
from support.records import change_record


def _message(folder: Path, **options: Any) -> str:
    with pytest.raises(RunError) as caught:
        RunSet.load(folder, **options).pooled()
    return str(caught.value)


def test_folds_hold_out_every_sample_once(folds: Path) -> None:
    found = RunSet.load(folds)
    assert [run.path.name for run in found.runs] == ["fold-0", "fold-1", "fold-2"]
    assert (found.unfinished, found.missing_folds) == ((), ())
    pooled = found.pooled()
    assert len(pooled) == 60
    assert list(pooled.ids) == sorted(pooled.ids)
    for run in found.runs:
        own = run.predictions()
        rows = [pooled.ids.index(id_) for id_ in own.ids]
        np.testing.assert_array_equal(pooled.scores[rows], own.scores)
        np.testing.assert_array_equal(pooled.labels[rows], own.labels)
        assert [pooled.groups[row] for row in rows] == list(own.groups)
    metrics = found.pooled_metrics()
    whole = compute_metrics(pooled, intervals=True)
    for name in ("accuracy", "balanced_accuracy", "f1", "classes", "confusion"):
        assert metrics[name] == whole[name]
        assert metrics["intervals"].get(name) == whole["intervals"].get(name)
    for name in ("auc", "average_precision"):  # scores of different networks do not compare
        of_folds = [run.metrics["test"][name] for run in found.runs]
        assert metrics[name] == pytest.approx(np.mean(of_folds), rel=1e-12)
        assert metrics[name] != whole[name]
    assert metrics["images"] == 60
    assert metrics["intervals"]["accuracy"] is not None


def test_validation_is_pooled_too(folds: Path) -> None:
    """Where the data bring the test, this is what a fold holds out; here it overlaps."""
    found = RunSet.load(folds)
    assert set(found.metrics("validation")) >= {"accuracy", "loss"}
    with pytest.raises(RunError, match="hold out different samples, but both predict"):
        found.pooled("validation")


def test_mean_and_spread_are_over_the_runs(folds: Path) -> None:
    found = RunSet.load(folds)
    spread = found.metrics()["accuracy"]
    values = [run.metrics["test"]["accuracy"] for run in found.runs]
    assert spread == Spread(
        mean=statistics.fmean(values),
        standard_deviation=statistics.stdev(values),
        minimum=min(values),
        maximum=max(values),
        values=tuple(values),
    )
    assert "images" not in found.metrics()


def test_a_metric_that_a_run_does_not_have() -> None:
    assert Spread.of([None, 0.5]) == Spread(
        mean=0.5, standard_deviation=None, minimum=0.5, maximum=0.5, values=(None, 0.5)
    )
    assert Spread.of([None]).mean is None
    assert Spread.of([math.nan, 0.5]).mean == 0.5


def test_the_scores_of_several_seeds_are_averaged(folds: Path, finished: Path) -> None:
    again = Path(shutil.copytree(finished / "again", folds / "fold-0-seed-1"))
    head, *rows = (again / "predictions_test.csv").read_text().splitlines()
    (again / "predictions_test.csv").write_text("\n".join([head, *rows[::-1], ""]))
    found = RunSet.load(folds)
    assert len(found.runs) == 4
    pooled = found.pooled()
    assert len(pooled) == 60
    one, other = (run.predictions().sorted_by_id() for run in found.runs[:2])
    assert not np.array_equal(one.scores, other.scores)
    places = [pooled.ids.index(id_) for id_ in one.ids]
    np.testing.assert_allclose(pooled.scores[places], (one.scores + other.scores) / 2)
    assert len(found.metrics()["accuracy"].values) == 4


def test_natural_order_and_any_depth(folds: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    for number in (0, 1, 2):
        shutil.copytree(folds / f"fold-{number}", deep / "x" / f"fold-{[10, 9, 1][number]}" / "run")
    (deep / ".hidden").mkdir()
    (deep / ".hidden" / "run.json").write_text("{")
    names = [run.path.parent.name for run in RunSet.load(deep).runs]
    assert names == ["fold-1", "fold-9", "fold-10"]
    alone = RunSet.load(folds / "fold-1")
    assert [run.path.name for run in alone.runs] == ["fold-1"]
    assert str(alone).splitlines()[1].startswith("fold-1              1     0 ")


def test_what_is_not_finished_is_said(folds: Path) -> None:
    change_record(folds / "fold-1", status="stopped")
    found = RunSet.load(folds)
    assert [run.path.name for run in found.unfinished] == ["fold-1"]
    assert found.missing_folds == (1,)
    assert len(found.pooled()) == 40
    assert str(found).splitlines()[-2:] == ["not finished: fold-1 (stopped)", "missing: fold 1"]
    for name in ("fold-0", "fold-2"):
        change_record(folds / name, status="failed")
    assert _message(folds) == (
        f"No run in {folds} is finished: fold-0 (failed), fold-1 (stopped), fold-2 (failed)."
    )


def test_the_table(folds: Path) -> None:
    found = RunSet.load(folds)
    lines = str(found).splitlines()
    assert re.split(r"\s{2,}", lines[0])[:4] == ["run", "fold", "seed", "loss"]
    assert [line.split()[0] for line in lines[1:]] == [
        *("fold-0", "fold-1", "fold-2"),
        *("mean", "standard"),
    ]
    mean = found.metrics()["accuracy"].mean
    assert f"{mean:.4f}" in lines[4]


def test_write(folds: Path, tmp_path: Path) -> None:
    found = RunSet.load(folds)
    written = found.write(tmp_path / "all")
    read = json.loads((tmp_path / "all" / "collection.json").read_text())
    assert read == json.loads(json.dumps(written))
    assert read["pooled"]["images"] == 60
    assert [row["run"] for row in read["runs"]] == ["fold-0", "fold-1", "fold-2"]
    assert [row["split"]["fold"] for row in read["runs"]] == [0, 1, 2]
    pooled = read_predictions(tmp_path / "all" / "predictions_pooled.csv", found.runs[0].data.task)
    np.testing.assert_array_equal(pooled.scores, found.pooled().scores)
    found.write(tmp_path / "all")  # again, after more runs


def test_nothing_there(tmp_path: Path) -> None:
    assert _message(tmp_path) == (
        f"There is no run in {tmp_path}: no folder below it holds a run.json."
    )
    assert _message(tmp_path / "no") == (
        f"{tmp_path / 'no'} can't be read: no such file or directory."
    )


def test_a_part_without_metrics(folds: Path) -> None:
    change_record(folds / "fold-2", metrics={"validation": {}})
    with pytest.raises(RunError) as caught:
        RunSet.load(folds).metrics()
    assert str(caught.value) == (
        f"The run {folds / 'fold-2'} has no metrics on the split 'test'. It has 'validation'."
    )


MIXED = (
    "The runs in {folds} are not of one kind. {folds}/fold-1 differs from {folds}/fold-0: {what}. "
    "Keep each kind in a folder of its own, or combine them nevertheless with "
    "allow_mixed=True."
)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"data__digest": "0"}, "the data differ (by their digests)"),
        ({"data__info__task__names": ["a", "b"]}, "the tasks differ"),
        ({"split__seed": 7}, "split.seed: 0, now 7"),
        (
            {"split__folds": 5, "split__seed": 7},
            "split.seed: 0, now 7; split.folds: 3, now 5",
        ),
        ({"split__fold": 0}, "the samples are in other splits than in {folds}/fold-0"),
    ],
)
def test_runs_of_several_kinds(folds: Path, changes: dict[str, Any], what: str) -> None:
    change_record(folds / "fold-1", **changes)
    expected = MIXED.replace("{what}", what).format(folds=folds)
    assert _message(folds) == expected
    assert len(RunSet.load(folds, allow_mixed=True).runs) == 3


def test_runs_of_another_configuration(folds: Path, finished: Path) -> None:
    shutil.rmtree(folds / "fold-1")
    shutil.copytree(finished / "longer", folds / "fold-1")
    assert _message(folds) == MIXED.format(folds=folds, what="trainer.max_epochs: 1, now 2")
    assert len(RunSet.load(folds, allow_mixed=True).pooled()) == 60


def test_runs_that_both_predict_a_sample(folds: Path) -> None:
    one, other = (medpipe.Run.load(folds / f"fold-{n}").predictions() for n in (0, 1))
    rows = list(range(len(other)))
    more = attrs.evolve(other.taken(rows), ids=[one.ids[0], *other.ids[1:]])
    write_predictions(folds / "fold-1" / "predictions_test.csv", more)
    assert _message(folds) == (
        f"{folds / 'fold-0'} and {folds / 'fold-1'} hold out different samples, but both predict "
        f"1 of them, such as {one.ids[0]!r}: they are not folds of the same "
        "division, so their predictions can't be combined."
    )


def test_runs_of_different_questions_are_not_pooled(folds: Path) -> None:
    run = folds / "fold-1"
    record = json.loads((run / "run.json").read_text())
    names = record["data"]["info"]["task"]["names"]
    renamed = [f"{name}s" for name in names]
    change_record(run, data__info__task__names=renamed)
    text = (run / "predictions_test.csv").read_text()
    for name, new in zip(names, renamed, strict=True):
        text = text.replace(f"p({name})", f"p({new})").replace(f",{name},", f",{new},")
        text = text.replace(f",{name},", f",{new},")  # where two stand side by side
    (run / "predictions_test.csv").write_text(text)
    assert "answer different questions" in _message(folds, allow_mixed=True)


def test_seeds_with_different_labels(folds: Path, finished: Path) -> None:
    again = Path(shutil.copytree(finished / "again", folds / "fold-0-b"))
    predictions = medpipe.Run.load(again).predictions()
    changed = attrs.evolve(predictions, labels=np.roll(predictions.labels, 1))
    write_predictions(again / "predictions_test.csv", changed)
    assert _message(folds) == (
        f"{folds / 'fold-0'} and {again} have different labels for a sample."
    )


def test_runs_of_an_earlier_version_have_no_folds(folds: Path) -> None:
    for number in (1, 2):
        shutil.rmtree(folds / f"fold-{number}")
    record = json.loads((folds / "fold-0" / "run.json").read_text())
    del record["split"]
    (folds / "fold-0" / "run.json").write_text(json.dumps(record))
    found = RunSet.load(folds)
    assert found.missing_folds == ()
    assert len(found.pooled()) == 20
