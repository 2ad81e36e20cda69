"""`medpipe.compare`: paired differences between runs on the same samples, and what can't be."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from benchmarks.coverage_sets import Cell, Drawn, drawn
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

import medpipe
from medpipe.cli import main
from medpipe.errors import RunError
from medpipe.evaluation.comparison import Difference, holm, paired_differences, unpaired
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions, write_predictions
from medpipe.runs.run_set import RunSet
from medpipe.steps import Task
from support.folders import image_folder
from support.records import change_record
from support.simulated import predictions_of


def regressed(errors: np.ndarray, groups: list[str | None] | None = None) -> Predictions:
    """Predictions of a target that is 0, so that they are their own errors."""
    count = len(errors)
    return Predictions(
        task=Task(kind="regression", names=("x",)),
        ids=tuple(f"s{row:04}" for row in range(count)),
        scores=errors[:, None],
        labels=np.zeros((count, 1)),
        groups=groups or (None,) * count,
    )


def test_the_difference_of_means_of_single_samples_is_students() -> None:
    """The jackknife of a mean is its usual standard error."""
    rng = np.random.default_rng(4)
    one, other = np.abs(rng.normal(size=60)), np.abs(rng.normal(0.3, 1, size=60))
    found = paired_differences(regressed(one), regressed(other))["mae"]
    expected = ttest_rel(other, one)
    assert found.value == pytest.approx(other.mean() - one.mean())
    assert found.interval is not None
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(found.value)
    # Its degrees of freedom are estimated from the squares, so about those of Student's test.
    theirs = expected.confidence_interval(0.95)
    assert high - low == pytest.approx(theirs.high - theirs.low, rel=0.02)
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)


def test_the_order_of_the_samples_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    one, other = regressed(rng.normal(size=30)), regressed(rng.normal(size=30))
    turned = other.taken(list(range(30))[::-1])
    assert paired_differences(one, turned) == paired_differences(one, other)


def test_copies_of_each_patient_change_nothing() -> None:
    rng = np.random.default_rng(2)
    errors = rng.normal(size=(2, 40))
    single = paired_differences(*map(regressed, errors))
    groups: list[str | None] = [f"p{row // 5}" for row in range(200)]
    copied = paired_differences(*(regressed(np.repeat(each, 5), groups) for each in errors))
    for name in ("mae", "rmse"):
        assert copied[name].value == pytest.approx(single[name].value)
        assert copied[name].interval == pytest.approx(single[name].interval)


def test_equal_networks_have_no_difference_and_no_interval() -> None:
    one = regressed(np.arange(10.0))
    assert paired_differences(one, one)["mae"] == Difference(value=0.0)


def test_an_undefined_metric_has_no_difference() -> None:
    scores = np.linspace(-1, 1, 6)
    well = Drawn(np.arange(6), np.zeros(6, bool), scores[None])
    one, other = predictions_of(well, scores), predictions_of(well, -scores)
    assert paired_differences(one, other)["auc"] == Difference(value=None)


def test_more_groups_than_blocks() -> None:
    """Then groups are left out several at once, which changes the interval little."""
    rng = np.random.default_rng(3)
    one, other = np.abs(rng.normal(size=(2, 3000)))
    found = paired_differences(regressed(one), regressed(other))["mae"]
    theirs = ttest_rel(other, one).confidence_interval(0.95)
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] == pytest.approx(theirs.high - theirs.low, rel=0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction(p_values: list[float]) -> None:
    """The smallest is rejected while it is below the level over the number of those left."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected, left = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
        while left and p_values[left[0]] * len(left) < level:
            rejected.add(left.pop(0))
        assert {place for place, p in enumerate(adjusted) if p < level} == rejected


@pytest.mark.long
def test_equal_networks_differ_in_few_sets_and_better_ones_in_many() -> None:
    """300 sets of 60 patients: a difference that is not there is found in 6 % at most."""
    found = {"equal": 0, "better": 0}
    for one in drawn(Cell(60, 0.5, 0.8), 300, seed=8):
        networks = [predictions_of(one, scores) for scores in one.scores]
        for kind, other in (("equal", networks[1]), ("better", networks[2])):
            table = paired_differences(networks[0], other)
            interval = table["balanced_accuracy"].interval
            assert interval is not None
            found[kind] += not interval[0] <= 0 <= interval[1]
    assert found["equal"] <= 18
    assert found["better"] >= 200


def test_what_differs_is_said_all_at_once() -> None:
    one = regressed(np.arange(5.0))
    other = regressed(np.arange(4.0), ["p", None, None, None])
    labels = other.labels.copy()
    labels[1] = 3
    other = attrs.evolve(other, labels=labels)
    assert unpaired(one, other) == [
        "1 sample of the first alone, such as 's0004'",
        "the labels of 1 sample differ, such as that of 's0001'",
        "the groups of 1 sample differ, such as that of 's0000'",
    ]
    assert unpaired(one, one) == []
    with pytest.raises(ValueError, match="not of the same samples: 1 sample of the first alone"):
        paired_differences(one, other)


def test_missing_labels_are_equal() -> None:
    one = regressed(np.arange(3.0))
    one = attrs.evolve(one, labels=np.array([[math.nan], [1.0], [2.0]]))
    assert unpaired(one, one) == []


def refused(*runs: Any) -> str:
    with pytest.raises(RunError) as caught:
        medpipe.compare(*runs)
    return str(caught.value)


@pytest.fixture
def pair(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of other seeds on the same split, to be changed at will."""
    return (
        Path(shutil.copytree(finished / "folds" / "fold-0", tmp_path / "one")),
        Path(shutil.copytree(finished / "again", tmp_path / "other")),
    )


def test_two_runs(pair: tuple[Path, Path]) -> None:
    found = medpipe.compare(*pair)
    one, other = (medpipe.Run.load(path) for path in pair)
    assert found.names == tuple(map(str, pair))
    assert (found.split, found.images) == ("test", 20)
    assert found.settings == {"run.seed": ("0", "1")}
    for name, sides in found.metrics.items():
        for side, run in zip(sides, (one, other), strict=True):
            assert side["value"] == run.metrics["test"][name]
            assert side["interval"] == run.metrics["test"]["intervals"][name]
        difference = found.differences[0][name]
        assert difference.value == pytest.approx(
            other.metrics["test"][name] - one.metrics["test"][name]
        )
    right = [run.predictions().predicted == run.predictions().labels for run in (one, other)]
    (cases,) = found.cases
    assert cases == {
        "both": int((right[0] & right[1]).sum()),
        "first": int((right[0] & ~right[1]).sum()),
        "second": int((~right[0] & right[1]).sum()),
        "neither": int((~right[0] & ~right[1]).sum()),
    }
    assert any("single runs" in remark for remark in found.remarks)


def test_a_network_that_is_surely_better(pair: tuple[Path, Path]) -> None:
    """One that always answers right, against one that answers by chance."""
    run = medpipe.Run.load(pair[0])
    labels = run.predictions().labels
    many = np.arange(400)
    rng = np.random.default_rng(0)
    for path, chance in ((pair[0], 0.5), (pair[1], 0.98)):
        truth = labels[many % len(labels)]
        answers = np.where(rng.random(400) < chance, truth, (truth + 1) % len(run.data.task.names))
        scores = rng.uniform(0.01, 0.1, size=(400, len(run.data.task.names)))
        scores[many, answers] = 0.9
        some = Predictions(
            task=run.data.task,
            ids=tuple(f"{row:04}" for row in many),
            scores=scores,
            labels=truth,
            groups=(None,) * 400,
        )
        write_predictions(path / "predictions_test.csv", some)
    found = medpipe.compare(*pair)
    for table in (found.differences[0][name] for name in ("accuracy", "auc")):
        assert table.interval is not None
        assert table.interval[0] > 0.2
    assert "these remain: accuracy, balanced_accuracy, f1, auc, average_precision." in str(found)
    turned = medpipe.compare(*pair[::-1])
    assert turned.differences[0]["accuracy"].value == -found.differences[0]["accuracy"].value  # type: ignore[operator]


def test_three_runs_have_two_differences(pair: tuple[Path, Path], tmp_path: Path) -> None:
    third = Path(shutil.copytree(pair[1], tmp_path / "third"))
    found = medpipe.compare(*pair, third)
    assert len(found.differences) == len(found.adjusted) == len(found.cases) == 2
    assert found.differences[0] == found.differences[1]
    lines = str(found).splitlines()
    assert any("B - A" in line and "C - A" in line for line in lines)


def test_sets_are_compared_by_their_pooled_predictions(folds: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folds, tmp_path / "others"))
    for run in other.iterdir():
        predictions = medpipe.Run.load(run).predictions()
        turned = attrs.evolve(predictions, scores=predictions.scores[:, ::-1])
        write_predictions(run / "predictions_test.csv", turned)
    found = medpipe.compare(folds, RunSet.load(other))
    assert found.images == 60
    pooled = [RunSet.load(folder).pooled_metrics() for folder in (folds, other)]
    for name, sides in found.metrics.items():
        assert [side["value"] for side in sides] == [metrics[name] for metrics in pooled]
        assert found.differences[0][name].value == pytest.approx(pooled[1][name] - pooled[0][name])
    assert found.settings == {}
    assert not any("single runs" in remark for remark in found.remarks)


def test_settings_that_differ(finished: Path) -> None:
    found = medpipe.compare(finished / "folds" / "fold-1", finished / "longer")
    assert found.settings == {"trainer.max_epochs": ("1", "2")}
    assert "  trainer.max_epochs  1  2" in str(found).splitlines()


def test_other_samples_are_refused(finished: Path) -> None:
    runs = [finished / "folds" / f"fold-{fold}" for fold in (0, 1)]
    ids = [sorted(medpipe.Run.load(run).predictions().ids) for run in runs]
    assert refused(*runs) == (
        f"{runs[0]} and {runs[1]} can't be compared on the test split: {len(ids[0])} samples of "
        f"the first alone, such as {ids[0][0]!r}; {len(ids[1])} samples of the second alone, such "
        f"as {ids[1][0]!r}. Compare what was predicted on the same samples: give both the same "
        "split.seed and fractions, or the first's splits.csv as split.file."
    )


def test_other_images_of_the_same_ids_are_refused(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "splits.csv"
    head, *rows = path.read_text().splitlines()
    place = next(place for place, row in enumerate(rows) if ",test," in row)
    rows[place] = rows[place][:-4] + "0000"
    path.write_text("\n".join([head, *rows]) + "\n")
    id_ = rows[place].split(",")[0]
    assert f"the images of 1 differ, such as {id_!r}. Compare" in refused(*pair)


def test_what_is_no_pair(pair: tuple[Path, Path]) -> None:
    assert refused(pair[0]) == "Name 2 to 26 runs, or folders of runs, to compare; not 1."
    change_record(pair[1], status="stopped")
    assert refused(*pair) == (
        f"The run {pair[1]} is not finished (stopped). Resume it before it is compared."
    )
    nothing = pair[0] / "checkpoints"
    assert "no folder below it holds a run.json" in refused(pair[0], nothing)


def call(*arguments: object) -> Any:
    try:
        main(["compare", *map(str, arguments)])
    except SystemExit as ended:
        return ended.code
    return 0


def test_the_command(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    kept = pair[0].parent / "comparison.json"
    assert not call(*pair, "--output", kept)
    printed = capsys.readouterr().out
    found = medpipe.compare(*pair)
    assert printed == f"{found}\nThe comparison is in {kept}\n"
    assert json.loads(kept.read_text()) == json.loads(json.dumps(found.record()))
    assert printed.startswith(f"A: {pair[0]}\nB: {pair[1]}\n\nSettings that differ:\n")
    value = compute_metrics(medpipe.Run.load(pair[0]).predictions())["accuracy"]
    assert f"{value:.4f}" in printed
    assert call(pair[0]) == 2


def test_evaluations_on_the_same_data(pair: tuple[Path, Path], tmp_path: Path) -> None:
    root = image_folder(tmp_path / "theirs", samples=24, size=40)
    data = medpipe.Registry.discover().datasets["image_folder"](root=root, channels=1)
    folders = [tmp_path / "evaluated" / name for name in ("one", "other")]
    results = [
        medpipe.Run.load(path).evaluate(data, output=folder, allow_overlap=True)
        for path, folder in zip(pair, folders, strict=True)
    ]
    found = medpipe.compare(*folders)
    assert (found.split, found.images) == ("external data", len(results[0].predictions))
    assert found.settings == {"run.seed": ("0", "1")}
    values = [side["value"] for side in found.metrics["accuracy"]]
    assert values == [result.metrics["accuracy"] for result in results]
    found.report(tmp_path / "page.html")
    assert "one is a run and one an evaluation" in refused(pair[0], folders[1])

    path = folders[1] / "metrics.json"
    content = json.loads(path.read_text())
    content["data"]["digest"] = "0" * 64
    path.write_text(json.dumps(content))
    assert "the images differ (by their digests). Evaluate both runs on" in refused(*folders)
    path.write_text(json.dumps({**content, "run": str(tmp_path / "gone")}))
    assert f"is of the run {tmp_path / 'gone'}, which is not there" in refused(*folders)
    path.write_text("{")
    assert "can't be read as the metrics of an evaluation" in refused(*folders)
