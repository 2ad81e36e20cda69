"""torchrun starts processes anew: they find each other, and resume what was not to stop."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medpipe.distributed.attempts import attempt_of
from medpipe.runs.run import Run
from medpipe.system.place import Place
from support.programs import TINY
from support.tiny_runs import tiny
from support.torchrun import torchrun


def _all(store: object, count: int) -> list[int]:
    places = [Place(rank=rank, world_size=count) for rank in range(count)]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda place: attempt_of(store, place, 20), places))


def test_every_attempt_has_a_number_of_its_own() -> None:
    from torch.distributed import HashStore

    store = HashStore()
    assert _all(store, 3) == [1, 1, 1]
    assert _all(store, 3) == [2, 2, 2]  # what the first ones asked is still there


def test_what_a_process_asked_that_was_killed_is_not_taken_for_its_heir() -> None:
    from torch.distributed import HashStore

    store = HashStore()
    store.set("asks/1", "of a process that was killed")
    assert _all(store, 2) == [1, 1]


def test_a_process_that_does_not_come_is_missed() -> None:
    from torch.distributed import HashStore

    with pytest.raises(RuntimeError, match=r"not all of them came within 0\.1 s"):
        attempt_of(HashStore(), Place(world_size=2), 0.1)


@pytest.mark.long
def test_what_was_to_stop_is_not_resumed_by_a_restart(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    command = ("medpipe", "run", "tiny.toml", "--output", "run", "--set", "trainer.max_epochs=9")
    done = torchrun(*command, "--max-time", "0:00:00", cwd=tmp_path, restarts=1)
    assert done.returncode == 1  # torchrun's, for any failure
    assert done.stdout.count("was stopped by the time limit") == 2  # said anew, not done anew
    (session,) = Run.load(tmp_path / "run").record["sessions"]
    assert session["saved"] == 1
    assert Run.load(tmp_path / "run").status == "stopped"
    done = torchrun(*command, "--resume", cwd=tmp_path, restarts=1)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_restart_resumes_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(_KILLS_ITSELF)
    (tmp_path / "tiny.toml").write_text(TINY)
    done = torchrun("run", cwd=tmp_path, env={"PYTHONPATH": _with(tmp_path)}, restarts=1)
    assert done.returncode == 0, done.stderr
    first, second = Run.load(tmp_path / "run").record["sessions"]
    assert first["saved"] == second["from_iteration"] == 3
    assert Run.load(tmp_path / "run").status == "finished"


def _with(folder: Path) -> str:
    tests = str(Path(__file__).parent)
    return os.pathsep.join(filter(None, [str(folder), tests, os.environ.get("PYTHONPATH")]))


_KILLS_ITSELF = """
import os, signal, medpipe
from medpipe.plugin import HandlerStep, hookimpl
builder = medpipe.PipelineBuilder.from_toml(open("tiny.toml").read())
builder = builder.trainer("supervised", max_epochs=3, epoch_length=None)
ours = int(os.environ["RANK"])
if ours == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    from medpipe.training.loop import TrainingLoop
    before = TrainingLoop._finish_epoch
    def dies(self, started):
        before(self, started)
        os.kill(os.getpid(), signal.SIGKILL)
    TrainingLoop._finish_epoch = dies
builder.build().run("run")
"""


@pytest.mark.usefixtures("forked")
def test_workers_of_a_loader_are_in_groups_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medpipe.assembly

    monkeypatch.setattr(medpipe.assembly, "available_cpus", lambda: 8)
    groups = tmp_path / "groups"

    def note(sample: dict[str, object]) -> dict[str, object]:
        with groups.open("a") as file:
            file.write(json.dumps([os.getpid(), os.getpgid(0)]) + "\n")
        return sample

    tiny(workers=2).transform(note).trainer("supervised", max_epochs=1).build().run(
        tmp_path / "run"
    )
    found = [json.loads(line) for line in groups.read_text().splitlines()]
    workers = {pid for pid, _ in found if pid != os.getpid()}
    assert workers
    assert all(group == pid for pid, group in found if pid in workers)
