"""The trainer `supervised`: learning rates and freezing by parameter name."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Events
from torch import nn

from medpipe import ConfigError, PipelineBuilder
from medpipe.builtin.optimizers import OPTIMIZERS
from medpipe.builtin.trainers.supervised import Supervised
from medpipe.errors import DataError
from medpipe.optimization.parameter_groups import Freezing, ParameterGroup, divide
from medpipe.plugin import Training
from support.examples import examples
from support.trainings import BATCHES, Net, batches, made, net, state_of


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def by_epoch(training: Training) -> list[dict[str, torch.Tensor]]:
    """Train; the network's state at the start and after each epoch."""
    network = training.state["network"]
    states = [state_of(network)]
    training.engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: states.append(state_of(network))
    )
    training.engine.run()
    return states


FEATURES = {f"features.{name}" for name in state_of(Net().features)}
ALL = set(state_of(Net()))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"step": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        {"step": "adam", "weight_decay": 0.1},
        *({"step": step.name} for step in OPTIMIZERS if step.name not in ("sgd", "adam")),
    ],
    ids=lambda optimizer: optimizer["step"],
)
def test_what_is_frozen_for_some_epochs_stays_bit_for_bit_and_then_moves(
    dims: int, optimizer: dict[str, Any]
) -> None:
    training = made(
        net(dims),
        dims,
        max_epochs=4,
        optimizer=optimizer,
        parameters=[{"match": r"^features\.", "freeze_epochs": 2}],
    )
    start, first, second, third, _ = by_epoch(training)
    unsure = {"features.0.bias", "later.0.bias"}  # batch normalisation takes their gradients away
    for before, after in ((start, first), (first, second)):
        assert ALL - FEATURES - unsure <= moved(before, after) <= ALL - FEATURES
    assert moved(second, third) >= ALL - unsure
    owned = [p for group in training.state["optimizer"].param_groups for p in group["params"]]
    assert len(owned) == len(list(training.state["network"].parameters()))


def test_what_is_frozen_for_good_has_no_gradient_and_no_optimizer() -> None:
    network = net()
    training = made(network, max_epochs=2, parameters=[{"match": "features", "freeze": True}])
    owned = {id(p) for group in training.state["optimizer"].param_groups for p in group["params"]}
    frozen = list(network.features.parameters())
    assert not any(p.requires_grad or id(p) in owned for p in frozen)
    assert all(id(p) in owned for p in network.parameters() if p.requires_grad)
    states = by_epoch(training)
    assert moved(states[0], states[-1]) == ALL - FEATURES
    assert all(p.grad is None for p in frozen)


def test_frozen_batch_norm_uses_its_running_statistics_while_all_else_trains() -> None:
    network = net()
    seen: list[tuple[bool, bool]] = []
    network.head.register_forward_hook(
        lambda *_: seen.append((network.features[1].training, network.later[1].training))
    )
    training = made(network, max_epochs=2, parameters=[{"match": "features", "freeze_epochs": 1}])
    training.engine.run()
    assert seen == [(False, True)] * BATCHES + [(True, True)] * BATCHES


def test_batch_norm_is_frozen_only_whole() -> None:
    states = by_epoch(made(net(), max_epochs=1, parameters=[{"match": "weight", "freeze": True}]))
    assert moved(*states) == {name for name in ALL if "weight" not in name}


def test_batch_norm_without_parameters_goes_by_its_name() -> None:
    network = net(affine=False)
    states = by_epoch(
        made(network, max_epochs=1, parameters=[{"match": "features", "freeze": True}])
    )
    assert not any("features" in name for name in moved(*states))
    states = by_epoch(made(net(affine=False), max_epochs=1))
    assert "features.1.running_mean" in moved(*states)


def test_freezing_goes_with_copies_and_leaves_no_trace_in_the_state() -> None:
    network = net()
    names = list(network.state_dict())
    made(network, parameters=[{"match": "features", "freeze": True}])
    assert list(network.state_dict()) == names
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        before = state_of(twin)
        twin.train()
        twin(batches()[0]["image"])
        assert moved(before, state_of(twin)) == {
            f"later.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
        }


def test_an_epoch_shorter_than_a_pass_is_an_epoch() -> None:
    network = net()
    training = made(
        network,
        max_epochs=4,
        epoch_length=1,
        parameters=[{"match": "features", "freeze_epochs": 2}],
    )
    states = by_epoch(training)
    changed = ["features.0.weight" in moved(*states[i : i + 2]) for i in range(4)]
    assert changed == [False, False, True, True]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_thawing_after_a_resume_is_as_without_one(stop: int) -> None:
    options: dict[str, Any] = {
        "max_epochs": 4,
        "optimizer": {"step": "adamw"},
        "schedule": {"step": "cosine", "end_fraction": 0.1},
        "parameters": [
            {"match": "features", "freeze_epochs": 2, "learning_rate": 0.001},
            {"match": "later", "freeze_epochs": 1},
        ],
    }
    whole = by_epoch(made(net(), **options))
    first = made(net(), **options)
    first.engine.add_event_handler(Events.EPOCH_COMPLETED(once=stop), first.engine.terminate)
    first.engine.run()
    saved = {name: copy.deepcopy(item.state_dict()) for name, item in first.state.items()}
    second = made(net(), **options)
    for name, item in second.state.items():
        item.load_state_dict(saved[name])
    second.engine.load_state_dict(
        {"iteration": stop * BATCHES, "epoch_length": BATCHES, "max_epochs": 4}
    )
    states = by_epoch(second)
    assert len(states) == 5 - stop
    assert not moved(whole[-1], states[-1])


def test_the_state_is_a_function_of_the_epoch_alone() -> None:
    network = net()
    groups = [
        ParameterGroup(match="features", freeze_epochs=2),
        ParameterGroup(match="later", freeze=True),
    ]
    freezing = Freezing(network, groups)

    def frozen() -> set[str]:
        network.train()
        network(batches()[0]["image"])
        norms = {
            f"{name}" for name in ("features", "later") if not getattr(network, name)[1].training
        }
        off = {n.partition(".")[0] for n, p in network.named_parameters() if not p.requires_grad}
        assert norms == off
        return off

    expected = {1: {"features", "later"}, 2: {"features", "later"}, 3: {"later"}, 9: {"later"}}
    for epoch in (1, 3, 2, 9, 1, 1, 9, 3, 2):
        freezing.apply(epoch)
        assert frozen() == expected[epoch]


def test_what_the_network_froze_itself_stays_frozen() -> None:
    network = net()
    network.features[0].weight.requires_grad_(False)
    training = made(network, max_epochs=2, parameters=[{"match": "features", "freeze_epochs": 1}])
    states = by_epoch(training)
    assert ALL - moved(states[0], states[-1]) == {"features.0.weight"}


def test_each_group_has_its_learning_rate_and_weight_decay() -> None:
    network = net()
    training = made(
        network,
        learning_rate=0.01,
        optimizer={"step": "adamw", "weight_decay": 0.2},
        parameters=[
            {"match": r"\.bias$", "weight_decay": 0},
            {"match": "features", "learning_rate": 0.001},
            {"match": "later.0", "freeze": True},
        ],
    )
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = training.state["optimizer"].param_groups
    assert [(g["lr"], g["weight_decay"], {names[id(p)] for p in g["params"]}) for g in groups] == [
        (0.01, 0.2, {"later.1.weight", "head.weight"}),
        (
            0.01,
            0,
            {"features.0.bias", "features.1.bias", "later.0.bias", "later.1.bias", "head.bias"},
        ),
        (0.001, 0.2, {"features.0.weight", "features.1.weight"}),
    ]


SCHEDULES: list[tuple[Any, Any]] = [
    ("constant", lambda t, total: 1.0),
    ({"step": "steps", "epochs": 1, "gamma": 0.5}, lambda t, total: 0.5 ** (t // BATCHES)),
    (
        {"step": "cosine", "end_fraction": 0.1},
        lambda t, total: 0.1 + 0.9 * (1 + torch.cos(torch.tensor(torch.pi * t / total)).item()) / 2,
    ),
]


@pytest.mark.parametrize(("schedule", "part"), SCHEDULES)
def test_two_groups_train_as_a_loop_by_hand(schedule: Any, part: Any) -> None:
    epochs = 3
    training = made(
        net(),
        max_epochs=epochs,
        optimizer={"step": "sgd", "momentum": 0.9},
        schedule=schedule,
        gradient_clip=0.5,
        parameters=[{"match": "^head", "learning_rate": 0.1}],
    )
    state = by_epoch(training)[-1]

    network = net()
    rates = {"head": 0.1, "features": 0.01, "later": 0.01}
    momenta = {name: None for name, _ in network.named_parameters()}
    network.train()
    for step in range(epochs * BATCHES):
        batch = batches()[step % BATCHES]
        network.zero_grad()
        nn.functional.cross_entropy(network(batch["image"]), batch["label"]).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in network.parameters()))  # type: ignore[operator,arg-type]
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                gradient = parameter.grad * min(1.0, 0.5 / (norm.item() + 1e-6))  # type: ignore[operator]
                before: Any = momenta[name]
                momenta[name] = gradient if before is None else 0.9 * before + gradient
                rate = rates[name.partition(".")[0]] * part(step, epochs * BATCHES)
                parameter -= rate * momenta[name]
    for name, value in state_of(network).items():
        torch.testing.assert_close(value, state[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "torchs"),
    [
        (
            {"step": "cosine", "end_fraction": 0.05},
            lambda optimizer, steps, rate: torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, T_max=steps, eta_min=0.05 * rate
            ),
        ),
        (
            {"step": "one_cycle"},
            lambda optimizer, steps, rate: torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=rate, total_steps=steps + 1, cycle_momentum=False
            ),
        ),
    ],
)
def test_schedules_follow_torchs_for_each_group(schedule: Any, torchs: Any) -> None:
    training = made(
        net(),
        max_epochs=3,
        schedule=schedule,
        parameters=[{"match": "^head", "learning_rate": 0.5}],
    )
    optimizer = training.state["optimizer"]
    seen: list[list[float]] = []
    training.engine.add_event_handler(
        Events.ITERATION_STARTED, lambda: seen.append([g["lr"] for g in optimizer.param_groups])
    )
    training.engine.run()
    for index, rate in enumerate((0.01, 0.5)):
        other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
        follow = torchs(other, 3 * BATCHES, rate)
        for rates in seen:
            assert rates[index] == pytest.approx(other.param_groups[0]["lr"], rel=1e-9)
            other.step()
            follow.step()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            [{"match": "featurs", "freeze": True}],
            "trainer.parameters[0].match 'featurs' fits none of the network's 10 parameters. "
            "They have names such as features.0.weight, features.0.bias, features.1.weight.",
        ),
        (
            [{"match": "^head"}, {"match": "head.bias"}, {"match": "laterr"}],
            "trainer.parameters[1].match 'head.bias' fits only parameters that earlier "
            "groups have, such as head.bias. Put the group before these, or leave it out.\n"
            "trainer.parameters[2].match 'laterr' fits none of the network's 10 parameters. "
            "They have names such as later.0.weight, later.0.bias, later.1.weight.",
        ),
        (
            [{"match": "head", "freeze": True}, {"match": "", "freeze_epochs": 1}],
            "trainer.parameters freezes all 10 parameters of the network in the first epoch. "
            "Leave some to be trained, such as head.bias.",
        ),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_groups_that_do_not_fit_the_network_are_refused(
    parameters: Any, message: str, device: str
) -> None:
    network = net().to(device)
    with pytest.raises(DataError) as caught:
        made(network, parameters=parameters)
    assert str(caught.value) == message
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            {"match": "a", "freeze": True, "learning_rate": 0.1},
            "trainer.parameters[0].freeze: can't be given with learning_rate: what is frozen is "
            "never trained. To train it later, give freeze_epochs instead.",
        ),
        (
            {"match": "a", "freeze": True, "weight_decay": 0.0, "freeze_epochs": 1},
            "trainer.parameters[0].freeze: can't be given with weight_decay and freeze_epochs: "
            "what is frozen is never trained. To train it later, give freeze_epochs instead.",
        ),
        (
            {"match": "(", "learning_rate": 0.0},
            "trainer.parameters[0].match: '(' is not a regular expression: missing ), "
            "unterminated subpattern at position 0.\n  trainer.parameters[0].learning_rate: must "
            "be > 0, got 0.0.",
        ),
        (
            {"freeze_epochs": -1},
            "trainer.parameters[0].match: required: text.\n"
            "  trainer.parameters[0].freeze_epochs: must be >= 0, got -1.",
        ),
    ],
)
def test_groups_that_make_no_sense_are_refused(group: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder().trainer("supervised", parameters=[group]).build()
    assert str(caught.value) == f"The pipeline has problems:\n  {message}"


def test_groups_are_written_and_read() -> None:
    text = """format = 1
[trainer]
step = "supervised"
[[trainer.parameters]]
match = '^features\\.'
freeze_epochs = 2
learning_rate = 1e-6
[[trainer.parameters]]
match = "norm"
freeze = true
"""
    builder = PipelineBuilder.from_toml(text)
    assert PipelineBuilder.from_toml(builder.to_toml()) == builder
    trainer: Any = builder.build().configuration.trainer
    assert trainer.parameters == (
        ParameterGroup(match=r"^features\.", freeze_epochs=2, learning_rate=1e-6),
        ParameterGroup(match="norm", freeze=True),
    )


patterns = st.lists(
    st.sampled_from(["features", "later", "head", "weight$", "bias", r"\.1\.", "^l", "0"]),
    max_size=4,
    unique=True,
)


@settings(max_examples=examples(60), deadline=None)
@given(patterns=patterns)
def test_the_first_group_that_fits_has_a_parameter(patterns: list[str]) -> None:
    network = net()
    groups = [ParameterGroup(match=pattern) for pattern in patterns]
    expected = {
        name: next((i for i, p in enumerate(patterns) if re.search(p, name)), None)
        for name, _ in network.named_parameters()
    }
    if set(range(len(groups))) <= set(expected.values()):
        assert divide(network, groups) == expected
    else:
        with pytest.raises(DataError):
            divide(network, groups)


def phantom() -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset("phantom", samples=60, size=32)
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .loader(batch_size=16, workers=0)
        .split(validation=0.2, test=0.2)
    )


FROZEN = "^(conv1|bn1|layer)"


def test_a_pipeline_freezes_then_thaws(tmp_path: Any) -> None:
    builder = phantom().trainer(
        "supervised",
        max_epochs=2,
        learning_rate=1e-3,
        parameters=[{"match": FROZEN, "freeze_epochs": 1, "learning_rate": 1e-4}],
    )
    pipeline = builder.build()
    assert pipeline.check().ok
    engine: Any = pipeline.build_trainer()
    states = [state_of(engine.network)]
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: states.append(state_of(engine.network))
    )
    engine.run()
    assert moved(states[0], states[1]) == {"fc.weight", "fc.bias"}
    assert moved(states[1], states[2]) == set(states[0])
    run = pipeline.run(tmp_path / "run")
    last = run.network("last").state_dict()
    assert not moved(states[2], {name: value.cpu() for name, value in last.items()})


def test_a_check_accepts_what_is_frozen_for_good_and_names_what_fits_nothing() -> None:
    builder = phantom().trainer("supervised", parameters=[{"match": FROZEN, "freeze": True}])
    report = builder.build().check()
    assert report.ok, report
    builder = phantom().trainer("supervised", parameters=[{"match": "^lyaer", "freeze": True}])
    (problem,) = builder.build().check().problems
    assert problem.path == "trainer"
    assert problem.message.startswith("trainer.parameters[0].match '^lyaer' fits none of")


def test_the_trainer_without_groups_has_one() -> None:
    training = made(net())
    (group,) = training.state["optimizer"].param_groups
    assert len(group["params"]) == 10
    assert attrs.fields(Supervised).parameters.default == ()
