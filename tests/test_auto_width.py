"""The width of the default network: by the number of images, and as it was once chosen."""

from __future__ import annotations

import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medpipe
from medpipe import config
from medpipe.plugin import (
    Auto,
    AutoInfo,
    DataInfo,
    NetworkStep,
    Task,
    auto_width,
    hookimpl,
    or_auto,
    resolved,
)
from support.folders import image_folder

if TYPE_CHECKING:
    from torch import nn

NARROW = {"network.init_features": 32, "network.growth_rate": 16}
FULL = {"network.init_features": 64, "network.growth_rate": 32}
DATA = DataInfo(
    task=Task(names=("a", "b")), channels=1, spatial_shape=(32, 32), spatial_dims=2, outputs=2
)


@given(samples=st.integers(1, 10**7), pretrained=st.booleans())
def test_the_width_is_half_below_100_samples_and_without_weights(
    samples: int, pretrained: bool
) -> None:
    width = auto_width(samples, pretrained=pretrained)
    assert width == ((32, 16) if samples < 100 and not pretrained else (64, 32))
    assert width <= auto_width(samples + 1, pretrained=pretrained)


def test_the_bound_is_100_samples() -> None:
    assert auto_width(99, pretrained=False) == (32, 16)
    assert auto_width(100, pretrained=False) == (64, 32)


@attrs.frozen(kw_only=True)
class Sized(NetworkStep):
    """A network with a width that it chooses itself."""

    name: ClassVar[str] = "sized"
    width: int | Auto = attrs.field(default="auto", validator=or_auto(attrs.validators.ge(1)))
    then: str = ""

    def resolve(self, info: AutoInfo) -> NetworkStep:
        if self.then == "fail":
            raise KeyError("no rule")
        if self.then == "nothing":
            return None  # type: ignore[return-value]  # what the test is about
        return attrs.evolve(self, width=info.samples) if self.width == "auto" else self

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        width = resolved(self.width)
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(8),
            nn.Flatten(),
            nn.Linear(64 * data.channels, width),
            nn.ReLU(),
            nn.Linear(width, data.outputs),
        )


@hookimpl
def medpipe_networks() -> list[type[NetworkStep]]:
    """Offer the network."""
    return [Sized]


REGISTRY = medpipe.Registry.discover().with_plugin(
    types.SimpleNamespace(medpipe_networks=medpipe_networks), name="medpipe-sized"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data"), samples=60)


def builder(root: Path) -> medpipe.PipelineBuilder:
    return (
        medpipe.PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("image_folder", root=root)
        .loader(workers=0)
        .trainer("supervised", epoch_length=1, max_epochs=2)
    )


def of_network(auto: Any) -> dict[str, Any]:
    return {path: value for path, value in auto.items() if path.startswith("network.")}


def decided(given: medpipe.PipelineBuilder, samples: int) -> tuple[Any, dict[str, Any]]:
    """The network's step, and what was decided of it."""
    configuration, found = config.decided(
        given.build().configuration, DATA, samples, earlier={}, registry=REGISTRY
    )
    return configuration.network, of_network(found)


def filters(network: nn.Module) -> tuple[int, ...]:
    """The filters of the first convolution, and of a dense layer's last."""
    tensors = network.state_dict()
    names = ("features.conv0.weight", "features.denseblock1.denselayer1.layers.conv2.weight")
    return tuple(len(tensors[name]) for name in names)


@pytest.mark.long
def test_a_run_on_few_images_has_a_narrow_network_and_keeps_it(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", samples=60)
    pipeline = builder(data).build()
    report = pipeline.check()
    assert report.ok, report
    assert "network.init_features = 32, network.growth_rate = 16" in str(report)
    made = pipeline.run(tmp_path / "run", max_time=0)
    assert of_network(made.record["auto"]) == NARROW
    assert made.status == "stopped"

    image_folder(data, samples=300)  # the rule would now choose the full width
    pipeline.run(tmp_path / "run", resume=True, allow_changed="data")
    again = medpipe.Run.load(tmp_path / "run")
    assert again.status == "finished"
    assert of_network(again.record["auto"]) == NARROW
    assert 'init_features = "auto"' in (again.path / "pipeline.toml").read_text()
    for which in ("best", "last"):
        assert filters(again.network(which)) == (32, 16)  # type: ignore[arg-type]
    assert len(again.predict(data / "Hand").ids) == 50

    # What starts from it is of the full width, and the check says what to set.
    started = builder(data).weights(run=again.path)
    problems = "\n".join(str(problem) for problem in started.build().check().problems)
    assert (
        "MONAI's densenet121 for 2-D images of 1 channel with 6 outputs: set [network] to "
        'step = "densenet121", init_features = 32, growth_rate = 16.'
    ) in problems
    same = started.network("densenet121", init_features=32, growth_rate=16)
    assert same.build().check().ok


def test_many_images_and_weights_have_the_full_width(root: Path) -> None:
    assert decided(builder(root), 99)[1] == NARROW
    assert decided(builder(root), 100)[1] == FULL
    assert decided(builder(root).weights(file=root / "x.safetensors"), 48)[1] == FULL


def test_what_is_given_stays(root: Path) -> None:
    step, found = decided(builder(root).network("densenet121"), 48)
    assert (step.init_features, step.growth_rate, found) == (64, 32, {})
    step, found = decided(builder(root).network("densenet169", init_features="auto"), 48)
    assert (step.init_features, step.growth_rate) == (32, 32)
    assert found == {"network.init_features": 32}
    assert decided(builder(root).network("resnet10"), 48)[1] == {}


def test_a_module_has_nothing_to_resolve(root: Path) -> None:
    from torch import nn

    module = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2))
    step, found = decided(builder(root).network(module), 48)
    assert step.value is module
    assert found == {}


def test_the_default_section_is_completed_and_a_named_step_is_not() -> None:
    default = config.load({"format": 1}, registry=REGISTRY)
    assert default.network == medpipe.PipelineBuilder().build().configuration.network
    document: dict[str, Any] = {"format": 1}
    config.set_value(document, "network.dropout_prob", 0.1)
    step: Any = config.load(document, registry=REGISTRY).network
    assert (step.name, step.init_features, step.dropout_prob) == ("densenet121", "auto", 0.1)
    assert config.set_value(document, "network.step", "resnet10") == [
        "init_features",
        "growth_rate",
        "dropout_prob",
    ]
    named: dict[str, Any] = {"format": 1}
    config.set_value(named, "network.step", "densenet121")
    assert named["network"] == {"step": "densenet121"}


def test_a_network_of_a_plugin_resolves_its_own(root: Path, tmp_path: Path) -> None:
    pipeline = builder(root).network("sized").build()
    made = pipeline.run(tmp_path / "run", max_time=60)
    assert of_network(made.record["auto"]) == {"network.width": 48}
    assert made.network().state_dict()["2.weight"].shape == (48, 64)


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("fail", "(medpipe-sized) failed to resolve \"auto\": KeyError: 'no rule'"),
        ("nothing", "(medpipe-sized) gives None in resolve, which is not a network step."),
    ],
)
def test_a_rule_that_fails_is_named(then: str, said: str, root: Path) -> None:
    problems = builder(root).network("sized", then=then).build().check().problems
    assert [str(problem)[: len("the network step")] for problem in problems] == ["the network step"]
    assert said in str(problems[0])
