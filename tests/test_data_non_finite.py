"""NaN and infinity that the chain fills are admitted, and said; what it doesn't is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medpipe import BadDataError, Dataset, PipelineBuilder, Sample
from medpipe.data.quality.non_finite import REMEDY


def volumes(root: Path, count: int = 10, *, value: float = np.nan, only: int | None = None) -> Path:
    rng = np.random.default_rng(len(str(root)))
    for place, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            values = rng.random((16, 16, 8)).astype("f4") + place
            if only is None or i < only:
                values[:3] = value
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / name / f"{i}.nii")
    return root


def pipeline(root: Path, *steps: Any) -> PipelineBuilder:
    builder = PipelineBuilder(device="cpu").dataset("image_folder", root=root)
    for step in steps:
        name, options = step if isinstance(step, tuple) else (step, {})
        builder = builder.transform(name, before="scale_intensity", **options)
    return (
        builder.network("resnet10", widen_factor=0.0625)
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=4, workers=0)
        .split(validation=0.2, test=0.2)
    )


def fill(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "image": np.nan_to_num(np.asarray(sample["image"]))}


def test_nan_that_the_chain_fills_is_trained_evaluated_and_predicted(tmp_path: Path) -> None:
    root = volumes(tmp_path / "data", only=4)
    builder = pipeline(root, "signal_fill_empty")
    assert PipelineBuilder.from_toml(builder.to_toml()) == builder
    note = (
        "8 images hold NaN or infinite values that the transforms fill: 'a/0.nii', 'a/1.nii', "
        "'a/2.nii' and 5 more."
    )
    report = builder.build().check()
    assert report.ok, str(report)
    assert note in report.notes
    data = builder.build().check_data()
    assert data.ok
    assert note in data.notes
    run = builder.build().run(tmp_path / "run")
    assert note in run.record["data"]["notes"]
    assert all(np.isfinite(row["training_loss"]) for row in run.history)
    other = volumes(tmp_path / "other", 2, only=1)
    predicted = run.predict(other)
    assert len(predicted.ids) == 4
    assert predicted.errors == {}
    measured = run.evaluate(builder.build().configuration.dataset.__class__(root=other))
    assert "2 images hold NaN or infinite values" in " ".join(measured.notes)


def test_a_function_may_fill_it_too(tmp_path: Path) -> None:
    root = volumes(tmp_path / "data")
    assert pipeline(root).transform(fill, before="scale_intensity").build().check().ok


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_nothing_fills_is_refused_with_what_admits_it(tmp_path: Path, value: float) -> None:
    report = pipeline(volumes(tmp_path / "data", value=value)).build().check()
    said = str(report)
    assert "20 of 20 samples can't be used" in said
    assert REMEDY in said


def test_infinities_are_filled_by_a_threshold_and_not_by_the_largest_number(
    tmp_path: Path,
) -> None:
    root = volumes(tmp_path / "data", value=np.inf)
    threshold = ("threshold_intensity", {"threshold": 1e30, "above": False})
    assert pipeline(root, threshold).build().check().ok
    assert (
        "holds infinite values, or values beyond float32, and a step replaces them by the largest "
        "float32, which hides the rest." in str(pipeline(root, "signal_fill_empty").build().check())
    )


def test_what_is_filled_after_it_was_spread_is_refused(tmp_path: Path) -> None:
    root = volumes(tmp_path / "data")
    report = pipeline(root).transform(fill, before="to_tensor").build().check()
    assert (
        "0.nii holds NaN values, and leaves the chain constant: a step spread these values "
        "before another one filled them." in str(report)
    )


def test_random_steps_fill_nothing(tmp_path: Path) -> None:
    root = volumes(tmp_path / "data", 4)

    from monai.transforms import RandLambdad

    step = RandLambdad(keys="image", func=np.nan_to_num, prob=1.0)
    report = pipeline(root).transform(step, before="scale_intensity").build().check()
    assert "holds NaN values" in str(report)


def test_an_image_that_is_not_filled_is_refused_at_prediction(tmp_path: Path) -> None:
    root = volumes(tmp_path / "data", only=0)
    run = pipeline(root).build().run(tmp_path / "run")
    other = volumes(tmp_path / "other", 2, only=1)
    found = run.predict(other)
    assert (found.ids, len(found.errors)) == (("a/1.nii", "b/1.nii"), 2)
    assert all("0.nii holds NaN values" in said for said in found.errors.values())
    samples = [
        Sample(id="x", image=np.full((16, 16, 8), np.nan, "f4"), label=0),
        Sample(id="y", image=np.random.default_rng(0).random((16, 16, 8)), label=1),
    ]
    with pytest.raises(BadDataError, match="1 of 2 samples can't be used"):
        run.evaluate(Dataset(samples=samples, task=run.data.task))
