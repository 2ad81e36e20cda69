"""`trainer.compile`: the same network, the same files, and a clear word where it can't be."""

from __future__ import annotations

import logging
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from medpipe import MedpipeError
from medpipe.builtin.trainers import training_step
from medpipe.builtin.trainers.supervised import Supervised
from support.marked_runs import state, tiny
from support.trainings import Net, made, net, state_of

if TYPE_CHECKING:
    from pathlib import Path

SGD = {"name": "sgd", "momentum": 0.9}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the network as always, and leave the making of a program out."""
    monkeypatch.setattr(training_step, "COMPILER", "aot_eager")
    torch._dynamo.reset()


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(64, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(image.flatten(1))
        return output


def close(one: nn.Module, other: nn.Module) -> None:
    first, second = state_of(one), state_of(other)
    assert list(first) == list(second)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulation": 2, "gradient_clip": 0.5},
        {"parameters": [{"match": "features", "freeze_epochs": 1}]},
    ],
)
def test_a_compiled_network_is_trained_as_the_plain_one(options: dict[str, Any]) -> None:
    compiled, plain = net(), net()
    training = made(compiled, compile=True, optimizer=SGD, max_epochs=2, **options)
    training.engine.run()
    made(plain, optimizer=SGD, max_epochs=2, **options).engine.run()
    close(compiled, plain)
    assert training.state["network"] is compiled
    assert compiled._compiled_call_impl is None  # evaluation is that of the plain network
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_a_run_that_goes_on_ends_the_same_and_says_what_it_cost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="medpipe")
    pipeline = tiny(compile=True, max_epochs=2).build()
    whole = pipeline.run(tmp_path / "whole")
    for _ in range(2):
        torch._dynamo.reset()  # as in a new process
        assert pipeline.run(tmp_path / "parts", resume=True, max_time=0).status == "stopped"
    torch._dynamo.reset()
    parts = pipeline.run(tmp_path / "parts", resume=True)
    assert state(parts) == state(whole)
    assert 0 < whole.timings["compile"] < whole.timings["training"]
    said = [text for text in caplog.messages if text.startswith("Compiling")]
    number = r"\d+\.\d"
    assert re.fullmatch(
        rf"Compiling the network took {number} s: the first step {number} s, a later one "
        rf"{number}\d\d s",
        said[0],
    )
    plain = tiny(max_epochs=1).build().run(tmp_path / "plain")
    assert "compile" not in plain.timings


class Waved(Linear):
    """What needs a program already for the forward pass."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image.sin().cos())


@pytest.mark.parametrize("network", [Linear, Waved])
def test_without_a_compiler_the_error_names_the_setting(network: type[Linear]) -> None:
    from torch._inductor import config

    torch._dynamo.reset()
    training = made(network(), compile=True)
    with (
        config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}),
        pytest.raises(MedpipeError) as caught,
    ):
        training.engine.run()
    assert str(caught.value) == (
        "The network can't be compiled: InvalidCxxCompiler: No working C++ compiler found in "
        "torch._inductor.config.cpp.cxx: (None, 'no-such-compiler'). Set trainer.compile = false, "
        "or give torch what it needs: a C++ compiler (g++ or clang++), on CUDA Triton."
    )


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_torchs_own_compiler_gives_the_same() -> None:
    from torch._inductor import config

    torch._dynamo.reset()
    compiled, plain = Linear(), Linear()
    with config.patch({"cpp_cache_precompile_headers": False, "compile_threads": 1}):
        made(compiled, compile=True, optimizer=SGD).engine.run()
    made(plain, optimizer=SGD).engine.run()
    close(compiled, plain)


def test_it_is_off_by_default() -> None:
    assert Supervised().compile is False
    assert not isinstance(made(Net()).engine.network, torch._dynamo.OptimizedModule)  # type: ignore[attr-defined]
