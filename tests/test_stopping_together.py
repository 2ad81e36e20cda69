"""What was to stop stays stopped, and a signal to stop leaves the workers of a loader alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medpipe.runs.run import Run
from support.programs import TINY
from support.tiny_runs import tiny
from support.torchrun import torchrun


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


@pytest.mark.usefixtures("forked")
@pytest.mark.long
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
