"""New files through a run's own chain and network."""

from __future__ import annotations

import csv
import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from PIL import Image

from medpipe import DataError, DeviceError, Run, RunError, StepError, Task
from medpipe.cli import main
from medpipe.data.readers.reader import read_sample_image
from medpipe.prediction.file_predictions import DICOM_IDS, FilePredictions
from medpipe.prediction.files import _dicom_ids
from medpipe.prediction.listing import find_files
from medpipe.steps import Reading, Series
from support.drawn_dicom import write_dicom, write_report, write_series
from support.folders import image_folder, phantom
from support.trained import run_on, write_png


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


def alone(caught: Any) -> str:
    """What is said of the only file, of which there is no prediction."""
    first, said, last = str(caught.value).splitlines()
    assert (first, last) == ("None of 1 image can be predicted:", "Remove or repair them.")
    return str(said.removeprefix("  "))


def pixels(size: int = 32) -> Any:
    return phantom(12, size).samples[3].image


def test_the_test_files_get_the_predictions_that_the_run_wrote(run: Run, root: Path) -> None:
    written = run.predictions()
    found = run.predict(root)
    place = {id_: row for row, id_ in enumerate(found.ids)}
    assert len(found) == 60
    rows = [place[id_] for id_ in written.ids]
    np.testing.assert_allclose(found.scores[rows], written.scores, atol=1e-6)
    np.testing.assert_array_equal(found.predicted[rows], written.predicted)
    assert (found.task, found.errors, found.notes) == (written.task, {}, ())


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_changes_nothing(run: Run, root: Path, batch_size: int) -> None:
    whole, parts = run.predict(root), run.predict(root, batch_size=batch_size)
    np.testing.assert_allclose(whole.scores, parts.scores, atol=1e-6)


def test_the_last_network_is_another(run: Run, root: Path) -> None:
    assert run.record["best_epoch"] == 1  # of one epoch, so that both are the same
    np.testing.assert_array_equal(
        run.predict(root, which="last").scores, run.predict(root, which="best").scores
    )


def test_ids_are_paths_as_given_or_below_the_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.png", "a/deep/1.PNG", "b/2.png", "c.png"):
        write_png(Path(name), pixels())
    Path("a/.hidden.png").write_text("no image")
    Path("a/note.txt").write_text("no image")
    alone = run.predict("a")
    assert alone.ids == ("2.png", "deep/1.PNG")
    assert alone.notes == (
        "1 file of other kinds was passed over, 'note.txt'.",
        "1 hidden or system name was passed over, '.hidden.png'.",
    )
    assert run.predict(Path("c.png")).ids == ("c.png",)
    several = run.predict(["c.png", "b", tmp_path / "a" / "2.png"])
    assert several.ids == ("c.png", "b/2.png", str(tmp_path / "a" / "2.png"))
    assert len(set(several.scores[:, 0])) == 1


def test_dicom_files_are_known_by_their_content(run: Run, tmp_path: Path) -> None:
    write_dicom(tmp_path / "scan" / "IM0001", pixels().astype(np.uint16))
    write_report(tmp_path / "scan" / "report")
    write_png(tmp_path / "scan" / "same.png", pixels())
    found = run.predict(tmp_path / "scan")
    assert found.ids == ("IM0001", "same.png")
    np.testing.assert_allclose(found.scores[0], found.scores[1], atol=1e-6)
    assert found.notes == ("1 DICOM file without pixels was passed over, 'report'.",)


def test_dicom_identifiers_are_given_where_asked(run: Run, tmp_path: Path) -> None:
    values = pixels().astype(np.uint16)
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3.4"}
    write_dicom(tmp_path / "a.dcm", values, PatientID="Doe^J, 7", **uids)
    second = {**uids, "SOPInstanceUID": "1.9"}
    bad = write_dicom(tmp_path / "b.dcm", values, PatientID="P2", **second)
    bad.write_bytes(bad.read_bytes()[:-100])
    write_png(tmp_path / "c.png", pixels())
    assert "Doe" not in run.predict(tmp_path).to_csv()
    found = run.predict(tmp_path, dicom_ids=True, output=tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header[1:5] == list(DICOM_IDS)
    assert [row[:5] for row in rows] == [
        ["a.dcm", "Doe^J, 7", "1.2", "1.2.3", "1.2.3.4"],
        ["b.dcm", "P2", "1.2", "1.2.3", "1.9"],
        ["c.png", "", "", "", ""],
    ]
    assert list(found.errors) == ["b.dcm"]


def test_a_series_has_no_instance_of_its_own(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "case", np.tile(np.arange(3, dtype=np.uint16), (4, 5, 1)))
    given = Series(files=[str(path) for path in paths])
    for image in (tmp_path, given):
        found = find_files(image, unit="series", reading=Reading())
        (identity,) = _dicom_ids(found).values()
        assert identity[2:] == ("1.2.3", "")


def test_a_series_of_slices_is_one_image(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "case", np.tile(np.arange(3, dtype=np.uint16), (4, 5, 1)))
    options: Any = {"reading": Reading()}
    found = find_files(tmp_path, unit="series", **options)
    assert list(found.images) == ["case/1.2.3"]
    assert read_sample_image(found.images["case/1.2.3"], Reading()).values.shape == (4, 5, 3)
    assert len(find_files(tmp_path, unit="file", **options).images) == 3
    given = Series(files=[str(path) for path in paths])
    series = find_files(given, unit="file", **options)
    assert list(series.images) == [str(paths[0])]
    assert series.images[str(paths[0])] == given
    pair = tuple(str(write_png(tmp_path / name, pixels())) for name in ("t1.png", "t2.png"))
    stacked = find_files([pair], unit="file", **options)
    assert read_sample_image(stacked.images[pair[0]], Reading()).values.shape[-1] == 2


def test_each_file_that_cannot_be_predicted_has_its_row(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "new"
    write_png(folder / "good.png", pixels())
    (folder / "empty.png").write_bytes(b"")
    broken = write_dicom(folder / "IM1", pixels().astype(np.uint16))
    broken.write_bytes(broken.read_bytes()[:-100])
    nan = folder / "nan.tif"
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(nan)
    absent = tmp_path / "absent.png"
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        found = run.predict([absent, folder])
    name = folder.as_posix()
    assert found.ids == (f"{name}/good.png",)
    assert found.files == (
        str(absent),
        *(f"{name}/{file}" for file in ("IM1", "empty.png", "good.png", "nan.tif")),
    )
    assert list(found.errors) == [id_ for id_ in found.files if id_ not in found.ids]
    assert found.errors[str(absent)] == f"{absent} is not there."
    assert found.errors[f"{name}/empty.png"] == f"{folder / 'empty.png'} is empty."
    assert found.errors[f"{name}/nan.tif"] == f"{nan} holds NaN values."
    assert found.errors[f"{name}/IM1"].startswith(f"{broken} ")
    assert "4 of 5 images can't be predicted:" in caplog.messages
    assert all(f"  {said}" in caplog.messages for said in found.errors.values())
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["id"] for row in rows] == list(found.files)
    assert [row["error"] for row in rows] == [found.errors.get(id_, "") for id_ in found.files]
    for row in rows:
        cells = [text for column, text in row.items() if column not in ("id", "error")]
        assert any(cells) == all(cells) == (row["error"] == "")


def test_a_bad_file_changes_nothing_for_the_others_of_its_batch(
    run: Run, root: Path, tmp_path: Path
) -> None:
    paths = sorted(root.rglob("*.png"))[:12]
    whole = run.predict(paths)
    copy = shutil.copytree(root, tmp_path / "copy")
    mixed = [copy / path.relative_to(root) for path in paths]
    mixed[3].write_bytes(b"no image")
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(mixed[7], format="TIFF")
    write_png(mixed[9], pixels(40))
    found = run.predict(mixed)
    assert list(found.errors) == [str(mixed[3]), str(mixed[7])]
    others = [row for row in range(12) if row not in (3, 7, 9)]
    rows = [found.ids.index(str(mixed[row])) for row in others]
    np.testing.assert_allclose(found.scores[rows], whole.scores[others], atol=1e-6)


def test_more_bad_files_than_the_log_names_are_counted(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_png(tmp_path / "good.png", pixels())
    for number in range(12):
        (tmp_path / f"{number:02}.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        found = run.predict(tmp_path)
    assert len(found.errors) == 12
    assert caplog.messages[0] == "12 of 13 images can't be predicted:"
    assert len(caplog.messages) == 12
    assert caplog.messages[-1] == "  and 2 more."


def test_where_nothing_can_be_predicted_it_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        run.predict(tmp_path)
    assert str(caught.value) == (
        "None of 1 image can be predicted:\n"
        f"  {tmp_path / 'empty.png'} is empty.\n"
        "Remove or repair them."
    )


def test_nothing_to_predict_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no image")
    with pytest.raises(DataError) as caught:
        run.predict(tmp_path)
    assert str(caught.value) == (
        f"There is no image in {tmp_path}. PNG, JPEG, TIFF, BMP, NIfTI and NumPy files are found "
        "by their names, DICOM files and those of [[reader]] by their content.\n"
        "1 file of other kinds was passed over, 'note.txt'."
    )
    with pytest.raises(DataError) as caught:
        run.predict([])
    assert str(caught.value) == "There is no file to predict. Name files or folders."
    path = write_png(tmp_path / "a.png", pixels())
    with pytest.raises(DataError) as caught:
        run.predict([path, path])
    assert str(caught.value) == f"{path} is given twice. Name each file, or its folder, once."
    with pytest.raises(DataError) as caught:
        run.predict([()])
    assert str(caught.value) == "An image is an empty tuple. Name at least one file in it."


def test_images_of_another_size_are_said(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_png(tmp_path / "a.png", pixels(32))
    write_png(tmp_path / "b.png", pixels(40))
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        found = run.predict(tmp_path)
    (note,) = found.notes
    assert note == (
        "Images leave the transform chain in another size than in training (32 x 32): 'b.png' "
        "with the shape (1, 40, 40). The network accepts images of this size, but was not "
        "trained on them."
    )
    assert note in caplog.text
    alone = run.predict([tmp_path / "a.png"])
    np.testing.assert_allclose(found.scores[0], alone.scores[0], atol=1e-6)


def test_a_run_that_is_not_finished_is_said(
    run: Run, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped = attrs.evolve(run, record={**run.record, "status": "stopped"})
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        found, finished = stopped.predict(root), run.predict(root)
    assert caplog.messages == [
        f"The run {run.path} is not finished (stopped): this is its best network so far."
    ]
    np.testing.assert_array_equal(found.scores, finished.scores)


def test_a_run_whose_first_epoch_is_not_over_has_a_last_network_alone(
    run: Run, root: Path, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.safetensors").unlink()
    begun = Run.load(tmp_path / "run")
    with pytest.raises(RunError, match=r"no epoch is complete.*--network last"):
        begun.predict(root)
    assert len(begun.predict(root, which="last")) == 60
    (tmp_path / "run" / "checkpoints" / "last.safetensors").unlink()
    with pytest.raises(RunError, match="There is no checkpoint"):
        begun.predict(root)


def test_volumes_and_channels_that_do_not_fit_are_refused(run: Run, tmp_path: Path) -> None:
    import nibabel

    path = tmp_path / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 4), np.float32), np.eye(4)), path)
    with pytest.raises(DataError) as caught:
        run.predict(path)
    assert alone(caught) == (
        f"The image {str(path)!r} leaves the transform chain with the shape (1, 8, 8, 4), but the "
        "network takes 2 axes after the channels. Bring the files into the form that the run was "
        "trained on (dataset.unit for DICOM)."
    )
    pair = [str(write_png(tmp_path / name, pixels())) for name in ("t1.png", "t2.png")]
    with pytest.raises(DataError) as caught:
        run.predict([tuple(pair)])
    assert alone(caught) == (
        f"The image {pair[0]!r} leaves the transform chain with 2 channels, but the network takes "
        "1. Convert the files, or set dataset.channels = 1 or 3 for training: then files are "
        "converted as they are read."
    )


def test_colours_become_grey_as_in_training(run: Run, tmp_path: Path) -> None:
    grey = pixels()
    write_png(tmp_path / "colour.png", np.repeat(grey[..., None], 3, axis=-1))
    write_png(tmp_path / "grey.png", grey)
    found = run.predict(tmp_path)
    np.testing.assert_allclose(found.scores[0], found.scores[1], atol=1e-6)


def test_a_batch_holds_at_least_one_image(run: Run, root: Path) -> None:
    with pytest.raises(DataError, match=r"^The batch size must be at least 1, got 0\.$"):
        run.predict(root, batch_size=0)


def test_a_step_that_fails_on_an_image_is_named_itself(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not said to be the file's, which has the dimensions that the run was trained on."""

    def fail(*_: object, **__: object) -> None:
        raise StepError("the step failed")

    monkeypatch.setattr("medpipe.data.chain.Chain.cached_stage", fail)
    with pytest.raises(DataError) as caught:
        run.predict(next(root.rglob("*.png")))
    assert alone(caught) == "the step failed"


def test_slices_are_no_volumes(tmp_path: Path) -> None:
    from support import layouts
    from support.trained import builder

    layouts.brains(tmp_path)
    crop = builder().transform("resize_with_pad_or_crop", spatial_size=(20, 20, 20))
    volumes = crop.dataset(
        "table", file=tmp_path / "participants.tsv", image="scan", label="group", group="subject"
    )
    run = volumes.build().run(tmp_path / "run")
    image = write_png(tmp_path / "slice.png", pixels())
    with pytest.raises(DataError) as caught:
        run.predict(image)
    assert alone(caught) == (
        f"The image {str(image)!r} has 2 spatial dimensions, and the run was trained on 3. Bring "
        "the files into the form that the run was trained on (dataset.unit for DICOM)."
    )


def test_a_network_that_fails_on_a_size_names_the_file(tmp_path: Path) -> None:
    from support.trained import builder

    def flat(data: Any) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, data.outputs))

    done = builder().dataset("phantom", samples=24, size=32).network(flat).build()
    path = write_png(tmp_path / "a.png", pixels(40))
    with pytest.raises(DataError) as caught:
        done.run(tmp_path / "run").predict(path)
    text = alone(caught)
    assert text.startswith(
        f"The image {str(path)!r} leaves the transform chain with the shape (1, 40, 40), on which "
        "the network fails; it was trained on 32 x 32: "
    )
    assert text.endswith(
        "Bring the files to that size, or train with a step such as 'resize' with spatial_size."
    )


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("tpu", "The device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'tpu'."),
        ("cuda:99", None),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    run: Run, root: Path, device: str, message: str | None
) -> None:
    with pytest.raises(DeviceError) as caught:
        run.predict(root, device=device)
    assert message is None or str(caught.value) == message


@pytest.mark.parametrize(
    ("task", "scores", "text"),
    [
        (
            Task(names=("ill", "well")),
            [[0.75, 0.25]],
            "id,prediction,p(ill),p(well),error\na,ill,0.75,0.25,\n",
        ),
        (
            Task(kind="multilabel", names=("cyst", "mass")),
            [[0.75, 0.25]],
            "id,prediction_cyst,prediction_mass,p(cyst),p(mass),error\na,1,0,0.75,0.25,\n",
        ),
        (Task(kind="regression", names=("age",)), [[41.5]], "id,prediction_age,error\na,41.5,\n"),
    ],
)
def test_the_table_of_each_question(task: Task, scores: Any, text: str, tmp_path: Path) -> None:
    found = FilePredictions(task=task, ids=("a",), scores=np.array(scores))
    assert found.to_csv() == text
    found.write(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == text


def call(*arguments: object) -> object:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code
    return 0


def test_the_command_prints_or_writes_a_table(
    run: Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = shutil.copytree(root / "Hand", tmp_path / "Hand")
    options = ("--device", "cpu")
    assert call("predict", run.path, few, *options) == 0
    printed = capsys.readouterr().out
    assert printed == run.predict(few).to_csv()
    output = tmp_path / "out.csv"
    assert call("predict", run.path, few, "--output", output, "--network", "last", *options) == 0
    assert capsys.readouterr().out == f"The predictions for 10 images are in {output}\n"
    with output.open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == list(run.predict(few).ids)
    assert call("predict", run.path, few, "--output", output) == 2
    assert capsys.readouterr().err == (
        f"The output {output} is there already, and medpipe does not overwrite it. Choose another "
        "file with --output.\n"
    )


def test_the_command_refuses_what_is_not_there_at_once(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("predict", run.path) == 2
    assert capsys.readouterr().err == "Name the files or folders to predict.\n"
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    (tmp_path / "file").touch()
    paths = [tmp_path / "nothing", circle / "x.png", tmp_path / "file" / "x.png"]
    assert call("predict", run.path, *paths) == 2
    assert capsys.readouterr().err == (
        f"There is no file or folder {paths[0]}.\n"
        f"{paths[1]} can't be looked at: too many levels of symbolic links.\n"
        f"There is no file or folder {paths[2]}.\n"
    )


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty.png": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("no image"),
    "cut.png": lambda path: path.write_bytes(write_png(path, pixels()).read_bytes()[:-40]),
    "nan.tif": lambda path: Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(path),
    "infinite.tif": lambda path: Image.fromarray(np.full((32, 32), np.inf, "f4")).save(path),
    "cut.dcm": lambda path: path.write_bytes(
        write_dicom(path, pixels().astype(np.uint16)).read_bytes()[:-100]
    ),
    "cut.nii": lambda path: path.write_bytes(nifti(path, pixels()).read_bytes()[:-100]),
    "volume.nii": lambda path: nifti(path, np.zeros((8, 8, 4), np.float32)),
    "folder.png": lambda path: path.symlink_to(path.parent / "circle.png"),
    "circle.png": lambda path: path.symlink_to("folder.png"),
}


def nifti(path: Path, values: Any) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def test_thirty_good_files_and_ten_broken_ones_are_forty_rows(
    run: Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "new", tmp_path / "new.csv"
    for number, path in enumerate(sorted(root.rglob("*.png"))[:30]):
        values = np.asarray(Image.open(path))
        name = f"{number:02}"
        if number % 3 == 0:
            write_png(folder / f"{name}.png", values)
        elif number % 3 == 1:
            write_dicom(folder / f"{name}.dcm", values.astype(np.uint16))
        else:
            nifti(folder / f"{name}.nii", np.ascontiguousarray(values.T))
    for name, write in BROKEN.items():
        write(folder / name)
    assert call("predict", run.path, folder, "-o", output, "--device", "cpu") == 1
    printed = capsys.readouterr()
    assert printed.out == (
        f"The predictions for 30 images are in {output}, and 10 rows of images that can't be "
        "predicted\n"
    )
    with output.open(newline="") as file:
        header, *cells = csv.reader(file, strict=True)
    assert {len(row) for row in cells} == {len(header)}
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in cells}
    assert len(rows) == len(cells) == 40
    assert {name for name, row in rows.items() if row["error"]} == set(BROKEN)
    for name, row in rows.items():
        answer = [text for column, text in row.items() if column not in ("id", "error")]
        if name in BROKEN:
            assert not any(answer)
            assert name in row["error"]
            assert row["error"] in printed.err
        else:
            assert sum(float(row[c]) for c in header if c.startswith("p(")) == pytest.approx(1)


def test_a_printed_table_has_the_rows_of_bad_files_too(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "new" / "a.png", pixels())
    (tmp_path / "new" / "b.png").write_bytes(b"")
    assert call("predict", run.path, tmp_path / "new", "--device", "cpu") == 1
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["error"] for row in rows] == ["", f"{tmp_path / 'new' / 'b.png'} is empty."]
    assert "b.png is empty." in printed.err
