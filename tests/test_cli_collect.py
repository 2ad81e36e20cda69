"""``medpipe collect`` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medpipe.cli import app, main
from medpipe.cli.collect import collect


@pytest.fixture(autouse=True)
def _command() -> None:
    if "collect" not in list(app):
        app.command(collect)


def call(*arguments: object) -> Any:
    try:
        main(["collect", *map(str, arguments)])
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.long
def test_collect_shows_runs_and_pooled_metrics(
    folds: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(folds / "fold-1")
    assert not call(folds, "--output", tmp_path / "all")
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].split()[:3] == ["run", "fold", "seed"]
    assert "missing: fold 1" in lines
    assert "2 runs pooled, test on 40 images:" in lines
    assert lines[-1] == f"The collection is in {tmp_path / 'all'}"
    collection = json.loads((tmp_path / "all" / "collection.json").read_text())
    accuracy = collection["pooled"]["accuracy"]
    low, high = collection["pooled"]["intervals"]["accuracy"]
    assert f"accuracy             {accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})" in printed


def test_collect_counts_one_run(
    folds: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not call(folds / "fold-0")
    assert "1 run pooled, test on 20 images:" in capsys.readouterr().out.splitlines()


def test_collect_ends_with_2_where_nothing_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path) == 2
    assert capsys.readouterr().err == (
        f"There is no run in {tmp_path}: no folder below it holds a run.json.\n"
    )


def test_collect_refuses_mixed_runs_unless_told(
    folds: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = json.loads((folds / "fold-1" / "run.json").read_text())
    record["data"]["digest"] = "0"
    (folds / "fold-1" / "run.json").write_text(json.dumps(record))
    assert call(folds) == 2
    assert "with --allow-mixed" in capsys.readouterr().err
    assert not call(folds, "--allow-mixed")


def test_collect_makes_its_table_also_where_predictions_cant_be_pooled(
    folds: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Runs on validation splits, which overlap; the pooled predictions of before are gone."""
    assert not call(folds, "--output", tmp_path / "all")
    assert (tmp_path / "all" / "predictions_pooled.csv").exists()
    capsys.readouterr()
    assert not call(folds, "--split", "validation", "--output", tmp_path / "all")
    found = capsys.readouterr()
    lines = found.out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["run", "fold-0", "fold-1", "fold-2"]
    assert lines[4].split()[0] == "mean"
    assert not any("pooled" in line for line in lines)
    assert found.err.startswith(
        f"The predictions are not pooled. {folds / 'fold-0'} and {folds / 'fold-1'} hold out "
        "different samples, but both predict "
    )
    collection = json.loads((tmp_path / "all" / "collection.json").read_text())
    assert collection["pooled"] is None
    assert collection["not_pooled"] in found.err
    assert len(collection["metrics"]["accuracy"]["values"]) == 3
    assert not (tmp_path / "all" / "predictions_pooled.csv").exists()


def test_a_run_without_metrics_has_none_in_the_table(
    folds: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = json.loads((folds / "fold-1" / "run.json").read_text())
    del record["metrics"]["test"]
    (folds / "fold-1" / "run.json").write_text(json.dumps(record))
    (folds / "fold-1" / "predictions_test.csv").unlink()
    assert not call(folds)
    found = capsys.readouterr()
    assert set(found.out.splitlines()[2].split()[3:]) == {"-"}
    assert f"The run {folds / 'fold-1'} has no predictions on the split 'test'." in found.err
