"""What a training loop of one's own takes: the split, and metrics of its own predictions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medpipe
from medpipe import MaskCase, PipelineBuilder, compute_metrics, measure_masks
from medpipe.plugin import Segmentation
from support.examples import examples
from support.folders import image_folder, phantom

if TYPE_CHECKING:
    from pathlib import Path

ORGAN = medpipe.Task(kind="segmentation", names=("organ", "lesion"))


def builder(**parameters: Any) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset("image_folder", **parameters)
        .loader(batch_size=16, workers=0)
    )


def mean_network(data: medpipe.DataInfo) -> object:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, data.outputs))


@pytest.mark.long
def test_the_split_is_that_of_a_run_and_can_be_reused(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images", samples=72)
    pipeline = (
        builder(root=root, group_pattern=r"(p\d+)")
        .network(mean_network)
        .trainer("supervised", max_epochs=1)
        .split(validation=0.2, test=0.2)
        .build()
    )
    splits = pipeline.splits()
    run = pipeline.run(tmp_path / "run")
    splits.save(tmp_path / "splits.csv")
    kept = (tmp_path / "splits.csv").read_bytes()
    assert kept == (run.path / "splits.csv").read_bytes()
    assert splits.digest == run.record["split"]["digest"]
    assert splits.ids("test") == run.predictions().ids
    again = builder(root=root, group_pattern=r"(p\d+)").split(file=tmp_path / "splits.csv")
    assert {split: again.build().splits().ids(split) for split in splits} == {
        split: splits.ids(split) for split in splits
    }


def test_the_split_keeps_patients_whole_and_knows_what_was_left_out(tmp_path: Path) -> None:
    root = image_folder(tmp_path, samples=72)
    damaged = next((root / "CXR").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    made = builder(root=root, group_pattern=r"(p\d+)")
    with pytest.raises(medpipe.BadDataError, match=damaged.name):
        made.build().splits()
    splits = made.settings(bad_data="quarantine").build().splits()
    assert sum(map(len, splits.values())) == 71
    assert repr(splits) == (
        f"SplitSamples(training={len(splits['training'])}, "
        f"validation={len(splits['validation'])}, test={len(splits['test'])})"
    )
    assert any("1 faulty sample was left out" in note for note in splits.notes)
    groups = [{sample.group for sample in samples} for samples in splits.values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert splits.task.names == tuple(sorted(path.name for path in root.iterdir()))


def test_a_leak_in_a_given_split_is_refused() -> None:
    drawn = phantom(24, 16)
    places = ("training", "validation", "test")
    samples = [
        medpipe.Sample(id=s.id, image=s.image, label=s.label, group="one", split=places[n % 3])
        for n, s in enumerate(drawn.samples)
    ]
    made = PipelineBuilder().dataset(medpipe.Dataset(samples=samples, task=drawn.task))
    with pytest.raises(medpipe.DataError, match="divide groups"):
        made.build().splits()


def test_metrics_are_asked_for_by_name_or_as_steps() -> None:
    lesion_f1 = medpipe.Registry.discover().metrics["lesion_f1"]
    truth = np.zeros((8, 8), np.int64)
    truth[2:5, 2:5] = 1
    cases = [MaskCase(id="a", predicted=truth, truth=truth)]
    found = []
    for given_as in ("lesion_f1", medpipe.step("lesion_f1", connectivity=1), lesion_f1()):
        predictions = measure_masks(cases, ORGAN, metrics=[given_as])
        found.append(compute_metrics(predictions, metrics=[given_as])["lesion_f1"])
    assert found == [1.0, 1.0, 1.0]
    with pytest.raises(medpipe.UnknownStepError, match="lesion_f1"):
        measure_masks(cases, ORGAN, metrics=["lesion_f"])
    with pytest.raises(medpipe.ConfigError, match="conectivity"):
        compute_metrics(predictions, metrics=[medpipe.step("lesion_f1", conectivity=1)])


@given(
    masks=st.lists(
        st.tuples(*[st.lists(st.integers(0, 2), min_size=16, max_size=16)] * 2),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=examples(30), deadline=None)
def test_dice_and_volumes_are_those_counted_by_hand(masks: Any) -> None:
    cases = [
        MaskCase(
            id=f"case{number}",
            predicted=np.reshape(predicted, (4, 4)),
            truth=np.reshape(truth, (4, 4)),
            spacing=(1.0, 2.0),
        )
        for number, (predicted, truth) in enumerate(masks)
    ]
    predictions = measure_masks(iter(cases), ORGAN)
    assert predictions.ids == tuple(case.id for case in cases)
    for row, case in enumerate(cases):
        for place in range(2):
            found, true = case.predicted == place + 1, case.truth == place + 1
            dice = 2 * (found & true).sum() / (found.sum() + true.sum()) if true.any() else math.nan
            np.testing.assert_allclose(predictions.scores[row, 4 * place], dice)
            assert predictions.scores[row, 4 * place + 3] == 2 * found.sum()
            assert predictions.labels[row, place] == 2 * true.sum()


def test_equal_masks_are_perfect_and_intervals_go_by_patient() -> None:
    import torch

    truth = torch.zeros(6, 8, 8, dtype=torch.uint8)
    truth[1:5, 2:6, 2:6] = 1
    truth[2:4, 3:5, 3:5] = 2
    shifted = torch.roll(truth, 1, 1)
    cases = [
        MaskCase(
            id=f"{number}",
            predicted=truth if number % 8 < 4 else shifted,
            truth=truth,
            spacing=(3.0, 1.0, 1.0),
            group=f"p{number // 4}",  # of each patient all four cases are good, or none is
        )
        for number in range(40)
    ]
    exact = compute_metrics(measure_masks(cases[:4], ORGAN))
    assert (exact["dice"], exact["nsd"], exact["hd95"]) == (1.0, 1.0, 0.0)
    assert exact["units"]["hd95"] == "mm"
    mixed = measure_masks(cases, ORGAN)
    found = compute_metrics(mixed, intervals=True)
    assert found["hd95"] == 0.5  # the median of 0 and of a shift by 1 mm
    low, high = found["intervals"]["dice"]
    alone = measure_masks([MaskCase(**_with(case, group=None)) for case in cases], ORGAN)
    lower, higher = compute_metrics(alone, intervals=True)["intervals"]["dice"]
    assert low < lower < found["dice"] < higher < high


def _with(case: MaskCase, **changes: Any) -> dict[str, Any]:
    names = ("id", "predicted", "truth", "spacing", "group")
    return {**{name: getattr(case, name) for name in names}, **changes}


def test_what_is_not_annotated_counts_nowhere() -> None:
    task = medpipe.Task(kind=Segmentation(overlapping=True), names=("organ", "lesion"))
    truth = np.zeros((2, 6, 6), np.uint8)
    truth[0, 1:4, 1:4] = 1
    truth[1] = 255
    predicted = truth.copy()
    predicted[1] = 1
    found = compute_metrics(
        measure_masks([MaskCase(id="a", predicted=predicted, truth=truth)], task)
    )
    assert found["dice"] == 1.0
    assert found["structures"]["lesion"]["cases"] == 0


@pytest.mark.long
def test_masks_that_a_run_wrote_measure_as_the_run_does(tmp_path: Path) -> None:
    import nibabel

    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(20):
        shape = random.integers(13, 17, 3)
        middle = (shape / 2 + random.uniform(-1, 1, 3))[:, None, None, None]
        distance = np.sqrt(((np.indices(shape) - middle) ** 2).sum(axis=0))
        mask = ((distance < 5).astype(np.uint8) + (distance < 3)).astype(np.uint8)
        image = (mask + random.normal(0, 0.3, shape)).astype(np.float32)
        for folder, values in (("images", image), ("masks", mask)):
            made = nibabel.Nifti1Image(values, np.diag([1.0, 1.25, 1.5, 1.0]))
            nibabel.save(made, tmp_path / folder / f"p{number // 2:02}_{number}.nii.gz")
    pipeline = (
        PipelineBuilder(device="cpu")
        .dataset(
            "image_masks",
            root=tmp_path,
            labels={"organ": 1, "lesion": 2},
            group_pattern=r"(p\d+)",
        )
        .transforms(
            "load_image",
            "ensure_channel_first",
            "normalize_intensity",
            medpipe.step("spatial_pad", spatial_size=(16, 16, 16)),
            "to_tensor",
        )
        .network("unet", channels=(4, 8), strides=(2,))
        .trainer("supervised", max_epochs=3, learning_rate=0.01)
        .metrics("lesion_f1")
        .loader(batch_size=4, workers=0)
        .split(validation=0.2, test=0.5)
        .build()
    )
    run = pipeline.run(tmp_path / "run")
    splits = pipeline.splits()
    run.predict([sample.image for sample in splits["test"]], masks=tmp_path / "answers")
    written = {path.name: path for path in (tmp_path / "answers").rglob("*.nii.gz")}

    def cases() -> Any:
        for sample in splits["test"]:
            truth = nibabel.load(sample.label.image)
            yield MaskCase(
                id=sample.id,
                predicted=np.asarray(nibabel.load(written[sample.id.split("/")[-1]]).dataobj),
                truth=np.asarray(truth.dataobj),
                spacing=[float(side) for side in truth.header.get_zooms()],
                group=sample.group,
            )

    predictions = measure_masks(cases(), splits.task, metrics=["lesion_f1"])
    found = compute_metrics(predictions, metrics=["lesion_f1"], intervals=True)
    test = run.metrics["test"]
    assert 0 < test["dice"] < 1
    for name in ("dice", "nsd", "hd95", "volume_error", "lesion_f1"):
        assert found[name] == pytest.approx(test[name]), name
        assert found["intervals"][name] == pytest.approx(test["intervals"][name]), name
    for name in ("organ", "lesion"):
        assert found["structures"][name] == pytest.approx(test["structures"][name])


BOX = np.zeros((4, 4), np.int64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"predicted": BOX + 0.5}, "The predicted mask of the case 'a' has the type float64"),
        ({"predicted": BOX + 3}, "The predicted mask of the case 'a' has the value 3"),
        ({"truth": BOX - 1}, "The true mask of the case 'a' has the value -1"),
        ({"truth": BOX[:3]}, r"'a' have the shapes \(4, 4\) and \(3, 4\)"),
        ({"spacing": (1.0, 1.0, 1.0)}, "The spacing of the case 'a' has 3 numbers for 2 axes"),
    ],
)
def test_masks_that_cannot_be_measured_are_named(changes: Any, said: str) -> None:
    case = {"id": "a", "predicted": BOX, "truth": BOX, **changes}
    with pytest.raises(medpipe.DataError, match=said):
        measure_masks([MaskCase(**case)], ORGAN)


def test_other_things_that_cannot_be_measured_are_said() -> None:
    with pytest.raises(medpipe.DataError, match="no case to measure"):
        measure_masks([], ORGAN)
    with pytest.raises(medpipe.DataError, match="labels of a multiclass task are no masks"):
        measure_masks([], medpipe.Task(names=("a", "b")))
    overlapping = medpipe.Task(kind=Segmentation(overlapping=True), names=("organ", "lesion"))
    with pytest.raises(medpipe.DataError, match="a channel for each of 2 structures"):
        measure_masks([MaskCase(id="a", predicted=BOX, truth=BOX)], overlapping)
    twice = [MaskCase(id="a", predicted=BOX, truth=BOX)] * 2
    with pytest.raises(medpipe.DataError, match="two predictions for the sample 'a'"):
        measure_masks(twice, ORGAN)
