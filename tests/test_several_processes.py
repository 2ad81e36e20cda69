"""A run on several processes is that of one, and all of them end together."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe import Run, RunError
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.system.place import Place, place
from medpipe.training.checkpoint import load_checkpoint
from support.kills import LONG, run_through, weights
from support.marks import long, rare
from support.several import ACTED, builder
from support.torchrun import torchrun, two_agents

# 59 training samples, 21 for validation and for the test: uneven for 2, 4 and 8 processes.
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"trainer": {"loss": {"step": "cross_entropy", "class_weights": [1, 2, 5]}}},
    "missing": {"task": "multilabel"},
    "squares": {"task": "regression", "trainer": {"loss": {"step": "mse"}}},
    "accumulated": {
        "task": "multilabel",
        "network": {"unused": True},
        "trainer": {"accumulation": 3, "gradient_clip": 0.05},
    },
    "one left": {"loader": {"batch_size": 29}},  # the last batch has one sample
    "thawed": {
        "trainer": {"max_epochs": 2, "parameters": [{"match": "^0", "freeze_epochs": 1}]},
        "loader": {"sampling": "balanced"},
    },
}


def scores(path: Path) -> tuple[list[str], np.ndarray]:
    found = Run.load(path).predictions("test")
    return list(found.ids), found.scores


@pytest.mark.parametrize("processes", [long(2), rare(4)])
def test_so_many_processes_train_and_measure_as_one(tmp_path: Path, processes: int) -> None:
    several = [{**run, "output": str(tmp_path / name)} for name, run in RUNS.items()]
    done = torchrun("support.several", json.dumps(several), processes=processes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished") == len(RUNS)
    for name, given_ in RUNS.items():
        alone = builder(**given_).build().run(tmp_path / "alone" / name)
        together = Run.load(tmp_path / name)
        own, shared = weights(alone.path), weights(together.path)
        assert max(float((own[key] - shared[key]).abs().max()) for key in own) <= 1e-5, name
        for one, all_ in zip(alone.history, together.history, strict=True):
            assert all_["training_loss"] == pytest.approx(one["training_loss"], rel=1e-6), name
            assert all_["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-5), name
        ids, own_scores = scores(alone.path)
        assert scores(together.path)[0] == ids
        np.testing.assert_allclose(scores(together.path)[1], own_scores, atol=1e-5)
        assert together.metrics["test"]["images"] == len(ids) == len(set(ids))
        assert together.record["processes"] == processes
        assert alone.record["processes"] == 1


@pytest.mark.long
@pytest.mark.rare
def test_more_processes_than_samples(tmp_path: Path) -> None:
    run = {"samples": 16, "output": str(tmp_path / "run"), "loader": {"batch_size": 3}}
    assert torchrun("support.several", json.dumps(run), processes=4).returncode == 0
    alone = builder(samples=16, loader={"batch_size": 3}).build().run(tmp_path / "alone")
    together = Run.load(tmp_path / "run")
    own, shared = weights(alone.path), weights(together.path)
    assert max(float((own[key] - shared[key]).abs().max()) for key in own) <= 1e-5
    assert scores(together.path)[0] == scores(alone.path)[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "says"),
    [
        rare("raise", "the detector is broken"),
        ("break", "the backward pass is broken"),
        rare("spoil", "not finite"),
        ("lose", "A worker process of the loader was killed"),
        ("kill", "SIGKILL"),
    ],
)
def test_all_end_when_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, says: str
) -> None:
    monkeypatch.setenv(ACTED, str(tmp_path / "acted"))
    run = {
        "output": str(tmp_path / "run"),
        "trainer": {"max_epochs": 500},
        "loader": {"workers": 1 if action == "lose" else 0, "cache": "off"},
        "act": {"rank": 1, "call": 300, "action": action},
    }
    if action == "lose":  # each has a machine to itself, and cores for a worker
        ended = two_agents("support.several", json.dumps(run), timeout=120)
        codes, text = [code for code, _ in ended], "".join(printed for _, printed in ended)
    else:
        done = torchrun("support.several", json.dumps(run), timeout=120)
        codes, text = [done.returncode], done.stderr
    assert set(codes) == {1}
    assert time.time() - (tmp_path / "acted").stat().st_mtime < 45
    said = [line for line in text.splitlines() if "medpipe.errors." in line]
    wanted = {"kill": (0, 1), "break": (0,)}.get(action, (1,))  # "break" is no error of medpipe's
    assert len(said) in wanted, text
    assert says in text
    stopped = Run.load(tmp_path / "run")
    assert stopped.status == "failed"
    about = load_checkpoint(stopped.path / "checkpoints/last.safetensors")[1]
    assert about["progress"]["iteration"] > 0


@pytest.mark.long
def test_one_is_asked_to_stop_and_other_numbers_go_on(tmp_path: Path) -> None:
    """The epoch that two processes begin is finished by one, and by four, as if by one alone."""
    run = {"trainer": {"max_epochs": 2}, "act": {"rank": 1, "call": 65, "action": "stop"}}
    done = torchrun("support.several", json.dumps({**run, "output": str(tmp_path / "one")}))
    assert '"stopped"' in done.stdout, done.stderr
    stopped = Run.load(tmp_path / "one")
    assert stopped.record["sessions"][-1]["stopped_by"] == "SIGTERM"
    about = load_checkpoint(stopped.path / "checkpoints/last.safetensors")[1]
    assert about["progress"]["iteration"] % 8, "it is in the middle of an epoch"
    shutil.copytree(tmp_path / "one", tmp_path / "four")
    pipeline = builder(**run).build()
    with pytest.raises(RunError, match="processes: 2 then, 1 now"):
        pipeline.run(tmp_path / "one", resume=True)
    pipeline.run(tmp_path / "one", resume=True, allow_changed="processes")
    more = {"output": str(tmp_path / "four"), "resume": True, "allow_changed": "processes"}
    done = torchrun("support.several", json.dumps({**run, **more}), processes=4)
    assert done.returncode == 0, done.stderr
    whole = weights(builder(**run).build().run(tmp_path / "whole").path)
    for name in ("one", "four"):
        resumed = Run.load(tmp_path / name)
        assert "processes: 2 then" in resumed.record["sessions"][-1]["changed"][0]
        found = weights(resumed.path)
        assert max(float((whole[key] - found[key]).abs().max()) for key in whole) <= 1e-5


@pytest.mark.long
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    run = LONG
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    assert torchrun("support.several", json.dumps({**run, "output": whole})).returncode == 0
    again = json.dumps({**run, "output": killed, "resume": True})
    code, kills = run_through(again, kills=5, seed=3, longest=9)
    assert code == 0
    assert kills >= 4  # on a fast machine it may end before the last ones
    states = [
        load_checkpoint(Path(path) / "checkpoints/last.safetensors") for path in (whole, killed)
    ]
    own, other = (state["network"] for state, _ in states)
    assert all((own[key] == other[key]).all() for key in own)
    assert scores(Path(whole))[1].tolist() == scores(Path(killed))[1].tolist()


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 17),
    processes=st.integers(1, 9),
    patches=st.integers(1, 3),
    drop_last=st.booleans(),
)
def test_every_batch_is_dealt_out_once(
    count: int, batch_size: int, processes: int, patches: int, drop_last: bool
) -> None:
    def order(here: Place) -> EpochBatchSampler:
        return EpochBatchSampler(
            count=count,
            batch_size=batch_size,
            drop_last=drop_last,
            seed=3,
            patches=patches,
            here=here,
        )

    whole = list(order(Place()))
    ranks = [Place(rank=rank, world_size=processes) for rank in range(processes)]
    parts = [list(order(here)) for here in ranks]
    for number, batch in enumerate(whole):
        keys = [part[number] for part in parts]
        dealt = [place for key in keys if key.counts for place in key.places.tolist()]
        assert dealt == batch.places.tolist()
        sizes = [len(key.places) if key.counts else 0 for key in keys]
        assert max(sizes) - min(sizes) <= 1
        assert all(len(key.places) == 1 for key in keys if not key.counts)


@given(count=st.integers(0, 60), batch_size=st.integers(1, 17), processes=st.integers(1, 9))
def test_an_evaluation_sees_every_sample_once(count: int, batch_size: int, processes: int) -> None:
    ranks = [Place(rank=rank, world_size=processes) for rank in range(processes)]
    orders = [EpochBatchSampler(count=count, batch_size=batch_size, here=here) for here in ranks]
    seen = [place for order in orders for key in order for place in key.places.tolist()]
    assert seen == list(range(count))
    assert [len(list(order)) for order in orders] == [len(order) for order in orders]


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"RANK": "2"}, "RANK is 2, of 2"), ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole")],
)
def test_an_environment_that_can_not_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], says: str
) -> None:
    launched = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {**launched, **changed}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=says):
        place()


def test_a_job_scheduler_alone_makes_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert place() == Place()


@pytest.fixture
def _four(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of four processes, as far as a check can tell."""
    launched = {"RANK": 0, "WORLD_SIZE": 4, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}
    for name, value in launched.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("_four")
def test_a_check_knows_how_small_the_parts_of_a_batch_are() -> None:
    report = builder(network={"normal": True}, loader={"batch_size": 3}).build().check()
    assert any("some of the 4 processes get nothing" in text for text in report.warnings)
    report = builder(network={"normal": True}).build().check()
    assert any("over the 2 samples of a batch" in text for text in report.warnings)
    report = builder().settings(sync_batch_norm=True).build().check()
    assert [problem.path for problem in report.problems] == ["run.sync_batch_norm"]


@pytest.mark.usefixtures("_four")
def test_an_output_is_needed_where_processes_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(RunError, match="torchrun may start the processes anew"):
        builder().build().run()
