"""What this plugin adds to timm: names, images, weights, and a run with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from medpipe_timm import TimmNetwork
from medpipe_timm.__main__ import main
from safetensors.torch import load_file, save_file

import medpipe
from medpipe.plugin import DataError, DataInfo, Multiclass, Segmentation, Task


def data_info(
    *,
    channels: int = 3,
    sides: tuple[int | None, ...] = (32, 32),
    outputs: int = 2,
    kind: Any = None,
) -> DataInfo:
    return DataInfo(
        task=Task(kind=kind or Multiclass(), names=tuple(map(str, range(outputs)))),
        channels=channels,
        spatial_shape=sides,
        spatial_dims=len(sides),
        outputs=outputs,
    )


def timms(model: str, file: Path | None = None, **arguments: Any) -> Any:
    """timm's own network, and its weights in a file where one is named."""
    torch.manual_seed(1)
    network: Any = timm.create_model(model, **arguments)
    if file is not None:
        save_file(network.state_dict(), file)
    return network


def refused(step: TimmNetwork, data: DataInfo) -> str:
    with pytest.raises(medpipe.ConfigError) as error:
        step.build(data)
    (problem,) = error.value.problems
    return str(problem)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache, empty, and no connection to the hub."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet", "resnet10t"])
def test_it_is_timms_network(model: str, channels: int) -> None:
    sides: dict[str, Any] = {"img_size": (32, 48)} if model == "test_vit" else {}
    theirs = timms(model, num_classes=4, in_chans=channels, drop_rate=0.2, **sides)
    torch.manual_seed(1)
    data = data_info(channels=channels, sides=(32, 48), outputs=4)
    ours: Any = TimmNetwork(model=model, dropout=0.2).build(data)
    assert ours.get_classifier().in_features
    dropped = [layer.p for layer in ours.modules() if isinstance(layer, torch.nn.Dropout)]
    assert 0.2 in dropped or ours.drop_rate == 0.2
    some = torch.rand(2, channels, 32, 48)
    with torch.no_grad():
        assert torch.equal(ours.eval()(some), theirs.eval()(some))


def test_an_unknown_name_is_refused_with_similar_ones() -> None:
    said = refused(TimmNetwork(model="resnet81"), data_info())
    assert said.startswith(f"network.model: timm {timm.__version__} has no network 'resnet81'. ")
    assert "Similar names are resnet18" in said or "resnet61q" in said
    said = refused(TimmNetwork(model="resnet18.a9_in1k"), data_info())
    assert "no weights 'a9_in1k' of resnet18. Similar names are resnet18.a" in said


def test_images_that_do_not_fit_are_refused_with_a_remedy() -> None:
    step = TimmNetwork(model="test_vit")
    with pytest.raises(DataError, match=r"patches of 16 x 16 .* 50 x 32 .* Make them 48 x 32 by"):
        step.build(data_info(sides=(50, 32)))
    with pytest.raises(DataError, match=r"these have several.* such as to 160 x 160 pixels"):
        step.build(data_info(sides=(None, 32)))
    with pytest.raises(DataError, match="these are volumes"):
        step.build(data_info(sides=(32, 32, 32)))
    with pytest.raises(DataError, match="it gives no masks"):
        step.build(data_info(kind=Segmentation()))
    with pytest.raises(DataError, match=r"xcit_nano.* 50 x 50 .*divide.*made for 224 x 224"):
        TimmNetwork(model="xcit_nano_12_p16_224").build(data_info(sides=(50, 50)))
    TimmNetwork(model="test_resnet").build(data_info(sides=(None, 50)))


def test_weights_of_a_file_are_fitted_to_channels_and_outputs(tmp_path: Path) -> None:
    theirs = timms("test_resnet", tmp_path / "w.safetensors", num_classes=10).state_dict()
    torch.save({"state_dict": {f"module.{key}": theirs[key] for key in theirs}}, tmp_path / "w.pth")
    found = {}
    for name in ("w.safetensors", "w.pth"):
        step = TimmNetwork(model="test_resnet", weights=str(tmp_path / name))
        torch.manual_seed(5)
        found[name] = step.build(data_info(channels=1)).state_dict()
    grey = found["w.safetensors"]
    assert all(torch.equal(grey[key], found["w.pth"][key]) for key in grey)
    torch.testing.assert_close(grey["conv1.0.weight"], theirs["conv1.0.weight"].sum(1, True))
    same = [key for key in grey if not key.startswith(("fc.", "conv1.0."))]
    assert len(same) > 50
    assert all(torch.equal(grey[key], theirs[key]) for key in same)
    torch.manual_seed(5)
    bare = step.untrained().build(data_info(channels=1)).state_dict()
    assert torch.equal(grey["fc.bias"], bare["fc.bias"])
    whole = step.build(data_info(outputs=10)).state_dict()
    assert all(torch.equal(whole[key], theirs[key]) for key in theirs)


def test_a_transformer_gets_its_positions_at_the_size_of_the_images(tmp_path: Path) -> None:
    theirs = timms("test_vit", tmp_path / "vit.safetensors", num_classes=0)
    step = TimmNetwork(model="test_vit", weights=str(tmp_path / "vit.safetensors"))
    ours: Any = step.build(data_info(sides=(64, 32)))
    theirs.set_input_size((64, 32))
    with torch.no_grad():
        some = torch.rand(2, 3, 64, 32)
        torch.testing.assert_close(
            ours.eval().forward_features(some), theirs.eval().forward_features(some)
        )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_file_that_does_not_fit_is_refused_with_names(tmp_path: Path, device: str) -> None:
    def said(model: str, file: str) -> str:
        with torch.device(device):
            return refused(TimmNetwork(model=model, weights=file), data_info())

    vit = tmp_path / "vit.safetensors"
    timms("test_vit", vit)
    assert (found := said("test_resnet", str(vit))).startswith("network.weights: ")
    assert "missing, such as conv1.0.weight" in found
    assert "unknown, such as blocks.0." in found
    state = load_file(vit)
    state["head.weight"] = state["head.weight"][:, :5].contiguous()
    save_file(state, vit)
    assert "1 of other shapes: head.weight is 1000 x 5 in the file and 1000 x 64 in the" in said(
        "test_vit", str(vit)
    )
    assert "there is no file pretraind. Write 'none', 'pretrained', or" in said(
        "test_vit", "pretraind"
    )
    (tmp_path / "noise.pth").write_bytes(b"noise")
    assert "noise.pth can't be read as weights" in said("test_vit", str(tmp_path / "noise.pth"))
    torch.save(timms("test_vit"), tmp_path / "whole.pth")
    assert "whole.pth can't be read as weights" in said("test_vit", str(tmp_path / "whole.pth"))
    torch.save({"model": {"epoch": 3}}, tmp_path / "odd.pth")
    assert "'epoch' is no tensor" in said("test_vit", str(tmp_path / "odd.pth"))


def test_without_a_connection_the_error_says_how_to_fetch(offline: Path) -> None:
    step = TimmNetwork(model="test_resnet", weights="pretrained")
    said = refused(step, data_info())
    assert "network.weights: the weights of test_resnet can't be had: LocalEntryNotFound" in said
    assert "hf download timm/test_resnet.r160_in1k model.safetensors --local-dir test" in said
    assert "set network.weights = 'test_resnet/model.safetensors'." in said
    with torch.device("meta"):  # the check before a run downloads nothing
        assert next(step.build(data_info()).parameters()).is_meta


def test_weights_in_the_hubs_cache_need_no_connection(offline: Path) -> None:
    there = offline / "models--timm--test_resnet.r160_in1k"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text("0" * 40)
    (there / "snapshots" / ("0" * 40)).mkdir(parents=True)
    theirs = timms("test_resnet", there / "snapshots" / ("0" * 40) / "model.safetensors")
    ours = TimmNetwork(model="test_resnet", weights="pretrained").build(data_info()).state_dict()
    state = theirs.state_dict()
    assert all(torch.equal(ours[key], state[key]) for key in state if not key.startswith("fc."))


def test_networks_without_published_weights_are_refused() -> None:
    said = refused(TimmNetwork(model="maxvit_pico_rw_256", weights="pretrained"), data_info())
    assert "timm publishes no weights of maxvit_pico_rw_256. Set network.weights = 'none'" in said


def test_a_run_starts_from_a_file_and_predicts_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = timms("test_resnet", tmp_path / "w.safetensors").state_dict()
    pipeline = (
        medpipe.PipelineBuilder(device="cpu")
        .dataset("phantom", samples=40, size=32)
        .network("timm", model="test_resnet", weights="w.safetensors")
        .trainer("supervised", max_epochs=2, parameters=[{"match": r"^(?!fc\.)", "freeze": True}])
        .loader(batch_size=8, workers=0)
        .build()
    )
    run = pipeline.run("run")
    (tmp_path / "w.safetensors").unlink()
    network = medpipe.Run.load("run").network("last").state_dict()
    kept = [key for key in theirs if not key.startswith(("fc.", "conv1.0."))]
    assert all(torch.equal(network[key], theirs[key]) for key in kept)
    assert run.metrics["test"]["accuracy"] >= 0
    assert "there is no file w.safetensors" in str(pipeline.check())


@pytest.mark.parametrize("model", ["test_vit.r160_in1k", "mobilenetv3_small_050"])
def test_the_configuration_that_is_printed_can_be_used(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([model]) == 0
    text = capsys.readouterr().out
    assert f'model = "{model}' in text
    builder = medpipe.PipelineBuilder.from_toml(f"format = 1\n{text}")
    pipeline = builder.dataset("phantom", samples=40).loader(workers=0).build()
    report = pipeline.check()
    assert report.ok, report
    assert main(["resnet81"]) == 1
    assert "has no network 'resnet81'" in capsys.readouterr().err
    assert main([]) == 2
