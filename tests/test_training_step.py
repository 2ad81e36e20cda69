"""The training step: channels last, fused optimizers, losses looked at late."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from torch import nn

from medpipe import StepError, TrainingError
from medpipe.builtin import optimizers
from medpipe.builtin.trainers.training_step import guard
from medpipe.plugin import Training
from medpipe.training import clock, loop
from medpipe.training.loop import Progress, TrainingLoop
from medpipe.training.memory_format import in_channels_last, is_channels_last
from medpipe.training.stopping import StopRequest
from support.trainings import BATCHES, made, net


@pytest.fixture(autouse=True)
def _fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's fused optimizers work on a CPU too, and so can be tested there."""
    monkeypatch.setattr(optimizers, "FUSED_ON", frozenset({"cpu", "cuda"}))


class Viewing(nn.Module):
    """Takes a view of what a convolution gives, which fails in channels last."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.convolution = (nn.Conv3d if dims == 3 else nn.Conv2d)(1, 4, 3)
        self.head = nn.Linear(4 * 6**dims, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.convolution(image).view(len(image), -1))
        return output


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone().contiguous() for name, value in network.state_dict().items()}


def run_loop(training: Training, epochs: int = 1) -> tuple[Progress, list[float]]:
    means: list[float] = []
    loop = TrainingLoop(
        training=training,
        validate=None,
        monitor="accuracy",
        mode="max",
        patience=None,
        max_epochs=epochs,
        on_epoch=lambda epoch, _: means.append(epoch.loss),
        on_save=lambda _: None,
        stop=StopRequest(),
    )
    loop.run()
    return loop.progress, means


def test_networks_of_2d_convolutions_are_trained_in_channels_last() -> None:
    network = net()
    training = made(network)
    seen: list[bool] = []
    network.later[0].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    training.engine.run()
    assert seen == [True] * (3 * BATCHES)
    assert is_channels_last(network)


def test_3d_networks_and_those_that_cannot_stay_as_they_are() -> None:
    volume = net(3)
    made(volume, 3).engine.run()
    assert volume.later[0].weight.is_contiguous()
    viewing = Viewing()
    before = torch.random.get_rng_state()
    training = made(viewing)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert viewing.convolution.weight.is_contiguous()
    training.engine.run()


@pytest.mark.parametrize(("channels", "last"), [(8, False), (16, True)])
def test_networks_with_which_torch_would_crash_stay_as_they_are(channels: int, last: bool) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.Conv2d(channels, channels, 1, stride=2),
        nn.Conv2d(channels, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    training = made(network)
    assert is_channels_last(network) == last
    training.engine.run()


def test_a_try_on_shapes_leaves_no_trace() -> None:
    network = net().eval()
    before, calls = weights(network), []
    network.register_forward_hook(lambda *_: calls.append(1))
    made(network)
    assert calls == []
    assert not network.training
    assert all(torch.equal(before[name], value) for name, value in weights(network).items())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("make", [lambda dims: net(dims), Viewing], ids=["net", "viewing"])
def test_prediction_gives_the_same_values_and_puts_the_weights_back(make: Any, dims: int) -> None:
    network = make(dims).eval()
    image = torch.rand(5, 1, *[8] * dims)
    strides = [parameter.stride() for parameter in network.parameters()]
    with torch.no_grad(), in_channels_last(network) as run:
        outputs = [run(image) for _ in range(3)]
    with torch.no_grad():
        expected = network(image)
    for output in outputs:
        torch.testing.assert_close(output, expected)
    assert [parameter.stride() for parameter in network.parameters()] == strides


@pytest.mark.parametrize(("dims", "order"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
def test_networks_are_evaluated_in_channels_last(dims: int, order: torch.memory_format) -> None:
    network = net(dims).eval()
    seen: list[bool] = []
    network.later[0].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=order))
    )
    with torch.no_grad(), in_channels_last(network) as run:
        for _ in range(2):
            run(torch.rand(5, 1, *[8] * dims))
        assert network.later[0].weight.is_contiguous(memory_format=order)
    assert seen == [True, True]
    assert network.later[0].weight.is_contiguous()


def test_an_error_of_the_network_is_its_own() -> None:
    with in_channels_last(net()) as run, pytest.raises(RuntimeError, match="expected input"):
        run(torch.rand(1, 2, 8, 8))


OPTIMIZERS = [{"name": "adam"}, {"name": "adamw"}, {"name": "sgd", "momentum": 0.9}]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fused_optimizers_go_on_with_states_in_another_order(optimizer: dict[str, Any]) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "max_epochs": 2}
    whole = made(net(), **options)
    assert whole.state["optimizer"].param_groups[0]["fused"] is True
    whole.engine.run()
    first = made(net(), **options)
    first.engine.add_event_handler(Events.EPOCH_COMPLETED(once=1), first.engine.terminate)
    first.engine.run()
    saved = {name: contiguous(item.state_dict()) for name, item in first.state.items()}
    for group in saved["optimizer"]["param_groups"]:
        group["fused"] = None  # as an older version wrote it
    second = made(net(), **options)
    for name, item in second.state.items():
        item.load_state_dict(saved[name])
    assert second.state["optimizer"].param_groups[0]["fused"] is True
    second.engine.load_state_dict({"iteration": BATCHES, "epoch_length": BATCHES, "max_epochs": 2})
    second.engine.run()
    expected = weights(whole.state["network"])
    for name, value in weights(second.state["network"]).items():
        assert torch.equal(value, expected[name]), name


def test_on_a_processor_the_optimizer_is_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (group,) = made(net()).state["optimizer"].param_groups
    assert group["fused"] is None


def test_gradients_in_another_order_are_applied_to_their_own_weights() -> None:
    one, other = made(net()), made(net())
    for training in (one, other):
        for parameter in training.state["network"].parameters():
            parameter.grad = torch.arange(parameter.numel(), dtype=torch.float32).view(
                parameter.shape
            )
    for parameter in one.state["network"].parameters():
        parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
    for training in (one, other):
        training.state["optimizer"].step()
    expected = weights(one.state["network"])
    for name, value in weights(other.state["network"]).items():
        assert torch.equal(value, expected[name]), name


def contiguous(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: contiguous(item) for key, item in value.items()}
    return [contiguous(item) for item in value] if isinstance(value, list) else value


def spoiled(training: Training, iterations: set[int], seen: dict[int, dict[str, Any]]) -> None:
    """Make the loss NaN in some iterations, and note the weights that each one starts with."""
    engine: Any = training.engine
    inner = engine.loss_function

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = inner(outputs, labels)
        return value * math.nan if engine.state.iteration in iterations else value

    engine.loss_function = loss
    engine.add_event_handler(
        Events.ITERATION_STARTED,
        lambda: seen.update(
            {
                engine.state.iteration: {
                    n: p.detach().clone() for n, p in engine.network.named_parameters()
                }
            }
        ),
    )


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bad=st.sets(st.integers(1, 2 * BATCHES), min_size=1), accumulation=st.integers(1, 3))
def test_a_loss_that_is_not_finite_is_never_applied(
    optimizer: dict[str, Any], late: bool, bad: set[int], accumulation: int
) -> None:
    training = made(net(), max_epochs=2, optimizer=optimizer, accumulation=accumulation)
    if late:
        guard(training.engine, training.state["optimizer"], torch.device("cpu"))
    seen: dict[int, dict[str, Any]] = {}
    spoiled(training, bad, seen)
    first = min(bad)
    with pytest.raises(TrainingError) as caught:
        run_loop(training, 2)
    epoch = (first - 1) // BATCHES + 1
    assert str(caught.value).startswith(
        f"The loss is nan in epoch {epoch}, iteration {first}; the batch held "
    )
    assert max(seen) <= first + late
    for name, parameter in training.state["network"].named_parameters():
        assert torch.equal(parameter, seen[first][name]), name


def test_losses_looked_at_late_are_the_same_in_the_same_order() -> None:
    exact, late = made(net(), max_epochs=3), made(net(), max_epochs=3)
    guard(late.engine, late.state["optimizer"], torch.device("cpu"))
    looks: list[int] = []
    late.engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: looks.append(1))
    assert run_loop(exact, 3)[1] == run_loop(late, 3)[1]
    first, second = weights(exact.state["network"]), weights(late.state["network"])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(looks) == 3 * BATCHES


class Written:
    """A progress bar that notes what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.done: float = 0

    def advance(self, steps: float = 1) -> None:
        self.done += steps

    def describe(self, description: str) -> None:
        self.texts.append(description)


@pytest.mark.parametrize(
    ("pause", "shown_at"), [(0.0, range(1, 13)), (0.6, (1, 4, 7, 10)), (1e9, (1,))]
)
def test_the_progress_bar_changes_a_few_times_a_second(
    monkeypatch: pytest.MonkeyPatch, pause: float, shown_at: Sequence[int]
) -> None:
    """An iteration takes a quarter of a second by this clock."""
    assert BATCHES == 4
    shown = Written()
    training = made(net(), max_epochs=3)
    ours = SimpleNamespace(perf_counter=lambda: training.engine.state.iteration / 4)
    monkeypatch.setattr(clock, "time", ours)
    monkeypatch.setattr(loop, "bar", lambda *_, **__: nullcontext(shown))
    monkeypatch.setattr(clock.ShownProgress, "PAUSE", pause)
    run_loop(training, 3)
    places = [divmod(number - 1, BATCHES) for number in shown_at]
    assert len(shown.texts) == len(places)
    for text, (epoch, place) in zip(shown.texts, places, strict=True):
        start = f"Epoch {epoch + 1}/3, iteration {place + 1}/{BATCHES}, loss "
        assert re.fullmatch(re.escape(start) + r"\d\.\d{4}", text)
    assert shown.done == shown_at[-1]


def test_an_optimizer_with_its_own_rule_is_looked_at_at_once() -> None:
    training = made(net())
    seen: dict[int, dict[str, Any]] = {}
    spoiled(training, {2}, seen)
    mixed = attrs.evolve(
        training,
        state={**training.state, "other": torch.optim.SGD(copy.deepcopy(net()).parameters())},
    )
    guard(training.engine, training.state["optimizer"], torch.device("cpu"))
    with pytest.raises(TrainingError):
        run_loop(mixed)
    assert max(seen) == 2


def loop_of(engine: Engine, progress: Progress) -> TrainingLoop:
    return TrainingLoop(
        training=Training(engine=engine, state={}),
        validate=None,
        monitor="loss",
        mode="min",
        patience=None,
        max_epochs=1,
        on_epoch=lambda *_: None,
        on_save=lambda _: None,
        stop=StopRequest(),
        progress=progress,
    )


def test_a_training_that_came_to_its_end_is_not_begun_again() -> None:
    def step(*_: object) -> None:
        raise AssertionError

    loop_of(Engine(step), Progress(finished=True)).run()


@pytest.mark.parametrize("output", [None, 1.0, {}])
def test_an_engine_that_gives_no_loss_is_named(output: object) -> None:
    engine = Engine(lambda *_: output)
    engine.state.output = output
    made_of_it = loop_of(engine, Progress())
    with pytest.raises(StepError, match="gives no 'loss' in its output"):
        made_of_it._record_loss(engine, late=False)
