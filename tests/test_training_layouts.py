"""Files in the layouts of torchvision, timm, MONAI and Lightning, into the built-in networks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medpipe import PipelineBuilder, Registry
from medpipe.cli.import_weights import import_weights
from medpipe.errors import ProblemsError
from medpipe.plugin import DataInfo, NetworkStep, Task
from medpipe.settings import WeightsSettings
from medpipe.training.layouts import recognise
from medpipe.training.weights import WeightsReport, examine_weights, start_from
from support.public_networks import PUBLIC, DenseNet, trained

HEADS = {"densenet121": "class_layers.out", "resnet18": "fc", "resnet50": "fc"}
RESNET = {"conv1_t_stride": 2, "bias_downsample": False}


def built(step: str, channels: int = 3, outputs: int = 4, dims: int = 2, **given: Any) -> nn.Module:
    torch.manual_seed(5)
    data = DataInfo(
        task=Task(names=tuple("abcdefghij"[:outputs]) if outputs < 10 else ("a", "b")),
        channels=channels,
        spatial_shape=(64,) * dims,
        spatial_dims=dims,
        outputs=outputs,
    )
    return Registry.discover().create(NetworkStep, step, given).build(data).eval()


def on_meta(step: str, **given: Any) -> nn.Module:
    with torch.device("meta"):
        return built(step, **given)


def imported(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> tuple[str, dict[str, Any]]:
    """What the command says first, and the sections that it prints to be pasted."""
    torch.save(content, tmp_path / "w.pth")
    import_weights(tmp_path / "w.pth", out=tmp_path / "w.safetensors")
    before, _, sections = capsys.readouterr().out.partition("[network]\n")
    return before, tomllib.loads("[network]\n" + sections)


def loaded(sections: dict[str, Any], **given: Any) -> tuple[nn.Module, WeightsReport]:
    """The built-in network of the printed sections, with the weights."""
    network = dict(sections["network"])
    target = built(network.pop("step"), **{**network, **given})
    weights = dict(sections["weights"])
    report = start_from(target, WeightsSettings(**{**weights, "file": Path(weights["file"])}))
    assert report is not None
    return target, report


def in_order(state: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The tensors but the head's: all these networks have them in the same order."""
    heads = ("class_layers.out", "classifier", "fc")
    return [tensor for name, tensor in state.items() if not name.startswith(heads)]


def wrapped(state: dict[str, torch.Tensor], layout: str) -> object:
    """A file's content as each way of training writes it."""
    if layout == "plain":
        return state
    if layout == "lightning":
        named = {f"model.net.{name}": tensor for name, tensor in state.items()}
        return {
            "state_dict": {**named, "criterion.weight": torch.ones(4)},
            "epoch": 9,
            "pytorch-lightning_version": "2.5.0",
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
            "hyper_parameters": {"lr": 0.1},
        }
    named = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"state_dict": named, "epoch": 9}


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *((name, "plain") for name in PUBLIC),
        ("resnet18", "data_parallel"),
        ("densenet121", "lightning"),
    ],
)
def test_torchvisions_and_timms_networks_arrive_whole_but_for_the_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, layout: str
) -> None:
    source = trained(PUBLIC[name]())
    state = source.state_dict()
    said, sections = imported(tmp_path, wrapped(state, layout), capsys)
    assert f"recognised: torchvision's and timm's {name} for 2-D images of 3 channels" in said
    expected = {} if name == "densenet121" else RESNET
    assert sections["network"] == {"step": name, **expected}
    assert sections["weights"]["skip"] == [f"^{HEADS[name]}"]
    target, report = loaded(sections)
    found = target.state_dict()
    theirs, mine = in_order(state), in_order(found)
    assert len(theirs) == len(mine)
    assert all(torch.equal(*pair) for pair in zip(theirs, mine, strict=True))
    assert len(report.matched) == len(mine)
    assert report.skipped == (f"{HEADS[name]}.weight", f"{HEADS[name]}.bias")
    assert report.missing == report.fitted == ()
    assert report.unused == (("criterion.weight",) if layout == "lightning" else ())


@pytest.mark.parametrize("name", ["densenet121", "resnet50"])
def test_with_the_head_the_outputs_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = trained(PUBLIC[name]())
    _, sections = imported(tmp_path, source.state_dict(), capsys)
    del sections["weights"]["skip"]
    target, _ = loaded(sections, outputs=1000)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(target(images), source(images), rtol=1e-4, atol=1e-4)


def test_grey_images_take_the_mean_of_the_first_filters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trained(PUBLIC["resnet18"]())
    _, sections = imported(tmp_path, source.state_dict(), capsys)
    del sections["weights"]["skip"]
    target, report = loaded(sections, channels=1, outputs=1000)
    assert report.fitted == ("conv1.weight",)
    assert report.note == ""
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        seen, expected = target(grey), source(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


def test_names_of_torchvisions_old_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = trained(PUBLIC["densenet121"]()).state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    said, sections = imported(tmp_path, old, capsys)
    assert "torchvision's and timm's densenet121" in said
    target, report = loaded(sections)
    key = "features.denseblock4.denselayer16.layers.conv2.weight"
    theirs = state["features.denseblock4.denselayer16.conv2.weight"]
    assert torch.equal(target.state_dict()[key], theirs)
    assert all(name.endswith("num_batches_tracked") for name in report.missing)
    assert len(report.missing) == sum(name.endswith("num_batches_tracked") for name in state)


def test_monais_bundles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = built("densenet121", channels=1, outputs=2, dims=3, init_features=8, growth_rate=4)
    state = source.state_dict()
    said, sections = imported(tmp_path, {"model": state}, capsys)
    assert "recognised: MONAI's densenet121 for 3-D images of 1 channel with 2 outputs\n" in said
    assert sections["network"] == {"step": "densenet121", "init_features": 8, "growth_rate": 4}
    target, report = loaded(sections, channels=1, dims=3)
    for name in report.matched:
        assert torch.equal(target.state_dict()[name], state[name])
    assert len(report.matched) == len(state) - 2


@pytest.mark.parametrize(
    ("step", "network"),
    [
        ("resnet10", {"conv1_t_stride": 2, "bias_downsample": False}),
        ("resnet18", {"conv1_t_stride": 2, "shortcut_type": "A"}),
    ],
)
@pytest.mark.long
def test_medicalnet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str, network: dict[str, Any]
) -> None:
    from monai.networks.nets import resnet10, resnet18

    torch.manual_seed(3)
    make = {"resnet10": resnet10, "resnet18": resnet18}[step]
    given = {"shortcut_type": network.get("shortcut_type", "B"), "bias_downsample": False}
    source = make(spatial_dims=3, n_input_channels=1, feed_forward=False, **given)
    state = source.state_dict()
    said, sections = imported(tmp_path, wrapped(state, "data_parallel"), capsys)
    assert f"recognised: MedicalNet's {step} for 3-D images of 1 channel\n" in said
    assert sections["network"] == {"step": step, **network}
    assert "skip" not in sections["weights"]
    sections["weights"]["skip"] = ["^fc"]
    target, report = loaded(sections, channels=1, dims=3)
    assert set(report.matched) == set(state)
    assert all(torch.equal(target.state_dict()[name], state[name]) for name in state)


def test_the_small_networks_settings_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"widen_factor": 0.125, "conv1_t_size": 3}
    source = built("resnet34", **given)
    said, sections = imported(tmp_path, source.state_dict(), capsys)
    assert "recognised: MONAI's resnet34 for 2-D images of 3 channels with 4 outputs\n" in said
    assert sections["network"] == {"step": "resnet34", **given}
    _, report = loaded(sections)
    assert len(report.matched) == len(source.state_dict()) - 2


def saved(path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def refused(target: nn.Module, **given: Any) -> list[str]:
    """The problems of a network, which may be on meta."""
    with pytest.raises(ProblemsError) as caught:
        examine_weights(target, WeightsSettings(**given))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.long
def test_errors_name_the_layout_the_network_and_the_head(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.safetensors", PUBLIC["resnet50"]().state_dict())
    advice = (
        f"{file} is torchvision's and timm's resnet50 for 2-D images of 3 channels with 1000 "
        'outputs: set [network] to step = "resnet50", bias_downsample = false, conv1_t_stride = 2.'
    )
    shapes, absent = refused(on_meta("resnet50"), file=file)
    assert shapes.startswith("weights.file: 2 tensors of other shapes: fc.weight is (4, 2048)")
    skip = 'Set weights.skip = ["fc.*"] to keep their fresh values.'
    assert shapes.endswith(f"{advice} {skip}")
    assert absent == (
        f"weights.file: {file} lacks 4 of the network's 324 tensors: "
        "layer1.0.downsample.0.bias, layer2.0.downsample.0.bias, layer3.0.downsample.0.bias, "
        f"layer4.0.downsample.0.bias. {advice} {skip}"
    )
    (head,) = refused(on_meta("resnet50", **RESNET), file=file)
    assert head.endswith(f"(1000,) in the file. {skip}")
    head, first = refused(on_meta("resnet50", channels=1, **RESNET), file=file)
    assert head.endswith(f"(1000,) in the file. {skip}")
    assert first.endswith('Set weights.first_layer = "mean" to fit it.')
    assert advice in refused(on_meta("densenet121"), file=file)[0]
    assert advice in refused(on_meta("resnet18"), file=file)[0]
    assert advice in refused(on_meta("resnet50", channels=3, dims=3), file=file)[0]


def test_another_stride_than_the_layouts_is_noted(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.safetensors", PUBLIC["resnet18"]().state_dict())
    target = on_meta("resnet18", bias_downsample=False)
    report = examine_weights(target, WeightsSettings(file=file, skip=("^fc",)))
    assert str(report).endswith(
        "2 skipped: fc.weight, fc.bias; torchvision's and timm's resnet18 has "
        "network.conv1_t_stride = 2, which no tensor shows, and here it is 1"
    )


def test_a_densenets_head_is_named_as_in_the_network(tmp_path: Path) -> None:
    small = DenseNet(growth=4, init=8, classes=7)
    file = saved(tmp_path / "w.safetensors", small.state_dict())
    (head,) = refused(on_meta("densenet121", init_features=8, growth_rate=4), file=file)
    assert head == (
        "weights.file: 2 tensors of other shapes: class_layers.out.weight is (4, 128) in the "
        "network and (7, 128) in the file, class_layers.out.bias is (4,) in the network and (7,) "
        'in the file. Set weights.skip = ["class_layers.out.*"] to keep their fresh values.'
    )
    assert refused(on_meta("densenet121"), file=file)[0].endswith(
        f"{file} is torchvision's and timm's densenet121 for 2-D images of 3 channels with 7 "
        'outputs: set [network] to step = "densenet121", init_features = 8, growth_rate = 4. '
        'Set weights.skip = ["class_layers.out.*"] to keep their fresh values.'
    )


def test_what_is_not_whole_or_not_one_network_is_not_recognised() -> None:
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in DenseNet(growth=4, init=8, classes=7).state_dict().items()
    }
    assert recognise(shapes) is not None
    lacking = {name: shape for name, shape in shapes.items() if name != "features.norm5.bias"}
    assert recognise(lacking) is None
    assert recognise({**shapes, "features.norm6.bias": (2,)}) is None
    assert recognise({**shapes, "features.norm5.bias": (1,)}) is None
    twice = {f"{who}.{name}": shape for who in "ab" for name, shape in shapes.items()}
    assert recognise(twice) is None
    assert recognise({"features.conv0.weight": (0, 3, 7, 7)}) is None
    assert recognise({name: (0, *shape[1:]) for name, shape in shapes.items()}) is None
    assert recognise({"layer1.0.conv1.weight": (2,), "conv1.weight": (2,)}) is None
    assert recognise({}) is None


def other_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"enc.{name}".replace("0.weight", "zero.w"): value for name, value in state.items()}


def test_names_of_another_layout_are_renamed(tmp_path: Path) -> None:
    source = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    file = saved(tmp_path / "w.safetensors", other_names(source.state_dict()))
    target = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    renaming = (("^enc\\.", ""), (r"^(\d*)zero\.w$", r"\g<1>0.weight"))
    report = start_from(target, WeightsSettings(file=file, rename=renaming))
    assert report is not None
    assert set(report.matched) == set(source.state_dict())
    assert torch.equal(target[0].weight, source[0].weight)  # type: ignore[arg-type]
    after_strip = (renaming[1],)
    chosen = WeightsSettings(file=file, strip=("enc.",), rename=after_strip)
    assert examine_weights(target, chosen) == report


def test_a_renaming_that_fits_nothing_or_joins_names_is_an_error(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    file = saved(tmp_path / "w.safetensors", module.state_dict())
    assert refused(module, file=file, rename=(("weight", "weight"), ("wieght", "weight"))) == [
        f"weights.rename[1]: 'wieght' fits no name in {file}. They are such as bias, weight."
    ]
    assert refused(module, file=file, rename=(("bias", "bias"), ("weight|bias", "weight"))) == [
        "weights.rename[1]: leaves one name, weight, of both bias and weight. "
        "Let the replacements differ."
    ]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            ("[", ""),
            "'[' is not a regular expression: unterminated character set at position 0.",
        ),
        (("a", r"\1"), r"'\\1' can't replace what 'a' finds: invalid group reference 1 at"),
        (("a", r"\g<x>"), r"'\\g<x>' can't replace what 'a' finds: unknown group name 'x'."),
    ],
)
def test_a_wrong_renaming_is_named_by_its_place(pair: tuple[str, str], message: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        PipelineBuilder().weights(file="w.safetensors", rename=[("a", "b"), pair]).build()
    (problem,) = caught.value.problems
    assert problem.path == "weights.rename[1]"
    assert problem.message.startswith(message)


def test_renaming_in_toml_and_on_the_command_line(tmp_path: Path) -> None:
    text = 'format = 1\n[weights]\nfile = "w.safetensors"\nrename = [[\'^a\\.\', "b."]]\n'
    builder = PipelineBuilder.from_toml(text)
    assert builder.build().configuration.weights.rename == ((r"^a\.", "b."),)
    assert PipelineBuilder.from_toml(builder.to_toml()) == builder
