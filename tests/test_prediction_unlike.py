"""Images that look unlike those that a run was trained on are said to be, and no others."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medpipe import Registry, Run, RunSet
from medpipe.cli import main
from medpipe.data.readers.reader import read_image
from support import blobs
from support.drawn_dicom import write_dicom
from support.folders import image_folder, phantom
from support.interrupted import begin
from support.trained import builder, run_on, write_png


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "xray", samples=60)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        path = tmp_path_factory.mktemp("runs") / "run"
        run_on(root, path)
    return Run.load(path)


@pytest.fixture(scope="module")
def mr(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on single DICOM files of MR, with pixels of 1 mm."""
    folder = tmp_path_factory.mktemp("mr")
    for number, sample in enumerate(phantom(36, 32).samples):
        path = folder / "data" / f"class{sample.label % 2}" / f"{number:02}.dcm"
        write_dicom(path, sample.image.astype(np.uint16) * 4, Modality="MR", PixelSpacing=[1, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(folder / "cache"))
        builder().dataset("image_folder", root=folder / "data").build().run(folder / "run")
    return Run.load(folder / "run")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on NIfTI volumes with slices of 1 mm, which it segments."""
    folder = tmp_path_factory.mktemp("volumes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(folder / "cache"))
        blobs.blobs(folder / "data", epochs=1).build().run(folder / "run")
    return Run.load(folder / "run")


def pixels(number: int = 3, size: int = 32) -> Any:
    return phantom(12, size).samples[number].image


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_run_keeps_what_its_training_images_look_like(run: Run, root: Path) -> None:
    known = run.record["data"]["images"]
    splits = (run.path / "splits.csv").read_text().splitlines()
    training = [line for line in splits if "training" in line]
    assert known["measured"] == len(training) == run.record["data"]["splits"]["training"]
    images = [np.asarray(Image.open(root / line.split(",")[0])) for line in training]
    assert known == {
        "measured": len(images),
        "channels": [1],
        "sides": {"2": [[32, 32], [32, 32]]},
        "values": [min(i.min() for i in images), max(i.max() for i in images)],
        "widths": [min(map(np.ptp, images)), float(np.median([np.ptp(i) for i in images]))],
        "constant": False,
        "spacing": None,
        "modalities": [],
    }


def test_its_own_images_are_like_them(
    run: Run, mr: Run, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run.predict(root).unlike == {}
    assert mr.predict(mr.path.parent / "data").unlike == {}
    assert warnings_of(caplog) == []


def test_volumes_of_its_own_are_like_them(volumes: Run, caplog: pytest.LogCaptureFixture) -> None:
    paths = sorted((volumes.path.parent / "data").glob("b*.nii.gz"))
    assert volumes.predict(paths, registry=blobs.REGISTRY).unlike == {}
    assert warnings_of(caplog) == []


def saved(values: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        return write_png(folder / "a.png", values)

    return save


def numpy_file(values: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        np.save(folder / "a.npy", values)
        return folder / "a.npy"

    return save


@pytest.mark.parametrize(
    ("save", "kinds"),
    [
        (saved(pixels().astype(np.uint16) * 257), {"values"}),
        (numpy_file(pixels().astype(np.float32) / 255), {"values"}),
        (numpy_file(pixels().astype(np.float32) - 1024), {"values"}),
        (saved(np.full((32, 32), 9, np.uint8)), {"values"}),
        (saved(np.stack([pixels()] * 3, axis=-1)), {"channels"}),
        (saved(pixels(3, 80)), {"size"}),
        (saved(np.tile(pixels(), (1, 3))), {"size"}),
        (saved(pixels()), set()),
        (saved(255 - pixels()), set()),
        (saved(pixels(3, 48)), set()),
    ],
    ids=["16 bit", "0 to 1", "negative", "constant", "colours", "large", "wide", *"abc"],
)
def test_each_kind_is_seen_in_pictures(
    run: Run, tmp_path: Path, save: Callable[[Path], Path], kinds: set[str]
) -> None:
    path = save(tmp_path)
    found = run.predict(path)
    assert set(found.unlike.get(str(path), ())) == kinds
    assert sum("unlike training's" in note for note in found.notes) == len(kinds)


def test_what_is_said(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(6):
        write_png(tmp_path / f"{number}.png", pixels(number))
    for name in "abcd":
        write_png(tmp_path / f"{name}.png", np.zeros((32, 32), np.uint8))
    write_png(tmp_path / "e.png", pixels(3, 80).astype(np.uint16) * 257)
    (tmp_path / "z.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, "medpipe"):
        found = run.predict(tmp_path)
    low, high = run.record["data"]["images"]["values"]
    width = run.record["data"]["images"]["widths"][0]
    most = int(pixels(3, 80).max()) * 257
    least = int(pixels(3, 80).min()) * 257
    said = [
        "1 of 11 images has a size unlike training's (e.png 80 x 80): training had 32 x 32.",
        "5 of 11 images have a range of values unlike training's (a.png 0 everywhere, b.png 0 "
        f"everywhere, c.png 0 everywhere and 2 more): training had {low:g} to {high:g}, each image "
        f"a range of at least {width:g}.",
    ]
    assert list(found.notes[-2:]) == said
    logged = [record.getMessage() for record in caplog.records]
    assert [logged.count(line) for line in said] == [1, 1]
    assert found.unlike == {
        **{f"{name}.png": {"values": "0 everywhere"} for name in "abcd"},
        "e.png": {"size": "80 x 80", "values": f"{least:g} to {most:g}"},
    }
    assert "unlike" not in found.to_csv()


def test_of_dicom_files_the_modality_and_the_spacing(mr: Run, tmp_path: Path) -> None:
    values = pixels().astype(np.uint16) * 4
    write_dicom(tmp_path / "ct.dcm", values, Modality="CT", PixelSpacing=[1, 1])
    write_dicom(tmp_path / "coarse.dcm", values, Modality="MR", PixelSpacing=[1, 2.5])
    write_dicom(tmp_path / "unknown.dcm", values)
    write_dicom(tmp_path / "well.dcm", values, Modality="MR", PixelSpacing=[0.8, 1.2])
    found = mr.predict(tmp_path)
    assert found.unlike == {
        "ct.dcm": {"modality": "CT"},
        "coarse.dcm": {"spacing": "1 x 2.5 mm"},
        "unknown.dcm": {"spacing": "unknown"},
    }
    assert found.notes == (
        "2 of 4 images have a spacing unlike training's (coarse.dcm 1 x 2.5 mm, unknown.dcm "
        "unknown): training had 1 x 1 mm.",
        "1 of 4 images has a modality unlike training's (ct.dcm CT): training had MR.",
    )


def test_of_volumes_thick_slices_and_other_axes(volumes: Run, tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.5, 1.0, 1.0])
    values = read_image(volumes.path.parent / "data" / "b00.nii.gz").values
    thick = affine @ np.diag([1, 1, 5, 1])
    blobs.save(values.astype(np.float32), thick, tmp_path / "a.nii.gz")
    blobs.save((values * 500 - 1000).astype(np.float32), affine, tmp_path / "b.nii.gz")
    long = np.repeat(values, 4, axis=2).astype(np.float32)
    blobs.save(long, affine, tmp_path / "c.nii.gz")
    found = volumes.predict(tmp_path, registry=blobs.REGISTRY)
    assert {id_: set(said) for id_, said in found.unlike.items()} == {
        "a.nii.gz": {"spacing"},
        "b.nii.gz": {"values"},
        "c.nii.gz": {"size"},
    }
    assert found.unlike["a.nii.gz"]["spacing"].endswith("5 mm")


def test_what_was_answered_before_is_not_forgotten(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, output = tmp_path / "new", tmp_path / "new.csv"
    for number in range(7):
        write_png(new / f"{number}.png", pixels(number) // (255 if number in (0, 6) else 1))
    begin(monkeypatch, run, new, output)
    found = run.predict(new, output=output, batch_size=2, resume=True)
    assert list(found.unlike) == ["0.png", "6.png"]
    whole = run.predict(new, batch_size=2)
    assert (found.unlike, found.notes) == (whole.unlike, whole.notes)


def test_a_run_of_before_compares_nothing(run: Run, tmp_path: Path) -> None:
    old = Path(shutil.copytree(run.path, tmp_path / "old"))
    record = json.loads((old / "run.json").read_text())
    del record["data"]["images"]
    (old / "run.json").write_text(json.dumps(record))
    black = write_png(tmp_path / "a.png", np.zeros((32, 32), np.uint8))
    found = Run.load(old).predict(black)
    assert (found.unlike, found.notes) == ({}, ())
    assert run.predict(black).unlike


@pytest.mark.long
def test_an_ensemble_has_the_first_record_that_there_is(
    folds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    black = write_png(tmp_path / "a.png", np.zeros((32, 32), np.uint8))
    first = json.loads((folds / "fold-0" / "run.json").read_text())
    del first["data"]["images"]
    (folds / "fold-0" / "run.json").write_text(json.dumps(first))
    second = RunSet.load(folds).runs[1].record["data"]["images"]
    with caplog.at_level(logging.WARNING, "medpipe"):
        found = RunSet.load(folds).predict(black)
    assert found.unlike == {str(black): {"values": "0 everywhere"}}
    said = [r.getMessage() for r in caplog.records if "unlike training's" in r.getMessage()]
    assert len(said) == 1
    assert "{:g} to {:g}".format(*second["values"]) in said[0]


def test_an_external_set_is_compared_too(run: Run, mr: Run, tmp_path: Path) -> None:
    for number in range(12):
        name = phantom(12).task.names[number % 2]
        bright = pixels(number).astype(np.uint16) * (257 if number < 3 else 1)
        write_png(tmp_path / "theirs" / name / f"{number:02}.png", bright)
    (tmp_path / "theirs.toml").write_text(
        f'format = 1\n[dataset]\nstep = "image_folder"\nroot = "{tmp_path / "theirs"}"\n'
    )
    arguments = ("--data", str(tmp_path / "theirs.toml"), "--output", str(tmp_path / "out"))
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", str(run.path), *arguments])
    notes = json.loads((tmp_path / "out" / "metrics.json").read_text())["notes"]
    said = [note for note in notes if "unlike training's" in note]
    assert len(said) == 1
    assert said[0].startswith("3 of 12 images have a range of values unlike training's (")
    for number in range(4):
        values = pixels(number).astype(np.uint16) * 4
        path = tmp_path / "ct" / f"class{number % 2}" / f"{number}.dcm"
        write_dicom(path, values, Modality="CT", PixelSpacing=[1, 1])
    theirs = Registry.discover().datasets["image_folder"](root=tmp_path / "ct")
    said = [note for note in mr.evaluate(theirs).notes if "unlike training's" in note]
    assert len(said) == 1
    assert said[0].startswith("4 of 4 images have a modality unlike training's (class0/0.dcm CT, ")
