"""The plugin of `examples/plugins`, installed as a wheel: one step of each kind in one run."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe.steps import STEP_KINDS
from support.marked_runs import plain
from support.programs import listed, medpipe

PLUGIN = Path(__file__).parents[1] / "examples" / "plugins" / "medpipe-grades"
CONFIGURATION = PLUGIN / "grades.toml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the plugin's wheel is installed."""
    folder = tmp_path_factory.mktemp("grades")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=PLUGIN,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


def test_it_brings_one_step_of_each_kind(site: Path) -> None:
    found = listed(site)["medpipe-grades"]
    assert (found["error"], found["problems"]) == (None, [])
    kinds = [step["kind"] for step in found["steps"]]
    assert sorted(kinds) == sorted(kind.kind for kind in STEP_KINDS)


@pytest.fixture(scope="module")
def discs(site: Path) -> Path:
    """The pictures of the plugin's data set."""
    folder = site.parent / "discs"
    subprocess.run([sys.executable, str(site / "medpipe_grades.py"), str(folder)], check=True)
    return folder


@pytest.mark.long
@pytest.mark.rare
def test_a_killed_run_ends_as_one_that_was_not(site: Path, discs: Path, tmp_path: Path) -> None:
    arguments = ["run", str(CONFIGURATION), "--set", f"dataset.root={discs}", "--output"]
    done = medpipe(site, *arguments, str(tmp_path / "whole"))
    assert done.returncode == 0, done.stderr
    assert "c_index" in done.stdout
    killed = tmp_path / "killed"
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = subprocess.Popen(
        [sys.executable, "-m", "medpipe", *arguments, str(killed)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (killed / "checkpoints" / "last.safetensors").exists():
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait()
    done = medpipe(site, *arguments, str(killed), "--resume")
    assert done.returncode == 0, done.stderr

    from medpipe.training.checkpoint import load_checkpoint

    states = [
        plain(load_checkpoint(tmp_path / run / "checkpoints" / "last.safetensors")[0])
        for run in ("whole", "killed")
    ]
    assert states[0] == states[1]
    assert "handler[0]" in states[0]
    for name in ("predictions_test.csv", "loudest.txt", "splits.csv"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    record = _record(killed)
    assert record["metrics"] == _record(tmp_path / "whole")["metrics"]
    test = record["metrics"]["test"]
    low, high = test["intervals"]["c_index"]
    assert 0.5 < low <= test["c_index"] <= high <= 1
    assert record["data"]["info"]["task"]["kind"] == {"step": "medpipe-grades:grades", "order": []}


@pytest.mark.long
def test_a_damaged_picture_and_a_folder_without_any(
    site: Path, discs: Path, tmp_path: Path
) -> None:
    shutil.copytree(discs, tmp_path / "discs")
    cut = tmp_path / "discs" / "004-1-G2.disc"
    cut.write_bytes(cut.read_bytes()[:-7])
    for root, said in (
        (tmp_path / "discs", f"{cut} should hold 1160 bytes, not 1153."),
        (tmp_path, f"dataset.root: {tmp_path} holds no .disc file. Draw some: python -m"),
    ):
        done = medpipe(site, "check", str(CONFIGURATION), "--set", f"dataset.root={root}")
        assert done.returncode == 2
        assert said in done.stdout + done.stderr


def _record(folder: Path) -> dict[str, Any]:
    import json

    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def test_the_c_index_is_that_of_all_pairs(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    from medpipe_grades import CIndex, Grades  # type: ignore[import-not-found]

    from medpipe.steps import Task

    random = np.random.default_rng(0)
    task = Task(kind=Grades(), names=("G1", "G2", "G3"))
    labels, predicted = random.integers(0, 3, 40), random.integers(0, 5, 40) / 4
    rows = np.stack([labels, predicted], axis=1)
    right = total = 0.0
    for one, other in itertools.combinations(range(40), 2):
        if labels[one] != labels[other]:
            total += 1
            order = (labels[one] - labels[other]) * (predicted[one] - predicted[other])
            right += 0.5 if order == 0 else order > 0
    assert CIndex().value(rows, task, {}) == pytest.approx(right / total, rel=1e-12)
    drawn = random.integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40)[:, None].astype(float)
    resampled = CIndex().statistic(rows[drawn], task)(np.ones((40, 1)))
    np.testing.assert_allclose(CIndex().statistic(rows, task)(weights), resampled, rtol=1e-12)
