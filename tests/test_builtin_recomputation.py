"""`trainer.recompute`: less is kept, and nothing else is different."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest
import torch
from ignite.engine import Events
from torch import nn

from medpipe import ConfigError, MedpipeError, Pipeline, PipelineBuilder, Registry
from medpipe.builtin.trainers.recomputation import recomputing, repeated_blocks
from medpipe.builtin.trainers.supervised import Supervised
from medpipe.errors import DataError
from medpipe.plugin import DataInfo, NetworkStep, hookimpl
from medpipe.training.memory import forward_on_meta
from support.marked_runs import state
from support.marks import rare
from support.trainings import BATCHES, Net, made, net, parts, state_of

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe.system.hardware import Precision


class Block(nn.Module):
    """A residual block with all that must not happen twice, or not in another way."""

    def __init__(self, spectral: bool = True) -> None:
        super().__init__()
        convolution = nn.Conv2d(4, 4, 3, padding=1)
        if spectral:  # its buffers change what comes out; such a module can't be pickled
            convolution = nn.utils.parametrizations.spectral_norm(convolution)
        self.layers = nn.Sequential(
            convolution,
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
        )
        self.calls = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return image + torch.rand(len(image), 1, 1, 1, device=image.device) * self.layers(image)


class Blocks(nn.Module):
    def __init__(self, outputs: int = 3, spectral: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.Sequential(Block(spectral), Block(spectral)),
            nn.Sequential(Block(spectral)),
        )
        self.head = nn.Sequential(nn.Linear(4, outputs))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.features(image).flatten(2).mean(2))
        return output


def built(name: str) -> nn.Module:
    data = parts(Net()).data
    torch.manual_seed(0)
    network: nn.Module = Registry.discover().networks[name]().build(data)  # type: ignore[attr-defined]
    return network


def trained(
    network: nn.Module, precision: Precision = "float32", **options: Any
) -> tuple[Any, ...]:
    """All that a training leaves: losses, weights and buffers, the optimizer, the generator."""
    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(1)
    batches: Any = [
        {
            "image": torch.rand(6, 1, 32, 32, generator=generator),
            "label": torch.randint(0, 3, (6,), generator=generator),
        }
        for _ in range(BATCHES)
    ]
    trainer = Registry.discover().create(
        Supervised,
        "supervised",
        {"learning_rate": 0.01, "max_epochs": 2, "schedule": "constant", **options},
    )
    training = trainer.build(
        attrs.evolve(parts(network), loader=batches, precision=precision, max_epochs=2)  # type: ignore[arg-type]
    )
    losses: list[float] = []
    training.engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].item())
    )
    torch.manual_seed(1)
    training.engine.run()
    optimizer = training.state["optimizer"].state_dict()
    return losses, state_of(network), optimizer["state"], torch.get_rng_state()


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("densenet121", "float32"),
        rare("densenet121", "bfloat16"),
        rare("resnet18", "float32"),
        ("resnet18", "bfloat16"),
        rare("efficientnet", "float32"),
        rare("efficientnet", "bfloat16"),
    ],
)
def test_what_is_trained_is_the_same_bit_for_bit(name: str, precision: str) -> None:
    network = built(name)
    plain, recomputed = (
        trained(network, precision=precision, recompute=value) for value in (False, True)
    )
    assert len(plain[0]) == 2 * BATCHES
    assert_same(recomputed, plain)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulation": 3, "gradient_clip": 0.5},
        {"optimizer": {"step": "sgd", "momentum": 0.9}},
        {"precision": "bfloat16"},
        {"parameters": [{"match": r"features\.1", "freeze": True}]},
        {"parameters": [{"match": "features", "freeze_epochs": 1}]},
    ],
)
def test_dropout_running_statistics_and_frozen_parts_are_the_same(options: dict[str, Any]) -> None:
    network = Blocks()
    assert_same(trained(network, recompute=True, **options), trained(network, **options))


def test_blocks_are_computed_twice_and_the_network_stays_what_it_was() -> None:
    network = Blocks(spectral=False)
    before = {name: set(vars(module)) for name, module in network.named_modules()}
    made(network, recompute=True, max_epochs=1).engine.run()
    blocks = repeated_blocks(network)
    assert [block.calls for block in blocks] == [2 * BATCHES] * 3
    assert {name: set(vars(module)) for name, module in network.named_modules()} == before
    image = torch.rand(2, 1, 8, 8)
    expected = network.eval()(image)
    assert [block.calls for block in blocks] == [2 * BATCHES + 1] * 3  # validation: once
    assert not torch.equal(expected, network(image))  # it draws
    pickle.dumps(network)
    torch.export.export(network, (image,))


def test_blocks_that_a_script_has_changed_keep_their_change() -> None:
    network = Blocks()
    block = repeated_blocks(network)[0]
    plain = block.forward
    seen: list[int] = []

    def own(image: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        output: torch.Tensor = plain(image)
        return output

    def step() -> None:
        with recomputing([block]):
            network(torch.rand(2, 1, 8, 8)).sum().backward()
            raise KeyError

    block.forward = own  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        step()
    assert block.forward is own
    assert seen == [1, 1]


NAMES = {
    "densenet121": {"_DenseLayer": 58, "_Transition": 3},
    "resnet10": {"ResNetBlock": 4},
    "resnet50": {"ResNetBottleneck": 16},
    "seresnet50": {"SEResNetBottleneck": 16},
    "efficientnet": {"MBConvBlock": 16},
}


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_found_by_what_repeats(name: str) -> None:
    found: dict[str, int] = {}
    for block in repeated_blocks(built(name)):
        found[type(block).__name__] = found.get(type(block).__name__, 0) + 1
    assert found == NAMES[name]


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        made(nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1)), recompute=True)
    assert str(caught.value) == (
        "trainer.recompute finds no repeated blocks in the Sequential. Set it to false, and "
        "loader.batch_size lower, with trainer.accumulation to make up for it."
    )


class Changing(Block):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image.add_(1))


def test_a_block_that_changes_its_input_is_named() -> None:
    network = Blocks()
    network.features[1] = nn.Sequential(Changing(), Changing())
    with pytest.raises(MedpipeError) as caught:
        made(network, recompute=True).engine.run()
    assert str(caught.value) == (
        "A Changing changes its input in place, so that it can't be computed again. "
        "Set trainer.recompute = false, or let it change a copy."
    )


def test_it_is_not_for_a_compiled_step() -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder().trainer("supervised", compile=True, recompute=True).build()
    assert [str(problem) for problem in caught.value.problems] == [
        "trainer.recompute: can't be given with compile: a compiled step chooses by itself which "
        "activations it keeps."
    ]


def test_less_is_kept_and_the_estimate_knows() -> None:
    network = built("densenet121")
    shape = (4, 1, 64, 64)

    def kept(blocks: list[nn.Module]) -> int:
        found: dict[int, torch.Tensor] = {}
        values = {value.data_ptr() for value in network.state_dict().values()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in values:
                found[tensor.data_ptr()] = tensor
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            recomputing(blocks),
        ):
            network(torch.rand(shape))
        return sum(tensor.numel() * tensor.element_size() for tensor in found.values())

    blocks = repeated_blocks(network)
    most, least = kept([]), kept(blocks)
    assert least < most / 2.5
    meta = copy.deepcopy(network).to("meta")
    plain = forward_on_meta(meta, shape)[1].activations
    estimate = forward_on_meta(meta, shape, repeated_blocks(meta))[1].activations
    assert plain == pytest.approx(most, rel=0.05)
    assert least < estimate < least + most / 10
    assert all(not module._forward_pre_hooks for module in meta.modules())


@attrs.frozen(kw_only=True)
class Repeating(NetworkStep):
    """A network of blocks."""

    name: ClassVar[str] = "repeating"

    def build(self, data: DataInfo) -> nn.Module:
        return Blocks(outputs=data.outputs)


class Plugin:
    @hookimpl
    def medpipe_networks(self) -> list[type[NetworkStep]]:
        return [Repeating]


@pytest.mark.long
def test_a_run_that_was_stopped_ends_as_if_it_had_not(tmp_path: Path) -> None:
    registry = Registry.discover().with_plugin(Plugin(), name="repeating")

    def pipeline(**trainer: Any) -> Pipeline:
        return (
            PipelineBuilder(device="cpu", registry=registry)
            .dataset("phantom", samples=40, size=16)
            .network("repeating")
            .trainer("supervised", max_epochs=2, learning_rate=1e-3, **trainer)
            .loader(batch_size=8, workers=0)
            .split(validation=0.2, test=0.2)
            .build()
        )

    recomputed = pipeline(recompute=True)
    whole = recomputed.run(tmp_path / "whole")
    for _ in range(2):
        assert recomputed.run(tmp_path / "parts", resume=True, max_time=0).status == "stopped"
    assert state(recomputed.run(tmp_path / "parts", resume=True)) == state(whole)
    assert state(pipeline().run(tmp_path / "plain")) == state(whole)
    memory, less = pipeline().check().memory, recomputed.check().memory
    assert memory is not None
    assert less is not None
    assert less.activations < memory.activations


def test_it_is_off_by_default() -> None:
    network = net()
    training = made(network)
    assert type(training.engine.inferer).__name__ == "SimpleInferer"  # type: ignore[attr-defined]
