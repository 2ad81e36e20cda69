"""Segmentation runs: trained, measured on the files' own grids, resumed, predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import nibabel
import numpy as np
import pytest
import torch

from medpipe import BadDataError, CheckFailed, PipelineBuilder, Run, step
from medpipe.builtin.segmentation.sliding_window import SlidingWindowInferer
from medpipe.evaluation.predictions import read_predictions
from medpipe.plugin import Segmentation, Task, TransformStep, hookimpl
from support import mask_layouts
from support.blobs import REGISTRY, Blobs, blobs
from support.marked_runs import Marking, ask, at, calls, checked, state
from support.marks import long


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return blobs(root, epochs=25).build().run(tmp_path_factory.mktemp("runs") / "one")


def test_pixels_are_not_called_millimetres(trained: Run, tmp_path: Path) -> None:
    assert trained.metrics["test"]["units"] == {"hd95": "mm"}
    mask_layouts.pictures(tmp_path / "data", 24)
    run = (
        PipelineBuilder(device="cpu")
        .dataset("image_masks", root=str(tmp_path / "data"), labels={"disc": 255})
        .transforms("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
        .network("unet", channels=(4, 8), strides=(2,))
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=4, workers=0)
        .build()
        .run(tmp_path / "run")
    )
    written = json.loads((tmp_path / "run/run.json").read_text())["metrics"]["test"]
    assert (written["unit"], written["units"]) == ("pixels", {"hd95": "pixels"})
    assert set(run.predictions("test").units) == {"pixels"}
    assert "hd95 (pixels)" in run.report().read_text()


def test_it_learns(trained: Run) -> None:
    assert trained.metrics["test"]["dice"] > 0.7
    assert trained.data.task.kind == "segmentation"
    low, high = trained.metrics["test"]["intervals"]["dice"]
    assert low <= trained.metrics["test"]["dice"] <= high


def test_masks_lie_on_the_files_own_grids_and_are_what_was_measured(
    trained: Run, root: Path, tmp_path: Path
) -> None:
    predictions = trained.predictions("test")
    paths = [root / f"{id_}.nii.gz" for id_ in predictions.ids]
    found = trained.predict(paths, masks=tmp_path / "masks")
    assert len(found.masks) == len(paths)
    for row, (id_, path) in enumerate(zip(predictions.ids, paths, strict=True)):
        (file,) = found.masks[str(path)]
        assert file.name == f"{id_}.nii.gz"
        given: Any = nibabel.load(path)  # type: ignore[attr-defined]
        mask: Any = nibabel.load(file)  # type: ignore[attr-defined]
        assert np.array_equal(mask.affine, given.affine)
        assert mask.shape == given.shape
        answer = np.asarray(mask.dataobj)
        assert set(np.unique(answer)) <= {0, 1, 2}
        truth = np.asarray(nibabel.load(root / f"m{id_[1:]}.nii.gz").dataobj)  # type: ignore[attr-defined]
        columns = predictions.task.step.columns(predictions.task.names, labels=True)
        cells = predictions.task.step.row(
            predictions.labels[row].tolist(),
            predictions.predicted[row].tolist(),
            predictions.scores[row].tolist(),
            predictions.task.names,
        )
        told = dict(zip(columns, cells, strict=True))
        for place, (name, value) in enumerate((("shell", 2), ("core", 5)), 1):
            one, other = answer == place, truth == value
            dice = 2 * (one & other).sum() / (one.sum() + other.sum())
            assert float(told[f"dice_{name}"]) == pytest.approx(dice, abs=1e-6)


def test_predictions_are_read_back_as_they_were(trained: Run) -> None:
    path = trained.path / "predictions_test.csv"
    found = read_predictions(path, trained.data.task)
    assert np.array_equal(found.scores, trained.predictions("test").scores, equal_nan=True)
    assert len(found) == len(trained.predictions("test"))


@pytest.mark.long
def test_the_cache_and_workers_change_nothing(root: Path, tmp_path: Path) -> None:
    runs = [
        blobs(root, **loader).build().run(tmp_path / str(number))
        for number, loader in enumerate(
            ({"cache": "off"}, {"cache": "auto"}, {"cache": "off", "workers": 2})
        )
    ]
    states = [state(run) for run in runs]
    assert states[0] == states[1] == states[2]
    one, *others = [(run.path / "predictions_test.csv").read_bytes() for run in runs]
    assert all(other == one for other in others)


@pytest.mark.usefixtures("_fresh_marks")
@pytest.mark.parametrize("moment", [3, long(25)])
def test_a_stopped_run_ends_as_if_it_had_not_been(root: Path, tmp_path: Path, moment: int) -> None:
    class Marks:
        @hookimpl
        def medpipe_transforms(self) -> list[type[TransformStep]]:
            return [Marking]

    registry = REGISTRY.with_plugin(Marks(), name="marking")
    pipeline = blobs(root, registry=registry).transform("marking", before="augment").build()
    of_check = checked(pipeline)
    whole = pipeline.run(tmp_path / "whole")
    calls.clear()
    at[of_check + moment] = ask
    assert pipeline.run(tmp_path / "parts").status == "stopped"
    at.clear()
    run = pipeline.run(tmp_path / "parts", resume=True)
    assert run.status == "finished"
    assert state(run) == state(whole)


def test_a_changed_mask_is_other_data(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "data"
    first = blobs(own, epochs=1).build().run(tmp_path / "one")
    path = own / "m03.nii.gz"
    mask: Any = nibabel.load(path)  # type: ignore[attr-defined]
    values = np.asarray(mask.dataobj).copy()
    values[0, 0, 0] = 5
    nibabel.save(nibabel.Nifti1Image(values, mask.affine), path)  # type: ignore[attr-defined,no-untyped-call]
    second = blobs(own, epochs=1).build().run(tmp_path / "two")
    assert first.record["data"]["digest"] != second.record["data"]["digest"]
    assert state(first)["states"] != state(second)["states"]


def test_it_is_evaluated_on_another_set(trained: Run, tmp_path: Path) -> None:
    found = trained.evaluate(Blobs(root=str(tmp_path / "other"), samples=24), allow_overlap=True)
    assert len(found.predictions) == 24
    assert found.metrics["dice"] > 0.6


def test_a_structure_that_another_set_does_not_name_is_not_annotated(
    trained: Run, tmp_path: Path
) -> None:
    whole = Blobs(root=str(tmp_path / "other"), samples=12).build()
    values = ((0, ()), (2, (0,)), (5, ()))  # the core is not told from the background
    shells = attrs.evolve(
        whole,
        task=Task(kind=Segmentation(), names=("shell",)),
        samples=[
            attrs.evolve(sample, label=attrs.evolve(sample.label, values=values))
            for sample in whole.samples
        ],
    )
    found = trained.evaluate(shells, allow_overlap=True)
    of_both = trained.evaluate(whole, allow_overlap=True)
    told = found.metrics["name_table"]
    assert told["shell"]["dice"] == of_both.metrics["name_table"]["shell"]["dice"]
    assert found.metrics["dice"] == told["shell"]["dice"]
    assert found.metrics["loss"] is None
    core = found.metrics["structures"]["core"]
    assert (core["cases"], core["absent"], core["invented"]) == (0, 0, 0)
    assert np.isnan(found.predictions.labels[:, 1]).all()
    assert any("does not name 'core', which the run predicts" in note for note in found.notes)
    assert not any("does not name" in note for note in of_both.notes)


def test_the_digest_of_another_set_has_its_masks(trained: Run, tmp_path: Path) -> None:
    def digest() -> str:
        data = Blobs(root=str(tmp_path), samples=4)
        return str(trained.evaluate(data, allow_overlap=True).record["data"]["digest"])

    before = digest()
    assert digest() == before
    path = tmp_path / "m01.nii.gz"
    mask: Any = nibabel.load(path)  # type: ignore[attr-defined]
    values = np.asarray(mask.dataobj).copy()
    values[0, 0, 0] = 5
    nibabel.save(nibabel.Nifti1Image(values, mask.affine), path)  # type: ignore[attr-defined,no-untyped-call]
    assert digest() != before
    values[0, 0, 0] = 7
    nibabel.save(nibabel.Nifti1Image(values, mask.affine), path)  # type: ignore[attr-defined,no-untyped-call]
    with pytest.raises(BadDataError, match="has the value 7, which no label names"):
        digest()


@attrs.frozen(kw_only=True)
class Shifting(TransformStep):
    """Crops the image, and forgets the label."""

    name: ClassVar[str] = "shifting"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        return lambda sample: {**sample, "image": sample["image"][:, :-1]}


def test_a_step_that_forgets_the_label_is_named(root: Path) -> None:
    class Own:
        @hookimpl
        def medpipe_transforms(self) -> list[type[TransformStep]]:
            return [Shifting]

    registry = REGISTRY.with_plugin(Own(), name="own")
    builder = blobs(root, registry=registry).transform("shifting", before="augment")
    report = builder.build().check()
    (problem,) = report.problems
    assert problem.path == "transform[6]"
    assert "leaves the sample" in problem.message
    assert "set spatial = True" in problem.remedy
    with pytest.raises(CheckFailed, match="set spatial = True"):
        builder.build().run(root.parent / "never")


@attrs.frozen(kw_only=True)
class Plain(TransformStep):
    """Drops the metadata."""

    name: ClassVar[str] = "plain"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        return lambda sample: {
            **sample,
            "image": torch.as_tensor(sample["image"]).as_subclass(torch.Tensor),
        }


def test_a_step_that_drops_the_metadata_is_told_what_they_are_for(root: Path) -> None:
    class Own:
        @hookimpl
        def medpipe_transforms(self) -> list[type[TransformStep]]:
            return [Plain]

    registry = REGISTRY.with_plugin(Own(), name="own")
    report = blobs(root, registry=registry).transform("plain", before="augment").build().check()
    assert any("without its metadata" in problem.message for problem in report.problems)


@pytest.mark.long
@pytest.mark.parametrize("pixdim", [None, (1.3, 1.1, 0.8)])
def test_outputs_in_parts_are_those_of_whole_volumes(
    pixdim: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prediction never holds the outputs of a volume, evaluation only where it has the memory."""
    builder = blobs(root).inferer("sliding_window", roi_size=(8, 8, 8))
    if pixdim is not None:
        builder = builder.transform("spacing", pixdim=pixdim, before="normalize_intensity")
        builder = builder.transform("resize_with_pad_or_crop", spatial_size=24, before="to_tensor")
    run = builder.build().run(tmp_path / "windows")
    predictions = run.predictions("test")

    def never(*_: Any) -> None:
        raise AssertionError("the outputs of a whole volume are asked for")

    monkeypatch.setattr(SlidingWindowInferer, "__call__", never)
    paths = [root / f"{id_}.nii.gz" for id_ in predictions.ids]
    found = run.predict(paths, masks=tmp_path / "masks")
    volumes = predictions.scores.reshape(len(predictions), 2, -1)[:, :, 3]
    assert np.allclose(found.scores, volumes)
    monkeypatch.setattr("medpipe.training.predict.LOSS_BYTES", 0)
    again = builder.build().run(tmp_path / "parts")
    assert np.allclose(again.predictions("test").scores, predictions.scores, equal_nan=True)
    assert run.metrics["test"]["loss"] is not None
    assert again.metrics["test"]["loss"] is None


def test_a_loss_is_balanced_by_the_voxels_of_training(root: Path) -> None:
    builder = blobs(root).trainer(
        "supervised", max_epochs=1, loss=step("dice_ce", class_weights="balanced")
    )
    report = builder.build().check()
    assert report.ok, report
    assert report.data is not None
    assert report.prepared is not None
    counts = np.zeros(3, int)
    for sample in report.prepared.by_split["training"]:
        label: Any = sample.label
        mask = np.asarray(nibabel.load(label.image).dataobj)  # type: ignore[attr-defined]
        counts += [(mask == value).sum() for value in (0, 2, 5)]
    assert report.data.voxel_counts == tuple(counts)


@pytest.mark.long
def test_a_network_with_deep_supervision_learns_and_answers_by_its_first_output(
    root: Path, tmp_path: Path
) -> None:
    builder = blobs(root, epochs=2).network(
        "dynunet",
        filters=(4, 8, 16),
        strides=(1, 2, 2),
        kernel_size=(3, 3, 3),
        deep_supervision=True,
    )
    run = builder.build().run(tmp_path / "deep")
    predictions = run.predictions("test")
    paths = [root / f"{id_}.nii.gz" for id_ in predictions.ids]
    found = run.predict(paths, masks=tmp_path / "masks")
    volumes = predictions.scores.reshape(len(predictions), 2, -1)[:, :, 3]
    assert np.allclose(found.scores, volumes)
    assert run.history[-1]["training_loss"] < run.history[0]["training_loss"]


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("augment", {"flip_axes": [0]}, "flip_axes = [0], swap_labels = [[1, 2]]"),
        ("augment", {"flip_axes": [1]}, None),
        ("augment", {}, None),
        ("augment", {"flip_axes": [0, 1], "swap_labels": [[2, 1]]}, None),
        (
            "augment",
            {"flip_axes": [0], "swap_labels": [[1, 3]]},
            "1 is 'kidney_l', 2 is 'kidney_r'. Correct",
        ),
        ("rand_flip", {}, "or let it swap them: swap_labels = [[1, 2]]."),
        ("rand_flip", {"swap_labels": [[1, 2]]}, None),
        ("rand_axis_flip", {}, "or let it swap them: swap_labels = [[1, 2]]."),
    ],
    ids=str,
)
def test_flips_are_warned_of_where_structures_have_sides(
    name: str, parameters: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    mask_layouts.pictures(tmp_path, 12, two=True)
    builder = (
        PipelineBuilder(device="cpu")
        .dataset("image_masks", root=str(tmp_path), labels={"kidney_l": 1, "kidney_r": 2})
        .transforms("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
        .transform(name, **parameters)
        .network("unet", channels=(4, 8), strides=(2,))
        .loader(batch_size=2, workers=0)
    )
    found = [text for text in builder.build().check().warnings if f"step '{name}'" in text]
    assert [said in text for text in found] == ([] if said is None else [True])


def test_a_surface_metric_can_be_monitored(root: Path, tmp_path: Path) -> None:
    run = blobs(root).trainer("supervised", max_epochs=2, monitor="nsd").build().run(tmp_path / "n")
    assert all(epoch["validation_nsd"] is not None for epoch in run.history)
