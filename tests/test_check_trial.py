"""What a check tries of inferers, metrics and handlers: each is called before any training."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import pytest

from medpipe import PipelineBuilder, step
from medpipe.plugin import (
    DataInfo,
    HandlerStep,
    Inferer,
    InfererStep,
    MetricStep,
    RunContext,
    Task,
    hookimpl,
)
from support.marked_runs import REGISTRY, tiny
from support.places import without_place

seen: list[Any] = []


@attrs.frozen(kw_only=True)
class Odd(InfererStep):
    """An inferer that fails as it is told."""

    name: ClassVar[str] = "odd"
    does: str

    def build(self, data: DataInfo) -> Inferer:
        def infer(inputs: Any, network: Any) -> Any:
            if self.does == "raise":
                raise KeyError("patch")
            return network(inputs)[:, :1] if self.does == "cut" else [network(inputs)]

        return infer


@attrs.frozen(kw_only=True)
class Worst(MetricStep):
    """The largest score, badly."""

    name: ClassVar[str] = "worst"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})
    does: str = ""

    def rows(self, scores: Any, labels: Any, task: Task) -> Any:
        if self.does == "rows":
            raise ValueError("no rows")
        return scores.max(axis=1)

    def statistic(self, rows: Any, task: Task) -> Any:
        if self.does == "statistic":
            return lambda weights: np.zeros(3)
        return super().statistic(rows, task)


@attrs.frozen(kw_only=True)
class Watching(HandlerStep):
    """Sees everything, and fails where it is told."""

    name: ClassVar[str] = "watching"
    fails_at: str = ""

    def attach(self, engine: Any, context: RunContext) -> None:
        from ignite.engine import Events

        def at(event: str) -> Callable[..., None]:
            def see(*_: object) -> None:
                seen.append((event, context.trial))
                if event == self.fails_at:
                    raise RuntimeError("it is down")
                if event == "checkpoint_saved":
                    context.write_text("note.txt", "text")
                    context.write_network("net.safetensors", context.network.state_dict())

            return see

        at("attach")()
        engine.add_event_handler(Events.ITERATION_COMPLETED, at("iteration"))
        for event in ("validation_completed", "checkpoint_saved", "run_completed"):
            context.on(event, at(event))  # type: ignore[arg-type]


def builder() -> PipelineBuilder:
    hooks = {"inferers": Odd, "metrics": Worst, "handlers": Watching}
    plugin = types.SimpleNamespace(
        **{
            f"medpipe_{kind}": hookimpl(lambda cls=cls: [cls], specname=f"medpipe_{kind}")
            for kind, cls in hooks.items()
        }
    )
    registry = REGISTRY.with_plugin(plugin, name="medpipe-odd")
    chain = tiny(max_epochs=1).transforms("load_image", "ensure_channel_first", "to_tensor")
    return PipelineBuilder.from_toml(chain.to_toml(), registry=registry)


TRIED = [
    (
        lambda b: b.inferer("odd", does="raise"),
        "inferer: the inferer step 'odd' (medpipe-odd) failed on a batch: KeyError: 'patch'",
    ),
    (
        lambda b: b.inferer("odd", does="cut"),
        "inferer: The inferer gives the shape (8, 1) for 8 images, not a tensor of shape (8, 6). "
        "Return the network's outputs, a row for each image.",
    ),
    (
        lambda b: b.inferer("odd", does="list"),
        "inferer: The inferer gives a list for 8 images, not a tensor of shape (8, 6). Return the "
        "network's outputs, a row for each image.",
    ),
    (
        lambda b: b.metrics(step("worst", does="rows")),
        "metric: the metric step 'worst' (medpipe-odd) failed: ValueError: no rows",
    ),
    (
        lambda b: b.metrics(step("worst", does="statistic")),
        "metric: the metric step 'worst' (medpipe-odd) failed: ValueError: its statistic gives the "
        "shape (3,) for 1 resample",
    ),
    *(
        (
            lambda b, event=event: b.handlers(step("watching", fails_at=event)),
            f"{where}: the handler step 'watching' (medpipe-odd) failed {when}: RuntimeError: it "
            "is down",
        )
        for where, event, when in (
            ("handler", "attach", "to attach"),
            ("trainer", "iteration", "in iteration 1"),
            ("handler", "validation_completed", "at validation_completed"),
            ("handler", "checkpoint_saved", "at checkpoint_saved"),
        )
    ),
]


@pytest.mark.parametrize(("choose", "problem"), TRIED)
def test_a_step_that_fails_is_found_before_training(
    choose: Callable[[PipelineBuilder], PipelineBuilder], problem: str
) -> None:
    report = choose(builder()).build().check()
    (found,) = map(str, report.problems)
    assert (without_place(found) if ", line " in found else found) == problem


def test_what_handlers_see_of_a_check_is_marked_and_nothing_is_written(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen.clear()
    pipeline = builder().handlers("watching").metrics("worst").build()
    assert pipeline.check().ok
    assert seen == [
        ("attach", True),
        ("iteration", True),
        ("validation_completed", True),
        ("checkpoint_saved", True),
    ]
    assert not list(tmp_path.iterdir())
    seen.clear()
    run = pipeline.run("run")
    assert {trial for _, trial in seen} == {False}
    assert seen[-1][0] == "run_completed"
    assert (run.path / "note.txt").read_text() == "text"
