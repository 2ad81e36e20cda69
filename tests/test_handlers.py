"""Handlers see a training and change nothing of it; their state survives a stop; they are named."""

from __future__ import annotations

import csv
import types
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch

import medpipe
from medpipe.plugin import HandlerStep, RunContext, hookimpl
from medpipe.training.checkpoint import load_checkpoint
from support.marked_runs import plain
from support.tiny_runs import registered, tiny

EVENTS: list[str] = []


@attrs.frozen(kw_only=True)
class Noisy(HandlerStep):
    """Draws random numbers everywhere, and counts."""

    name: ClassVar[str] = "noisy"
    fails_at: str = ""

    def attach(self, engine: Any, context: RunContext) -> object:
        from ignite.engine import Events
        from monai.engines import Trainer

        assert isinstance(engine, Trainer)
        counted = Counted()

        def noise(*_: object) -> None:
            torch.rand(3)
            np.random.rand(2)

        @engine.on(Events.ITERATION_COMPLETED)  # type: ignore[misc]
        def count(engine: Any) -> None:
            noise()
            counted.count += 1
            assert counted.count == engine.state.iteration
            if self.fails_at == "iteration" and counted.count == 8:
                raise ValueError("out of paper")

        for event in ("validation_completed", "checkpoint_saved", "run_completed", "run_failed"):

            def listen(*arguments: object, event: Any = event) -> None:
                noise()
                EVENTS.append(event)
                if self.fails_at == event:
                    raise ValueError("out of ink")

            context.on(event, listen)  # type: ignore[arg-type]
        noise()
        return counted


class Counted:
    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: Any) -> None:
        self.count = state["count"]


@hookimpl
def medpipe_handlers() -> list[type[HandlerStep]]:
    return [Noisy]


PLUGIN = types.SimpleNamespace(medpipe_handlers=medpipe_handlers)
REGISTRY = medpipe.Registry.discover().with_plugin(PLUGIN, name="medpipe-noisy")


def builder(*handlers: Any, **trainer: Any) -> medpipe.PipelineBuilder:
    document = registered(tiny()).to_toml()
    made = medpipe.PipelineBuilder.from_toml(document, registry=REGISTRY)
    options = {"max_epochs": 2, "learning_rate": 3e-3, "schedule": "constant", **trainer}
    return (
        made.transform("rand_flip", prob=0.5).trainer("supervised", **options).handlers(*handlers)
    )


def weights(run: medpipe.Run) -> Any:
    states, _ = load_checkpoint(run.path / "checkpoints/last.safetensors")
    return plain({name: states[name] for name in ("network", "optimizer", "$generators")})


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> medpipe.Run:
    return builder().build().run(tmp_path_factory.mktemp("without") / "run")


@pytest.mark.long
def test_handlers_change_nothing_and_survive_every_stop(
    without: medpipe.Run, tmp_path: Path
) -> None:
    EVENTS.clear()
    pipeline = builder("noisy", medpipe.step("ema", decay=0.9), "csv").build()
    whole = pipeline.run(tmp_path / "whole")
    assert weights(whole) == weights(without)
    assert whole.metrics["test"] == without.metrics["test"]
    assert [*["validation_completed", "checkpoint_saved"] * 2, "run_completed"] == EVENTS

    stopped = pipeline.run(tmp_path / "stopped", max_time=0)
    while stopped.status == "stopped":
        stopped = pipeline.run(tmp_path / "stopped", resume=True, max_time=0)
    for name in ("network", "optimizer", "$generators", "handler[0]", "handler[1]", "handler[2]"):
        states = [
            load_checkpoint(run.path / "checkpoints/last.safetensors")[0][name]
            for run in (whole, stopped)
        ]
        assert plain(states[0]) == plain(states[1]), name
    assert states[0]["rows"] is not None
    table = "iterations.csv"
    assert (stopped.path / table).read_text() == (whole.path / table).read_text()
    averages = [load_checkpoint(run.path / "ema.safetensors")[0] for run in (whole, stopped)]
    assert plain(averages[0]) == plain(averages[1])


def test_the_table_has_every_iteration_and_the_average_starts_a_network(
    without: medpipe.Run, tmp_path: Path
) -> None:
    run = builder(medpipe.step("ema", decay=0.5), "csv").build().run(tmp_path / "run")
    with (run.path / "iterations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == list(range(1, len(rows) + 1))
    first = [float(row["loss"]) for row in rows[: len(rows) // 2]]
    assert run.history[0]["training_loss"] == pytest.approx(np.mean(first))
    assert {float(row["learning_rate"]) for row in rows} == {3e-3}

    averaged = load_checkpoint(run.path / "ema.safetensors")[0]["network"]
    last = load_checkpoint(run.path / "checkpoints/last.safetensors")[0]["network"]
    assert averaged.keys() == last.keys()
    assert any(not torch.equal(averaged[name], last[name]) for name in last)
    again = builder().weights(file=run.path / "ema.safetensors").build().check()
    assert again.ok


@pytest.mark.parametrize("fails_at", ["iteration", "validation_completed", "checkpoint_saved"])
def test_one_that_fails_is_named_and_the_checkpoint_is_whole(fails_at: str, tmp_path: Path) -> None:
    EVENTS.clear()
    pipeline = builder(medpipe.step("noisy", fails_at=fails_at)).build()
    with pytest.raises(medpipe.StepError) as caught:
        pipeline.run(tmp_path / "run")
    assert "the handler step 'noisy' (medpipe-noisy) failed" in str(caught.value)
    assert EVENTS[-1] == "run_failed"
    run = medpipe.Run.load(tmp_path / "run")
    assert run.status == "failed"
    if fails_at != "validation_completed":  # which comes before the first checkpoint
        load_checkpoint(run.path / "checkpoints/last.safetensors")


def test_what_attach_gives_must_have_a_state(tmp_path: Path) -> None:
    @attrs.frozen(kw_only=True)
    class Stateless(HandlerStep):
        """Gives a number."""

        name: ClassVar[str] = "stateless"

        def attach(self, engine: Any, context: RunContext) -> object:
            return 3

    @hookimpl
    def hook() -> list[type[HandlerStep]]:
        return [Stateless]

    plugin = types.SimpleNamespace(medpipe_handlers=hook)
    registry = medpipe.Registry.discover().with_plugin(plugin, name="medpipe-stateless")
    made = medpipe.PipelineBuilder.from_toml(registered(tiny()).to_toml(), registry=registry)
    with pytest.raises(
        medpipe.StepError, match=r"returns 3 from attach, which does not have both state_dict"
    ):
        made.handlers("stateless").build().run(tmp_path / "run")


def test_monais_handlers_attach_to_the_engine() -> None:
    from monai.handlers import StatsHandler

    engine: Any = registered(tiny()).build().build_trainer()
    StatsHandler(output_transform=lambda output: output["loss"]).attach(engine)
    engine.run()
    assert engine.state.epoch == 2


def test_flips_are_averaged(tmp_path: Path) -> None:
    from medpipe.builtin.inferers import Flips

    run = registered(tiny()).build().run(tmp_path / "run")
    network, data = run.network(), run.data
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = Flips(axes=(1,)).build(data)(images, network)
        expected = (network(images) + network(images.flip(-1))) / 2
        everywhere = Flips().build(data)(images, network)
        turned = [images, images.flip(-1), images.flip(-2), images.flip(-1).flip(-2)]
        torch.testing.assert_close(everywhere, sum(map(network, turned)) / 4)
    torch.testing.assert_close(found, expected)
    flipped = registered(tiny()).inferer("flips").build().run(tmp_path / "flipped")
    assert flipped.metrics["test"]["loss"] != run.metrics["test"]["loss"]
    again = medpipe.PipelineBuilder.load(flipped.path / "pipeline.toml")
    assert again.build().configuration.inferer == Flips()
    with pytest.raises(medpipe.CheckFailed, match="the images have 2 axes, so none is 2"):
        registered(tiny()).inferer("flips", axes=(2,)).build().run(tmp_path / "wrong")
