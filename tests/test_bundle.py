"""MONAI bundles: MONAI's own command gives the run's answers with them, without medpipe."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from medpipe import ExportError, Registry, Run, Task, VerifiedExport, step, verify_export
from medpipe.builtin.bundle.step import Bundle
from medpipe.builtin.networks import NETWORKS, EfficientNet
from medpipe.builtin.segmentation.networks import SEGMENTATION_NETWORKS
from medpipe.builtin.transforms.transform_table import TABLE, Transform
from medpipe.export.contract import read_contract
from medpipe.plugin import (
    DataInfo,
    DecodedImage,
    ImageFiles,
    InfererStep,
    NetworkStep,
    ReaderStep,
    Reading,
    Segmentation,
    TransformStep,
    WholeRun,
)
from medpipe.steps import ChosenReader
from medpipe.system.files import sha256_of
from support.bundles import schema_file, without_medpipe, written
from support.drawn_dicom import write_dicom
from support.exported import RESIZED, in_memory, mixed_files, on_cpu, resnet, small, with_chain
from support.mask_layouts import volume
from support.transform_parameters import STEPS, required

LAYOUT = {
    "LICENSE",
    "configs/inference.json",
    "configs/metadata.json",
    "contract.json",
    "docs/README.md",
    "models/model.pt",
    "samples.safetensors",
    "verified.json",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of PNG of 8 and 16 bits and DICOM with a rescale, of three sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        root = mixed_files(tmp_path_factory.mktemp("data"))
        chosen = on_cpu().dataset("image_folder", root=root, channels=1)
        path = tmp_path_factory.mktemp("runs") / "run"
        small(resnet(with_chain(chosen, RESIZED)), path)
    return Run.load(path)


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle, which no other process has verified; not to be changed."""
    return written(run, tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """The bundle, to be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def close(found: VerifiedExport) -> None:
    assert found.samples >= 16
    assert found.batch_sizes == (1, 5) or found.batch_sizes == (2, 5)
    assert max(found.difference.values()) < 1e-4


@pytest.mark.long
def test_a_bundle_gets_its_name_once_monai_gives_the_runs_answers(run: Run, tmp_path: Path) -> None:
    found = run.export(tmp_path / "out", format="bundle")
    close(found)
    paths = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path / "out").as_posix() for path in paths}
    assert {name for name in names if not name.startswith("samples/")} == LAYOUT
    assert {Path(name).suffix for name in names if name.startswith("samples/")} == {".png", ".gz"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    kept = json.loads((tmp_path / "out" / "verified.json").read_text())
    assert VerifiedExport.of(found.path, kept) == found
    contract = read_contract(tmp_path / "out")
    assert contract["before"]["steps"] == []
    assert contract["graph"]["steps"][0]["step"] == "load_image"
    assert contract["input"]["formats"] == ["dicom", "nifti", "pictures"]
    assert contract["temperature"] == run.record["chosen_on_validation"]["temperature"]


@pytest.mark.long
def test_monai_runs_it_on_files_where_medpipe_is_not_installed(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    root = Path(run._read_configuration(None).dataset.root)  # type: ignore[attr-defined]
    from PIL import Image

    files = [path for path in sorted(root.rglob("*.*")) if int(path.stem) < 12]
    for mode in ("RGB", "RGBA", "P"):  # which no sample is
        grey = Image.open(
            next(path for path in files if path.suffix == ".png" and Image.open(path).mode == "L")
        )
        (tmp_path / "colours").mkdir(exist_ok=True)
        grey.convert(mode).save(tmp_path / "colours" / f"{mode}.png")
        files.append(tmp_path / "colours" / f"{mode}.png")
    for file in files:  # a space, and folders in the folder
        into = tmp_path / "some images" / file.parent.name / file.name
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, into)
    python = without_medpipe(tmp_path / "environment")
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    options = {
        "config_file": "configs/inference.json",
        "dataset_dir": str(tmp_path / "some images"),
        "output_dir": str(tmp_path / "out"),
        "device": "$torch.device('cpu')",
    }
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [python, "-m", "monai.bundle", "run", *given],
        cwd=bundle,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as rows:
        found = {Path(name).name: [float(cell) for cell in row] for name, *row in csv.reader(rows)}
    wanted = run.predict(files)
    assert {Path(id_).name for id_ in wanted.ids} == set(found)
    assert {Path(name).suffix for name in found} == {".png", ".dcm"}
    for id_, scores in zip(wanted.ids, wanted.scores, strict=True):
        np.testing.assert_allclose(found[Path(id_).name], scores, atol=1e-4)


def test_monai_finds_nothing_wrong_with_it(bundle: Path, tmp_path: Path) -> None:
    from monai.bundle import verify_metadata, verify_net_in_out

    meta, config = (bundle / "configs" / f"{name}.json" for name in ("metadata", "inference"))
    schema = str(schema_file(tmp_path))
    verify_metadata(meta_file=str(meta), filepath=schema)
    verify_net_in_out("network_def", meta_file=str(meta), config_file=str(config), device="cpu")
    described = json.loads(meta.read_text())
    del described["network_data_format"]["outputs"]["pred"]["num_channels"]
    (tmp_path / "metadata.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="num_channels"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=schema)


def test_it_names_no_patient_and_no_path_of_this_machine(run: Run, bundle: Path) -> None:
    root = run._read_configuration(None).dataset.root  # type: ignore[attr-defined]
    for path in bundle.rglob("*"):
        if path.is_file():
            assert str(root).encode() not in path.read_bytes(), path
    assert not list(bundle.rglob("*.dcm"))  # whose headers may name somebody


def test_its_weights_are_monais_own(run: Run, bundle: Path) -> None:
    import torch
    from monai.bundle import ConfigParser

    parser: Any = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    images = torch.rand(2, 1, 24, 24)
    torch.testing.assert_close(network.eval()(images), run.network().eval()(images))


TASKS: dict[str, tuple[Task, Any, tuple[int, ...]]] = {
    "regression": (
        Task(kind="regression", names=("age",), unit="years"),
        lambda n: 40.0 + n,
        (24, 20),
    ),
    "findings": (
        Task(kind="multilabel", names=("one", "two")),
        lambda n: (float(n % 2), float(n % 3 == 0)),
        (36, 32),
    ),
    "volumes": (Task(names=("a", "b")), lambda n: n % 2, (16, 14, 12)),
}


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_tasks(task: str, tmp_path: Path) -> None:
    asked, label, shape = TASKS[task]
    builder = on_cpu().dataset(in_memory(asked, label, shape=shape))
    if task == "findings":
        builder = builder.network("densenet121", init_features=8, growth_rate=4)
    else:
        builder = resnet(builder)
    done = small(builder, tmp_path / "run")
    found = verify_export(written(done, tmp_path / "out"))
    close(found)
    held = answers_of(tmp_path / "out")
    if task == "regression":
        assert min(scores.min() for scores in held) > 10  # years, not standard deviations
        said = (tmp_path / "out" / "docs" / "README.md").read_text()
        assert "age in years" in said
    else:
        assert all(0 <= scores.min() <= scores.max() <= 1 for scores in held)


def answers_of(folder: Path) -> list[Any]:
    from safetensors.numpy import load

    held = load((folder / "samples.safetensors").read_bytes())
    return [value for name, value in held.items() if name.endswith(".scores")]


@pytest.mark.long
def test_a_unet_writes_the_runs_masks_on_the_grids_of_volumes(tmp_path: Path) -> None:
    """Volumes that are turned and padded, in windows; values of masks that are not 1 and 2."""
    import nibabel

    for number in range(36):
        image, mask, _ = volume(number, side=22, values=(7, 3))
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # to the left and to the back
        for folder, values in (("images", image), ("masks", mask)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            made: Any = nibabel.Nifti1Image(values, affine)
            made.to_filename(tmp_path / "data" / folder / f"{number:02}.nii.gz")
    labels = {"shell": 7, "core": 3}
    builder = on_cpu().dataset("image_masks", root=tmp_path / "data", labels=labels)
    chain = (
        "load_image",
        "ensure_channel_first",
        ("orientation", {"axcodes": "RAS"}),
        ("divisible_pad", {"k": 4}),
        "scale_intensity",
        "to_tensor",
    )
    builder = with_chain(builder, chain).network("unet", channels=[4, 8], strides=[2])
    builder = builder.inferer(step("sliding_window", roi_size=[16, 16, 16]))
    done = (
        builder.trainer("supervised", max_epochs=2, learning_rate=1e-2)
        .loader(batch_size=1, workers=0)
        .split(validation=0.3, test=0.3)
        .build()
        .run(tmp_path / "run")
    )
    found = verify_export(written(done, tmp_path / "out"))
    assert (found.samples, found.batch_sizes) == (16, (1,))
    assert len(found.shapes) >= 2
    assert found.difference["labels"] < 1e-3
    from safetensors.numpy import load

    held = load((tmp_path / "out" / "samples.safetensors").read_bytes())
    values = np.unique(np.concatenate([v.ravel() for n, v in held.items() if "labels" in n]))
    assert len(values) > 1
    assert set(values) <= {0, 3, 7}


def change(folder: Path, name: str, to: Any) -> None:
    """Change a file and its digest in the contract."""
    (folder / name).write_text(json.dumps(to))
    contract = read_contract(folder)
    contract["files"][name] = sha256_of((folder / name).read_bytes())
    (folder / "contract.json").write_text(json.dumps(contract))


@pytest.mark.long
def test_preprocessing_that_is_left_out_is_found_by_the_numbers(copy: Path) -> None:
    name = "configs/inference.json"
    config = json.loads((copy / name).read_text())
    steps = config["preprocessing"]["transforms"]
    config["preprocessing"]["transforms"] = [s for s in steps if "Scale" not in s["_target_"]]
    change(copy, name, config)
    with pytest.raises(ExportError, match=r"scores: other numbers than the run's in \d+ of 16"):
        verify_export(copy)


@pytest.mark.long
def test_a_bundle_that_needs_medpipe_fails_with_the_cause(copy: Path) -> None:
    name = "configs/inference.json"
    config = json.loads((copy / name).read_text())
    config["run"].insert(0, "$__import__('medpipe')")
    change(copy, name, config)
    with pytest.raises(ExportError, match=r"monai\.bundle run fails: .*medpipe is blocked"):
        verify_export(copy)


@pytest.mark.parametrize(
    "name", ["configs/inference.json", "docs/README.md", "models/model.pt", "samples/00.png"]
)
def test_a_changed_or_missing_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"{name} (was changed|is damaged)"):
        verify_export(copy)
    (copy / name).unlink()
    with pytest.raises(ExportError, match=f"{name} can't be read"):
        verify_export(copy)


def test_weights_of_another_run_are_told_apart(copy: Path) -> None:
    from zipfile import ZipFile

    path = copy / "models" / "model.pt"
    with ZipFile(path) as archive:
        parts = {one.filename: archive.read(one) for one in archive.infolist()}
    (about,) = [name for name in parts if name.endswith("medpipe.json")]
    parts[about] = json.dumps({"medpipe_run": "theirs"}).encode()
    with ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(ExportError, match=r"models/model.pt is of another run: of theirs"):
        verify_export(copy)


@pytest.mark.long
def test_files_that_monai_reads_in_another_way_are_named(tmp_path: Path) -> None:
    """DICOM that stores white as 0, which MONAI's readers don't know."""
    random = np.random.default_rng(0)
    for number in range(40):
        values = random.integers(0, 200, (20, 20)).astype(np.uint16) + 50 * (number % 2)
        kind = {"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"}
        kind |= {"PhotometricInterpretation": "MONOCHROME1"} if number % 8 == 0 else {}
        write_dicom(tmp_path / "data" / "ab"[number % 2] / f"{number}.dcm", values, **kind)
    builder = on_cpu().dataset("image_folder", root=tmp_path / "data", channels=1)
    done = small(resnet(builder), tmp_path / "run")
    said = r"reads or transforms files in another way than the run:\n  \S+\.dcm has values that are"
    with pytest.raises(ExportError, match=said) as raised:
        done.export(tmp_path / "out", format="bundle")
    assert "Use --format onnx" in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_masks_of_images_that_were_resampled_are_refused(tmp_path: Path) -> None:
    chain = (*RESIZED[:2], ("resize", {"spatial_size": [16, 16], "mode": "bilinear"}))
    builder = with_chain(on_cpu().dataset("phantom_masks", samples=40, size=24), chain)
    done = small(builder.network("unet", channels=[4, 8], strides=[2]), tmp_path / "run")
    with pytest.raises(ExportError, match=r"The chain resamples images \(resize\)"):
        done.export(tmp_path / "out", format="bundle")


@attrs.frozen(kw_only=True)
class Tiny(NetworkStep):
    """A plugin's network."""

    name = "tiny"


@attrs.frozen(kw_only=True)
class Reads(ReaderStep):
    """A plugin's reader."""

    name = "reads"


@attrs.frozen(kw_only=True)
class Own(TransformStep):
    """A plugin's transform."""

    name = "own"


def whole(**changes: Any) -> WholeRun:
    """A run that can become a bundle, with changes."""
    registry = Registry.discover()
    made = {name: registry.create(TransformStep, name) for name in ("load_image", "to_tensor")}
    given = WholeRun(
        files=ImageFiles(reading=Reading(), formats=frozenset({"pictures"}), suffixes=(".png",)),
        steps=tuple(made.values()),
        network=registry.create(NetworkStep, "resnet10"),
        inferer=registry.create(InfererStep, "simple"),
        data=info(Task(names=("a", "b"))),
        shape=(1, 32, 32),
        title="run",
        about={},
    )
    return attrs.evolve(given, **changes)


def info(task: Task, dims: int = 2) -> DataInfo:
    outputs = task.step.outputs(task.names)
    shape = (64,) * dims
    return DataInfo(task=task, channels=1, spatial_shape=shape, spatial_dims=dims, outputs=outputs)


def files(**reading: Any) -> ImageFiles:
    formats = frozenset({"pictures", "dicom"})
    return ImageFiles(reading=Reading(**reading), formats=formats, suffixes=(".png", ".dcm"))


def refused(**changes: Any) -> str:
    with pytest.raises(ValueError, match="The run can't become a MONAI bundle") as raised:
        Bundle().beside(whole(**changes))
    assert "Use --format onnx, torch-export or safetensors." in str(raised.value)
    return str(raised.value)


def test_what_monai_has_not_is_refused_by_name_all_at_once() -> None:
    registry = Registry.discover()
    reader = ChosenReader(step=Reads(), title="Reads", made_by=None)
    said = refused(
        files=files(window="voi", readers=(reader,)),
        steps=(registry.create(TransformStep, "load_image"), Own()),
        network=Tiny(),
        inferer=registry.create(InfererStep, "flips"),
    )
    assert "dataset.window = 'voi': MONAI's readers know no windows of DICOM files." in said
    assert "reader reads: " in said
    assert "transform own: " in said
    assert "network tiny: " in said
    assert "inferer flips: " in said


def test_a_window_is_no_matter_where_no_file_is_dicom() -> None:
    pictures = ImageFiles(
        reading=Reading(window="voi"), formats=frozenset({"pictures"}), suffixes=(".png",)
    )
    assert "configs/inference.json" in Bundle().beside(whole(files=pictures))


def test_masks_that_monai_can_not_write_are_refused() -> None:
    registry = Registry.discover()
    unet = registry.create(NetworkStep, "unet")
    overlapping = info(Task(kind=Segmentation(overlapping=True), names=("a", "b")))
    assert "structures that may overlap" in refused(network=unet, data=overlapping)
    colours = info(Task(kind=Segmentation(values=("#ff0000",)), names=("a",)))
    assert "masks with colours" in refused(network=unet, data=colours)


FAMILIES = [one for one in NETWORKS if one.name in ("densenet121", "resnet10", "seresnet50")]
"""One of each family, whose parameters are the same."""


@pytest.mark.long
@pytest.mark.parametrize(
    "network", [*FAMILIES, EfficientNet, *SEGMENTATION_NETWORKS], ids=lambda one: one.name
)
def test_networks_are_built_by_monai_alone(network: type[NetworkStep]) -> None:
    import torch
    from monai.bundle import ConfigParser

    kind = "segmentation" if network in SEGMENTATION_NETWORKS else "multiclass"
    data = info(Task(kind=kind, names=("a", "b")))
    made = network()
    with torch.device("meta"):
        ours = made.build(data).state_dict()
    form = json.loads(json.dumps(dict(made.bundle_form(data) or {})))
    parser: Any = ConfigParser({"network_def": form})
    theirs = parser.get_parsed_content("network_def").state_dict()
    assert {n: t.shape for n, t in theirs.items()} == {n: t.shape for n, t in ours.items()}


@pytest.mark.parametrize(
    "entry", [entry for entry in TABLE if not entry.random], ids=lambda entry: entry.name
)
def test_every_transform_is_monais_alone(entry: Transform) -> None:
    import torch
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    made = STEPS[entry.name](**required(entry, 2))
    values = MetaTensor(torch.rand(2 if "remove" in entry.name else 1, 32, 32))
    if entry.name in ("squeeze_dim", "remove_repeated_channel"):
        values = MetaTensor(torch.rand(1, 32, 32).repeat(2 if "remove" in entry.name else 1, 1, 1))
    values.meta["original_channel_dim"] = 0
    form = json.loads(json.dumps(list(made.bundle_form(files()) or ())))
    parser: Any = ConfigParser({"chain": {"_target_": "Compose", "transforms": form}})
    theirs = parser.get_parsed_content("chain")({"image": values.clone()})["image"]
    ours = made.build()({"image": values.clone()})["image"]
    assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
    torch.testing.assert_close(torch.as_tensor(theirs), torch.as_tensor(ours))


@pytest.mark.parametrize("channels", [1, 3, "auto", None])
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("axes", ["wh", "hw"])
def test_pictures_are_read_as_by_medpipe_or_refused(
    mode: str, channels: Any, axes: str, tmp_path: Path
) -> None:
    from monai.bundle import ConfigParser
    from PIL import Image

    random = np.random.default_rng(0)
    if mode == "I;16":
        picture = Image.fromarray(random.integers(0, 60000, (6, 9)).astype(np.uint16))
    else:
        picture = Image.fromarray(random.integers(0, 255, (6, 9, 3)).astype(np.uint8)).convert(mode)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    picture.save(tmp_path / "a.png", exif=turned)
    reading = Reading(channels=channels)
    made = STEPS["load_image"](axes=axes)
    ours = made.build()({"image": str(tmp_path / "a.png"), "reading": reading})["image"]
    chosen = ImageFiles(reading=reading, formats=frozenset({"pictures"}), suffixes=(".png",))
    form = [dict(one) for one in made.bundle_form(chosen) or ()]
    parser: Any = ConfigParser(
        {
            "imports": ["$import PIL.ImageOps as ImageOps"],
            "chain": {"_target_": "Compose", "transforms": form},
        }
    )
    chain = parser.get_parsed_content("chain")
    if mode == "I;16" and channels == 3:
        with pytest.raises(RuntimeError):  # Pillow would cut 16 bits off at 255
            chain({"image": str(tmp_path / "a.png")})
        return
    theirs = chain({"image": str(tmp_path / "a.png")})["image"]
    np.testing.assert_array_equal(np.asarray(theirs), np.asarray(ours))


def test_samples_of_several_files_are_refused(tmp_path: Path) -> None:
    from medpipe.export.file_samples import _original
    from medpipe.plugin import Series
    from medpipe.steps import Sample

    class Trained:
        reading = Reading()

    made = Sample(id="a", image=Series(files=("a.dcm", "b.dcm")), label=0)
    with pytest.raises(ExportError, match="The sample a is made of several files"):
        _original(made, Trained())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "channels", "suffix"),
    [
        (np.arange(12, dtype=np.uint8).reshape(3, 4), False, ".png"),
        (np.arange(12, dtype=np.float64).reshape(3, 4) * 1000, False, ".png"),
        (np.arange(36, dtype=np.uint8).reshape(3, 4, 3), True, ".png"),
        (np.arange(12, dtype=np.float32).reshape(3, 4) - 0.5, False, ".nii.gz"),
        (np.arange(24, dtype=np.int16).reshape(3, 4, 2) - 7, False, ".nii.gz"),
        (np.arange(48, dtype=np.float32).reshape(3, 4, 2, 2) / 3, True, ".nii.gz"),
    ],
)
def test_a_copy_holds_the_values_as_they_are(
    values: Any, channels: bool, suffix: str, tmp_path: Path
) -> None:
    from medpipe.export.file_samples import _copied
    from medpipe.plugin import read_image
    from medpipe.steps import Sample

    decoded = DecodedImage(values=values, channels=channels)
    sample = Sample(id="a", image=decoded, label=0)
    content, found = _copied(decoded, sample, pictures=True)
    assert found == suffix
    (tmp_path / f"a{suffix}").write_bytes(content)
    again = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.values, values.astype(np.float32))
    assert again.channels == channels
