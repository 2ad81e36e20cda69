"""A run on two machines is that on one, each with a cache of its own, and one run directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from medpipe.runs.run import Run
from medpipe.training.checkpoint import load_checkpoint
from support.folders import image_folder
from support.machines import two_machines
from support.programs import TINY
from support.torchrun import torchrun

COMMAND = ("medpipe", "run", "tiny.toml", "--output", "run")


def _prepare(folder: Path, data: Path) -> Path:
    folder.mkdir()
    dataset = f'step = "image_folder"\nroot = "{data}"'
    text = TINY.replace('step = "phantom"\nsamples = 60\nsize = 32', dataset)
    assert str(data) in text
    (folder / "tiny.toml").write_text(text.replace("max_epochs = 1", "max_epochs = 2"))
    return folder


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "checkpoints" / "best.safetensors")[0]["network"]  # type: ignore[no-any-return]


def _packed(cache: Path) -> int:
    return sum(1 for path in cache.rglob("*") if path.is_file())


@pytest.mark.long
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the program ip")
def test_two_machines_train_as_one(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", samples=48)
    one = _prepare(tmp_path / "one", data)
    caches = [tmp_path / "cache-a", tmp_path / "cache-b"]
    with two_machines() as machines:
        folders = [_prepare(tmp_path / machine.name, data) for machine in machines]
        agents = [
            machine.start(machines[0], *COMMAND, cwd=folder, MEDPIPE_CACHE=str(cache))
            for machine, folder, cache in zip(machines, folders, caches, strict=True)
        ]
        try:
            printed = [agent.communicate(timeout=240)[0] for agent in agents]
        finally:
            for agent in agents:
                agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], printed
    done = torchrun(*COMMAND, cwd=one)
    assert done.returncode == 0, done.stderr

    # torchrun says which of them has process 0.
    (path,) = (folder / "run" for folder in folders if (folder / "run").exists())
    together, alone = Run.load(path), Run.load(one / "run")
    assert together.record["processes"] == 2
    assert together.status == "finished"
    own, shared = _weights(one / "run"), _weights(path)
    assert own.keys() == shared.keys()
    assert all(torch.equal(own[name], shared[name]) for name in own)
    assert together.metrics == alone.metrics
    assert all(_packed(cache) for cache in caches)
    assert _packed(caches[0]) == _packed(caches[1])
