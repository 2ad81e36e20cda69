"""The job scripts of examples/clusters run, stop in time, queue themselves again, and resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medpipe.runs.run import Run
from support.programs import TINY
from support.slurm import Cluster

pytestmark = pytest.mark.long


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    text = TINY.replace("max_epochs = 1", "max_epochs = 20")
    (tmp_path / "study.toml").write_text(f"{text}\n[split]\nfolds = 3\n")
    return Cluster(tmp_path)


def trained(run: Path) -> Callable[[], bool]:
    return lambda: (run / "checkpoints" / "last.safetensors").exists()


@pytest.mark.rare
def test_a_run_on_two_nodes_is_queued_again_and_resumed(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    script, run = repository / "examples/clusters/slurm.sbatch", tmp_path / "runs/study"
    code, text = cluster.run(script, job=7, warn_when=trained(run), PROCESSES="1")
    assert code, text
    assert "was stopped by the signal SIGTERM" in text, text
    assert cluster.requeued == ["7"]
    assert Run.load(run).status == "stopped"
    code, text = cluster.run(script, job=7, PROCESSES="1")
    assert code == 0, text
    assert cluster.requeued == ["7"]  # once
    done = Run.load(run)
    assert done.status == "finished"
    assert done.record["processes"] == 2
    first, second = done.record["sessions"]
    assert second["from_iteration"] == first["saved"] > 0


@pytest.mark.rare
def test_a_fold_is_queued_again_and_resumed(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    script, run = (
        repository / "examples/clusters/slurm_folds.sbatch",
        tmp_path / "runs/study/fold-2",
    )
    more = {"PROCESSES": "2", "SLURM_ARRAY_TASK_ID": "2"}
    code, text = cluster.run(script, job=9, warn_when=trained(run), **more)
    assert code, text
    assert cluster.requeued == ["9"], text
    code, text = cluster.run(script, job=9, **more)
    assert code == 0, text
    assert cluster.requeued == ["9"]
    assert Run.load(run).status == "finished"
    assert len(Run.load(run).record["sessions"]) == 2


def test_a_job_that_fails_is_not_queued_again(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    script = repository / "examples/clusters/slurm.sbatch"
    (tmp_path / "study.toml").write_text(TINY.replace("phantom", "phantoms"))
    code, text = cluster.run(script, job=11, PROCESSES="1")
    assert code
    assert "phantoms" in text
    assert cluster.requeued == []
