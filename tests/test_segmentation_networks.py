"""The networks for segmentation: they fit 2-D and 3-D data, and name what does not fit."""

from __future__ import annotations

import importlib.util
import pickle
from typing import Any

import attrs
import monai.networks.nets
import pytest
import torch

from medpipe.builtin.networks import DenseNet121
from medpipe.builtin.segmentation.networks import SEGMENTATION_NETWORKS
from medpipe.plugin import DataError, DataInfo, NetworkStep, Task
from support.dense_tasks import dense_data

STEPS = {step.name: step for step in SEGMENTATION_NETWORKS}
SIDE = 64
TRANSFORMERS = ("swin_unetr", "unetr")

each = pytest.mark.parametrize("step", SEGMENTATION_NETWORKS, ids=lambda step: step.name)


@each
@pytest.mark.parametrize("dims", [2, 3])
def test_each_gives_one_tensor_of_the_images_size(step: type[NetworkStep], dims: int) -> None:
    shape = (SIDE, 2 * SIDE, SIDE)[:dims]
    with torch.device("meta"):
        network = step().build(dense_data(shape, names=3, channels=2)).train()
        outputs = network(torch.empty(2, 2, *shape))
    assert isinstance(outputs, torch.Tensor)
    assert outputs.shape == (2, 4, *shape)


@each
def test_each_trains(step: type[NetworkStep]) -> None:
    small: dict[str, dict[str, Any]] = {
        "unetr": {"hidden_size": 24, "mlp_dim": 32, "num_heads": 4},
        "swin_unetr": {"feature_size": 12},
    }
    torch.manual_seed(0)
    network = step(**small.get(step.name, {})).build(dense_data((64, 64)))
    outputs = network(torch.randn(1, 1, 64, 64))
    outputs.square().mean().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert any(gradient is not None and gradient.any() for gradient in gradients)
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


# Each with what MONAI gets for the step's defaults, where that is not all that MONAI has.
DEFAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": ("UNet", {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}),
    "attention_unet": ("AttentionUnet", {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}),
    "dynunet": (
        "DynUNet",
        {
            "kernel_size": [3, 3, 3, 3],
            "strides": [1, 2, 2, 2],
            "upsample_kernel_size": [2, 2, 2],
            "filters": [16, 32, 64, 128],
        },
    ),
    "segresnet": ("SegResNet", {}),
    "basic_unet": ("BasicUNet", {"features": (16, 16, 32, 64, 128, 16)}),
    "vnet": ("VNet", {}),
    "flexible_unet": ("FlexibleUNet", {"backbone": "efficientnet-b0"}),
    "swin_unetr": ("SwinUNETR", {}),
    "unetr": ("UNETR", {"img_size": (64, 64, 64)}),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults_are_monais(name: str) -> None:
    monai_name, values = DEFAULTS[name]
    device = "cpu" if name == "swin_unetr" else "meta"  # MONAI's can't be made on meta
    with torch.device(device):
        ours = STEPS[name]().build(dense_data((64, 64, 64)))
        theirs = getattr(monai.networks.nets, monai_name)(
            spatial_dims=3, in_channels=1, out_channels=3, **values
        )
    assert type(ours) is type(theirs)
    assert shapes(ours) == shapes(theirs)
    # How a level's strides are written differs, and what is left of them does not.
    assert modules(ours) == modules(theirs)


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def modules(network: torch.nn.Module) -> list[str]:
    return [str(module) for module in network.modules() if not list(module.children())]


def test_parameters_reach_the_network() -> None:
    with torch.device("meta"):
        thin = STEPS["unet"](
            channels=(4, 8, 16), strides=((2, 2, 1), 2), num_res_units=2, norm="batch", act="relu"
        ).build(dense_data((8, 8, 6)))
        flat = STEPS["dynunet"](
            kernel_size=((3, 3, 1), 3, 3), strides=(1, (2, 2, 1), 2), filters=(4, 8, 16)
        ).build(dense_data((8, 8, 6)))
        plain = STEPS["unet"](bias=False).build(dense_data((16, 16, 16)))
        assert thin(torch.empty(1, 1, 8, 8, 6)).shape == (1, 3, 8, 8, 6)
        assert flat(torch.empty(1, 1, 8, 8, 6)).shape == (1, 3, 8, 8, 6)
    assert not [name for name, _ in plain.named_parameters() if name.endswith("bias")]
    assert "BatchNorm3d" in str(thin)
    assert "ReLU" in str(thin)
    assert "kernel_size=(3, 3, 1)" in str(flat)


@each
def test_what_it_says_of_sides_is_what_the_network_can_do(step: type[NetworkStep]) -> None:
    """A multiple works, one more is refused by the step, or works."""
    made = step()
    divisor = made.divisors(2)[0]  # type: ignore[attr-defined]
    side = 3 * max(divisor, 16)
    with torch.device("meta"):
        network = made.build(dense_data((side, side)))
        assert network(torch.empty(2, 1, side, side)).shape == (2, 3, side, side)
        odd = side + 1
        if divisor > 1:
            with pytest.raises(DataError) as caught:
                made.build(dense_data((odd, side)))
            assert str(caught.value) == (
                f"The network {step.name} needs images whose sides are multiples of "
                f"[{divisor}, {divisor}], and theirs is (1, {odd}, {side}), channels first. Pad "
                f"them with divisible_pad (k = [{divisor}, {divisor}]), crop or pad them with "
                "resize_with_pad_or_crop, or choose patches of such a size."
            )
        else:
            assert network(torch.empty(2, 1, odd, side)).shape == (2, 3, odd, side)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("unet", (8, 8)), ("dynunet", (8, 8)), ("basic_unet", (16, 24)), ("swin_unetr", (32, 32))],
)
def test_images_of_which_nothing_is_left_are_refused(name: str, shape: tuple[int, ...]) -> None:
    network = STEPS[name]().build(dense_data((None, None)))
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        network(torch.zeros(1, 1, *shape))
    with pytest.raises(DataError) as caught:
        STEPS[name]().build(dense_data(shape))
    assert str(caught.value) == (
        f"The images are too small for the network {name}: of the shape {(1, *shape)}, channels "
        "first, less than two pixels are left at its deepest level, and its normalisation needs "
        "two. Pad them with spatial_pad, choose larger patches, or a network with fewer levels."
    )


def test_sides_that_vary_are_no_fault_but_for_unetr() -> None:
    for name, step in STEPS.items():
        if name != "unetr":
            step().build(dense_data((None, 64)))
    with pytest.raises(DataError) as caught:
        STEPS["unetr"]().build(dense_data((None, 64)))
    assert str(caught.value) == (
        "The network unetr is made for one size of images, and theirs varies: it is (1, None, "
        "64), channels first. Use resize_with_pad_or_crop, or patches of one size."
    )


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_an_extra_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as caught:
        STEPS[name]().build(dense_data((64, 64)))
    assert str(caught.value) == (
        f"The network {name} needs einops, which is not installed. Install "
        "medpipe-imaging[transformers]."
    )


def test_tasks_that_do_not_fit_are_named() -> None:
    whole = DataInfo(
        task=Task(names=("a", "b")), channels=1, spatial_shape=(64, 64), spatial_dims=2, outputs=2
    )
    with pytest.raises(DataError) as caught:
        STEPS["unet"]().build(whole)
    assert str(caught.value) == (
        "The network unet gives an output for each pixel, and the task multiclass wants numbers "
        "for an image as a whole. Use a network such as densenet121."
    )
    with pytest.raises(DataError) as caught:
        DenseNet121().build(dense_data((64, 64)))
    assert str(caught.value) == (
        "The network densenet121 gives numbers for an image as a whole, and the task segmentation "
        "wants an output for each pixel. Use a network such as unet."
    )


@each
def test_images_of_other_dimensions_are_refused(step: type[NetworkStep]) -> None:
    with pytest.raises(DataError, match="takes images of 2 or 3 spatial dimensions, and these"):
        step().build(dense_data((64, 64, 64, 64)))


def test_channels_and_levels_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError) as caught:
        STEPS["vnet"]().build(dense_data((64, 64), channels=3))
    assert str(caught.value) == (
        "The network vnet takes images of 1, 2, 4, 8 or 16 channels, and these have 3. Use another "
        "network, such as unet."
    )
    with pytest.raises(DataError) as caught:
        STEPS["unet"](strides=((2, 2, 1), 2, 2)).build(dense_data((64, 64)))
    assert str(caught.value) == (
        "unet.strides has a level of 3 numbers, [2, 2, 1], and the images have 2 spatial "
        "dimensions. Give one number, or one for each."
    )


@each
def test_each_is_a_well_made_step(step: type[NetworkStep]) -> None:
    assert "__attrs_attrs__" in step.__dict__
    made = step()
    assert pickle.loads(pickle.dumps(made)) == made
    for field in attrs.fields(attrs.resolve_types(step)):
        assert getattr(made, field.name) == field.default
    assert "pretrained" not in {field.name for field in attrs.fields(step)}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("unet", {"channels": (8, 0)}, "'channels'|must be"),
        ("unet", {"strides": (2, 2)}, "'strides' must have one item fewer than 'channels'"),
        ("unet", {"strides": (2, 2, 0)}, "'strides' must be whole numbers from 1"),
        ("unet", {"dropout": 1.0}, "'dropout' must be"),
        ("dynunet", {"filters": (8, 16)}, "must have one item for each level"),
        (
            "dynunet",
            {"deep_supervision": True, "deep_supr_num": 3},
            "'deep_supr_num' must be at most 2, two fewer than there are levels, got 3",
        ),
        ("segresnet", {"blocks_up": (1, 1)}, "'blocks_up' must have one item fewer"),
        ("segresnet", {"init_filters": 12}, "'num_groups' must divide 'init_filters'"),
        ("basic_unet", {"features": (8, 8)}, "'features' must be"),
        ("swin_unetr", {"feature_size": 16}, "'feature_size' must be a multiple of 12"),
        ("swin_unetr", {"num_heads": (5, 6, 12, 24)}, "5 does not divide 24"),
        ("unetr", {"num_heads": 7}, "'num_heads' must divide 'hidden_size'"),
    ],
)
def test_impossible_values_are_refused(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STEPS[name](**values)


def test_sides_that_vary_are_refused_when_the_network_meets_them() -> None:
    data = attrs.evolve(dense_data((24, 16), names=1, channels=1), spatial_shape=(None, None))
    network = STEPS["unet"]().build(data)
    assert network(torch.zeros(1, 1, 24, 16)).shape == (1, 2, 24, 16)
    with pytest.raises(DataError) as caught:
        network(torch.zeros(1, 1, 20, 16))
    assert str(caught.value) == (
        "The network unet takes images whose sides are multiples of [8, 8], and got one of "
        "(20, 16). Pad them with divisible_pad, k = [8, 8], or predict in windows with "
        "sliding_window, whose roi_size has such sides."
    )
    pickle.loads(pickle.dumps(network))
