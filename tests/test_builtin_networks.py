"""The built-in networks: each fits 2-D and 3-D data, and the default is MONAI's own."""

from __future__ import annotations

import pickle
import re
from functools import cache

import attrs
import monai.networks.nets
import pytest
import torch

from medpipe.builtin.networks import NETWORKS, DenseNet121, EfficientNet, ResNet18, SENet154
from medpipe.plugin import DataError, DataInfo, NetworkStep, Task

STEPS = {step.name: step for step in NETWORKS}


def data(dims: int = 2, channels: int = 1, outputs: int = 6) -> DataInfo:
    return DataInfo(
        task=Task(names=[f"class {i}" for i in range(outputs)]),
        channels=channels,
        spatial_shape=(64,) * dims,
        spatial_dims=dims,
        outputs=outputs,
    )


@cache
def built(step: type[NetworkStep], dims: int) -> torch.nn.Module:
    with torch.device("meta"):
        return step().build(data(dims, channels=2, outputs=5))


# In 3-D one network of each block: the deeper ones repeat it, and cost seconds.
IN_3D = ("densenet121", "resnet10", "resnet50", "senet154", "seresnet50", "seresnext50")
CASES = [*((step, 2) for step in NETWORKS), *((STEPS[name], 3) for name in IN_3D)]
CASES.append((EfficientNet, 3))


@pytest.mark.parametrize(("step", "dims"), CASES, ids=[f"{s.name}-{d}" for s, d in CASES])
def test_each_gives_one_number_per_output(step: type[NetworkStep], dims: int) -> None:
    predictions = built(step, dims)(torch.empty(3, 2, *[64] * dims, device="meta"))
    assert isinstance(predictions, torch.Tensor)
    assert predictions.shape == (3, 5)


@pytest.mark.parametrize("model", ["b0", "b1", "b8"])
def test_every_efficientnet_is_the_named_one(model: str) -> None:
    with torch.device("meta"):
        ours = EfficientNet(model=model).build(data())
        theirs = monai.networks.nets.EfficientNetBN(
            f"efficientnet-{model}", pretrained=False, in_channels=1, num_classes=6
        )
    assert shapes(ours) == shapes(theirs)


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def test_densenet121_is_the_tutorials() -> None:
    torch.manual_seed(0)
    ours = DenseNet121().build(data())
    torch.manual_seed(0)
    theirs = monai.networks.nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=6)
    assert type(ours) is type(theirs)
    assert str(ours) == str(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


MONAI_NAMES = {
    "seresnet50": "SEResNet50",
    "seresnet101": "SEResNet101",
    "seresnet152": "SEResNet152",
    "seresnext50": "SEResNext50",
    "seresnext101": "SEResNext101",
    "senet154": "SENet154",
    **{f"densenet{n}": f"DenseNet{n}" for n in (121, 169, 201, 264)},
    **{f"resnet{n}": f"resnet{n}" for n in (10, 18, 34, 50, 101, 152, 200)},
}


@pytest.mark.parametrize("name", MONAI_NAMES)
def test_the_defaults_are_monais(name: str) -> None:
    resnet = name.startswith("resnet")
    dense = name.startswith("densenet")
    arguments = {
        "n_input_channels" if resnet else "in_channels": 2,
        "out_channels" if dense else "num_classes": 5,
    }
    ours = built(STEPS[name], 2)
    with torch.device("meta"):
        theirs = getattr(monai.networks.nets, MONAI_NAMES[name])(spatial_dims=2, **arguments)
    assert str(ours) == str(theirs)
    assert shapes(ours) == shapes(theirs)


def test_parameters_reach_the_network() -> None:
    with torch.device("meta"):
        dense = DenseNet121(init_features=16, growth_rate=8, dropout_prob=0.3).build(data())
        residual = ResNet18(
            conv1_t_size=3, conv1_t_stride=2, no_max_pool=True, widen_factor=0.5
        ).build(data())
        excited = SENet154(dropout_prob=0.4, reduction=8).build(data())
    assert dense.features.conv0.out_channels == 16
    assert dense.features.denseblock1.denselayer1.layers.conv2.out_channels == 8
    assert dense.features.denseblock1.denselayer1.layers.dropout.p == 0.3
    assert residual.conv1.kernel_size == (3, 3)
    assert residual.conv1.stride == (2, 2)
    assert residual.no_max_pool
    assert residual.fc.in_features == 256
    assert excited.dropout.p == 0.4
    assert "Linear(in_features=256, out_features=32" in str(excited.layer1[0].se_layer)


@pytest.mark.parametrize("step", NETWORKS, ids=lambda step: step.name)
def test_each_is_a_well_made_step(step: type[NetworkStep]) -> None:
    assert "__attrs_attrs__" in step.__dict__  # its own, not those of the class above it
    assert STEPS[step.name] is step
    made = step()
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(TypeError):
        step(1)
    described = " ".join(above.__doc__ or "" for above in step.__mro__[:2])
    for field in attrs.fields(attrs.resolve_types(step)):
        assert f"{field.name}: " in described
        assert getattr(made, field.name) == field.default
        assert field.eq
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(made, field.name, field.default)
    assert not {field.name for field in attrs.fields(step)} & {"pretrained", "progress"}
    # What it says of itself is what it builds.
    named = re.search(r"MONAI's `(\w+)`, after .* \(arXiv:\d{4}\.\d{4,5}\)", step.__doc__ or "")
    assert named is not None
    assert named[1] == MONAI_NAMES.get(step.name, "EfficientNetBN")


@pytest.mark.parametrize("step", NETWORKS, ids=lambda step: step.name)
def test_images_of_other_dimensions_are_refused(step: type[NetworkStep]) -> None:
    with pytest.raises(DataError) as caught:
        step().build(data(dims=4, channels=3))
    assert str(caught.value) == (
        f"The network {step.name} takes images of 2 or 3 spatial dimensions, and these have 4: "
        "their shape is (3, 64, 64, 64, 64), channels first. Change the transforms, for example "
        "with squeeze_dim."
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("densenet121", {"dropout_prob": 1.0}),
        ("densenet121", {"growth_rate": 0}),
        ("resnet18", {"widen_factor": 0.0}),
        ("senet154", {"dropout_prob": 1.5}),
        ("seresnet50", {"dropout_prob": -0.5}),
    ],
)
def test_impossible_numbers_are_refused(name: str, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"'{next(iter(values))}' must be"):
        STEPS[name](**values)
