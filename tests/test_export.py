"""Exports give what their runs give, or get no name; `verify` says what is wrong with one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from medpipe import (
    ExportError,
    PipelineBuilder,
    Registry,
    Run,
    RunError,
    Task,
    VerifiedExport,
    step,
    verify_export,
)
from medpipe.export import writing
from medpipe.export.contract import digest_of, read_contract
from medpipe.plugin import ExportStep, NetworkStep, hookimpl
from medpipe.system.files import sha256_of
from support.exported import RESIZED, in_memory, mixed_files, on_cpu, resnet, small, with_chain
from support.marks import long, rare
from support.mask_layouts import pictures
from support.programs import call, exit_code

ALL = ["onnx", "torch_export", "safetensors"]  # bundles are in test_bundle.py
FORMATS = [long(name) for name in ALL]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of files of several kinds and sizes, which are resized in the chain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        root = mixed_files(tmp_path_factory.mktemp("data"))
        chosen = on_cpu().dataset("image_folder", root=root, channels=1)
        path = tmp_path_factory.mktemp("runs") / "run"
        small(resnet(with_chain(chosen, RESIZED)), path)
    return Run.load(path)


@pytest.fixture(scope="module")
def program(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its program of torch.export, which no other process has verified; not to be changed."""
    path = tmp_path_factory.mktemp("exports")
    write(run, path, "torch_export")
    return path


def write(run: Run, folder: Path, format_: str) -> None:
    """Write an export as `Run.export` does before it lets a fresh process verify it."""
    made: Any = Registry.discover().create(ExportStep, format_)
    writing.write_unverified(run.trained("best", None), run.record, folder, made)


@pytest.fixture
def copy(program: Path, tmp_path: Path) -> Path:
    """The program, to be changed."""
    return Path(shutil.copytree(program, tmp_path / "copy"))


def close(found: VerifiedExport) -> None:
    assert found.samples >= 16
    assert len(found.batch_sizes) >= 2
    assert max(found.difference.values()) < 1e-4


@pytest.mark.parametrize("format_", FORMATS)
def test_files_of_several_kinds_and_sizes(run: Run, format_: str, tmp_path: Path) -> None:
    found = run.export(tmp_path / "out", format=format_)
    close(found)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    suffix = Registry.discover().exports[format_].suffix
    names = {"contract.json", "samples.safetensors", "verified.json", f"model.{suffix}"}
    assert written == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert attrs.evolve(verify_export(tmp_path / "out"), path=found.path) == found
    contract = read_contract(tmp_path / "out")
    inside = [one["step"] for one in contract["graph"]["steps"]]
    before = [one["step"] for one in contract["before"]["steps"]]
    if format_ == "safetensors":
        assert (inside, found.shapes) == ([], ((1, 24, 24),))
        assert contract["input"]["shape"] == [None, 1, 24, 24]
        assert before[-1] == "to_tensor"
    else:
        assert len(found.shapes) >= 2
        assert inside == ["resize", "scale_intensity", "to_tensor"]
        assert before == ["load_image", "ensure_channel_first"]
        assert contract["input"]["shape"] == [None, 1, None, None]
        assert contract["input"]["range"][1] > 30000  # the PNGs of 16 bits
        assert contract["input"]["range"][0] < -900  # the DICOM files' rescale
    assert contract["input"]["axes"] == ["batch", "channel", "width", "height"]
    assert contract["run"]["id"] == run.record["id"]
    assert contract["temperature"] == run.record["chosen_on_validation"]["temperature"]


@pytest.mark.long
def test_a_program_gives_what_the_run_predicts_without_medpipe(run: Run, program: Path) -> None:
    """Files through a program in a process that imports torch and Pillow alone."""
    root = Path(run._read_configuration(None).dataset.root)  # type: ignore[attr-defined]
    files = sorted(root.rglob("*.png"))[:6]
    code = f"""
import sys, json, numpy, torch
from PIL import Image
graph = torch.export.load({str(program / "model.pt2")!r}).module()
for name in {[str(file) for file in files]!r}:
    values = numpy.asarray(Image.open(name)).astype("float32").T  # the contract: width first
    print(json.dumps(graph(torch.tensor(values)[None, None])["scores"][0].tolist()))
assert not [name for name in sys.modules if name.startswith(("medpipe", "monai"))]
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    given = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = run.predict(files)
    order = [wanted.ids.index(str(file)) for file in files]
    np.testing.assert_allclose(given, wanted.scores[order], atol=1e-4)


@pytest.mark.parametrize("format_", [long("onnx"), long("torch_export"), rare("safetensors")])
def test_a_model_holds_no_image_and_no_path(run: Run, format_: str, tmp_path: Path) -> None:
    from zipfile import ZipFile

    run.export(tmp_path / "out", format=format_)
    (model,) = (tmp_path / "out").glob("model.*")
    parts = [model.read_bytes()]
    if format_ == "torch_export":
        with ZipFile(model) as archive:
            parts = [archive.read(name) for name in archive.namelist()]
    images = [known.input.astype(np.float32) for known in samples_of(tmp_path / "out")]
    for part in parts:
        assert not [image for image in images if image[0, 0].tobytes() in part]
        assert str(Path(writing.__file__).parents[2]).encode() not in part


TASKS: dict[str, tuple[Task, Any, tuple[int, ...], str]] = {
    "regression": (
        Task(kind="regression", names=("age",), unit="years"),
        lambda n: 40.0 + n,
        (24, 20),
        "numbers",
    ),
    "findings": (
        Task(kind="multilabel", names=("one", "two")),
        lambda n: (float(n % 2), float(n % 3 == 0)),
        (24, 20),
        "findings",
    ),
    "volumes": (Task(names=("a", "b")), lambda n: n % 2, (16, 14, 12), "class"),
}


@pytest.mark.parametrize(
    ("task", "format_"),
    [
        (long if format_ == ALL[place] else rare)(task, format_)
        for place, task in enumerate(TASKS)
        for format_ in ALL
    ],
)
def test_tasks(task: str, format_: str, tmp_path: Path) -> None:
    asked, label, shape, _ = TASKS[task]
    builder = on_cpu().dataset(in_memory(asked, label, shape=shape))
    done = small(resnet(builder), tmp_path / "run")
    found = done.export(tmp_path / "out", format=format_)
    close(found)
    contract = read_contract(tmp_path / "out")
    assert contract["data"]["task"]["unit"] == asked.unit
    assert contract["input"]["shape"] == [None, 1, *shape[1::-1], *shape[2:]]
    held = np.concatenate([known.outputs["scores"] for known in samples_of(tmp_path / "out")])
    if task == "regression":
        assert held.min() > 10  # years, not standard deviations
    else:
        assert 0 <= held.min() <= held.max() <= 1


def samples_of(folder: Path) -> Any:
    from medpipe.export.samples import read

    return read((folder / "samples.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("windows", "format_"),
    [
        long(True, "onnx"),
        long(False, "torch_export"),
        *(rare(True, format_) for format_ in ("torch_export", "safetensors")),
        *(rare(False, format_) for format_ in ("onnx", "safetensors")),
    ],
)
def test_a_unet(format_: str, windows: bool, tmp_path: Path) -> None:
    builder = on_cpu().dataset("phantom_masks", samples=60, size=32)
    builder = builder.network("unet", channels=[4, 8], strides=[2])
    if windows:
        builder = builder.inferer(step("sliding_window", roi_size=[16, 16]))
    done = small(builder, tmp_path / "run")
    close(done.export(tmp_path / "out", format=format_))
    contract = read_contract(tmp_path / "out")
    names = [one["name"] for one in contract["outputs"]]
    if windows:
        assert contract["input"]["shape"] == [None, 1, 16, 16]
        assert names == ["outputs"]
        assert contract["after"]["inferer"]["roi_size"] == [16, 16]
        assert "scale_intensity" in [one["step"] for one in contract["before"]["steps"]]
    else:
        assert names == ["scores", "labels"]


@pytest.mark.long
def test_windows_that_are_assembled_by_monai_are_the_runs_masks(tmp_path: Path) -> None:
    """The contract is enough: steps before, windows through the program, MONAI's mean of them."""
    import torch
    from monai.inferers import sliding_window_inference
    from PIL import Image

    pictures(tmp_path / "data", 40, size=(40, 28))
    builder = on_cpu().dataset("image_masks", root=tmp_path / "data", labels={"disc": 255})
    builder = with_chain(builder, ("load_image", "ensure_channel_first", "scale_intensity"))
    builder = builder.network("unet", channels=[4, 8], strides=[2])
    builder = builder.inferer(step("sliding_window", roi_size=[16, 16], overlap=0.5))
    done = (
        builder.trainer("supervised", max_epochs=3, learning_rate=1e-2)
        .loader(batch_size=8, workers=0)
        .split(validation=0.3, test=0.3)
        .build()
        .run(tmp_path / "run")
    )
    write(done, tmp_path, "torch_export")
    contract = read_contract(tmp_path)
    before = [one["step"] for one in contract["before"]["steps"]]
    assert before == ["load_image", "ensure_channel_first", "scale_intensity"]
    graph: Any = torch.export.load(tmp_path / "model.pt2").module()
    files = sorted((tmp_path / "data" / "images").iterdir())[:6]
    done.predict(files, masks=tmp_path / "masks")
    after, found = contract["after"]["inferer"], set()
    for file in files:
        values = torch.from_numpy(np.array(Image.open(file), np.float32)).T  # the width first
        image = (values - values.min()) / (values.max() - values.min())
        with torch.no_grad():
            outputs: Any = sliding_window_inference(
                image[None, None],
                roi_size=after["roi_size"],
                sw_batch_size=after["sw_batch_size"],
                predictor=lambda windows: graph(windows)["outputs"],
                overlap=after["overlap"],
                mode=after["mode"],
            )
        mask = outputs[0].argmax(dim=0).T.numpy().astype(bool)
        (path,) = (tmp_path / "masks").rglob(f"{file.stem}.png")
        np.testing.assert_array_equal(mask, np.array(Image.open(path)) == 255)
        found |= set(np.unique(mask))
    assert found == {False, True}


@pytest.mark.parametrize("format_", [long("onnx"), rare("torch_export"), rare("safetensors")])
def test_a_densenet(format_: str, tmp_path: Path) -> None:
    builder = on_cpu().dataset("phantom", samples=60, size=32).network("densenet121")
    close(small(builder, tmp_path / "run").export(tmp_path / "out", format=format_))


@pytest.mark.parametrize("format_", [rare("onnx"), long("torch_export"), rare("safetensors")])
def test_flips_are_in_the_graph(format_: str, tmp_path: Path) -> None:
    builder = on_cpu().dataset("phantom", samples=60, size=16).inferer("flips")
    close(small(resnet(builder), tmp_path / "run").export(tmp_path / "out", format=format_))


@attrs.frozen(kw_only=True)
class Tiny(NetworkStep):
    """A plugin's network."""

    name = "tiny"

    def build(self, data: Any) -> Any:
        from torch import nn

        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, data.outputs))


@attrs.frozen(kw_only=True)
class Choosy(NetworkStep):
    """A network that looks at a value, and so can't be traced."""

    name = "choosy"

    def build(self, data: Any) -> Any:
        import torch
        from torch import nn

        class Looks(nn.Linear):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                means = images.mean((-1, -2))
                positive = images.is_meta or float(means.detach().sum()) > 0
                return super().forward(means if positive else -means)

        return Looks(1, data.outputs)


@hookimpl
def medpipe_networks() -> list[type[NetworkStep]]:
    return [Tiny, Choosy]


def of_a_plugin(network: str, output: Path) -> Run:
    registry = Registry.discover().with_plugin(sys.modules[__name__], name="script")

    builder = PipelineBuilder(device="cpu", registry=registry)
    return small(builder.dataset("phantom", samples=60, size=16).network(network), output)


@pytest.mark.long
def test_a_plugins_network_needs_no_plugin_as_a_program(tmp_path: Path) -> None:
    done = of_a_plugin("tiny", tmp_path / "run")
    close(done.export(tmp_path / "out", format="torch_export"))
    close(done.export(tmp_path / "graph", format="onnx"))
    # Weights alone need it, and a script is no plugin that another process could find.
    with pytest.raises(ExportError, match="There is no network step 'script:tiny'"):
        done.export(tmp_path / "weights", format="safetensors")
    assert not (tmp_path / "weights").exists()


def test_what_cannot_be_traced_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    done = of_a_plugin("choosy", tmp_path / "run")
    with pytest.raises(ExportError, match="PyTorch can't trace the network Looks"):
        done.export(tmp_path / "out", format="torch_export")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_written_export_is_verified(program: Path) -> None:
    found = verify_export(program)
    close(found)
    assert found.format == "torch_export"
    assert len(found.shapes) >= 2


def one_bit(path: Path) -> None:
    """Change the lowest bit of a weight."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_one_bit_is_found(copy: Path) -> None:
    one_bit(copy / "model.pt2")
    with pytest.raises(ExportError, match=r"model\.pt2 (was changed|is damaged)"):
        verify_export(copy)


@pytest.mark.long
def test_one_bit_of_a_weight_is_found(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path / "out", format="safetensors")
    one_bit(tmp_path / "out" / "model.safetensors")
    with pytest.raises(ExportError, match=r"model\.safetensors was changed: .* weights"):
        verify_export(tmp_path / "out")


@pytest.mark.long
def test_files_of_two_runs_are_told_apart(copy: Path, tmp_path: Path) -> None:
    other = small(resnet(on_cpu().dataset("phantom", samples=60, size=16)), tmp_path / "other")
    other.export(tmp_path / "theirs", format="torch_export")
    shutil.copy(tmp_path / "theirs" / "model.pt2", copy / "model.pt2")
    with pytest.raises(ExportError, match=f"model.pt2 is of another run: of {other.record['id']}"):
        verify_export(copy)


def test_a_changed_contract_is_found(copy: Path) -> None:
    contract = read_contract(copy)
    contract["data"]["task"]["names"].reverse()
    (copy / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(ExportError, match="The contract was changed"):
        verify_export(copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "can't be read"),
        ("[]", "unknown format"),
        ('{"format": 2}', "unknown format"),
        ('{"format": 1, "export": {}}', "lacks run, data, graph, outputs"),
    ],
)
def test_a_broken_contract_is_named(copy: Path, text: str, said: str) -> None:
    (copy / "contract.json").write_text(text)
    with pytest.raises(ExportError, match=said):
        verify_export(copy)


def test_changed_samples_are_found(copy: Path) -> None:
    one_bit(copy / "samples.safetensors")
    with pytest.raises(ExportError, match=r"samples\.safetensors was changed"):
        verify_export(copy)


@pytest.mark.parametrize("name", ["model.pt2", "samples.safetensors", "contract.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ExportError, match=name.replace(".", r"\.")):
        verify_export(copy)


def without_steps(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an export whose graph lacks the steps that its contract says it has."""
    from medpipe.export import graph

    whole = graph.ExportedNetwork.__init__

    def lacking(self: Any, network: Any, **parts: Any) -> None:
        whole(self, network, **{**parts, "forms": ()})

    monkeypatch.setattr(graph.ExportedNetwork, "__init__", lacking)
    folder.mkdir()
    write(run, folder, "torch_export")


@pytest.mark.long
def test_a_graph_without_its_preprocessing_fails_and_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_steps(run, tmp_path / "lacking", monkeypatch)
    said = r"the graph lacks the preprocessing .* \(resize, scale_intensity, to_tensor\)"
    with pytest.raises(ExportError, match=said):
        verify_export(tmp_path / "lacking")
    with pytest.raises(ExportError, match="is not written: a fresh process") as raised:
        run.export(tmp_path / "out", format="torch_export")
    assert "lacks the preprocessing" in str(raised.value)
    assert str(tmp_path / "out") in str(raised.value)
    assert ".part" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["lacking"]


@pytest.mark.long
def test_other_weights_with_right_digests_fail_by_their_numbers(run: Run, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load, save

    folder = tmp_path / "out"
    run.export(folder, format="safetensors")
    content = (folder / "model.safetensors").read_bytes()
    step_ = Registry.discover().create(ExportStep, "safetensors")
    about, tensors = dict(step_.about(content)), load(content)
    last = next(name for name in tensors if name.endswith("fc.bias"))
    tensors[last] = tensors[last] + torch.tensor([0.5, -0.5])
    changed = save(tensors, metadata=about)
    contract = read_contract(folder)
    contract["files"]["model.safetensors"] = sha256_of(changed)
    (folder / "model.safetensors").write_bytes(changed)
    (folder / "contract.json").write_text(json.dumps(contract))
    assert about["medpipe_contract"] == digest_of(contract)
    with pytest.raises(ExportError, match="scores: other numbers than the run's in"):
        verify_export(folder)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    done = small(resnet(on_cpu().dataset("phantom", samples=12, size=16)), tmp_path / "run")
    with pytest.raises(ExportError, match="on 16 samples, and the data set has only 12"):
        done.export(tmp_path / "out", format="safetensors")


def test_nothing_is_overwritten(run: Run, program: Path) -> None:
    with pytest.raises(RunError, match="is there already"):
        run.export(program, format="torch_export")


@pytest.mark.long
def test_the_commands(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    given = ("export", str(run.path), "--format", "safetensors", "--output", str(out))
    assert exit_code(*given) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"safetensors: the answers of run {run.record['id'][:8]} on 16")
    assert f"The export is in {out}" in printed
    assert exit_code("verify", str(out)) == 0
    assert capsys.readouterr().out.startswith("safetensors: the answers of run ")
    one_bit(out / "model.safetensors")
    done = call("verify", str(out))
    assert done.returncode == 2
    assert "was changed" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_format_is_named(run: Run, tmp_path: Path) -> None:
    done = call("export", str(run.path), "--format", "onx", "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "Did you mean 'onnx'?" in done.stderr


def test_a_format_that_is_not_installed_says_how(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"Install medpipe-imaging\[onnx\]"):
        run.export(tmp_path / "out", format="onnx")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [*ALL, "bundle"])
def test_every_format_keeps_what_it_is_of(name: str) -> None:
    """Which run a file is of can be read without loading what it holds."""
    import torch

    from medpipe.plugin import ExportParts

    module = torch.nn.Linear(3, 2).eval()

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"scores": self.network(image)}

    def program_() -> torch.export.ExportedProgram:
        axes = {"image": {0: torch.export.Dim.DYNAMIC}}
        return torch.export.export(Named(), (torch.zeros(2, 3),), dynamic_shapes=axes)

    made = Registry.discover().create(ExportStep, name)
    about = {"medpipe_run": "r", "medpipe_contract": "c"}
    parts = ExportParts(network=module, program=program_, outputs=("scores",), about=about)
    content = made.write(parts)
    assert dict(made.about(content)).items() >= about.items()
    images = np.random.default_rng(0).random((5, 3), np.float32)
    found = made.open(content, Named)(images)["scores"]
    wanted = module(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)
