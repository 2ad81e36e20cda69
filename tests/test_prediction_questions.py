"""Every question from training to predictions on small images and volumes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medpipe
import medpipe.tasks.head
from medpipe import Dataset, PipelineBuilder, Run, Sample, Task
from medpipe.steps import DecodedImage
from support.trained import write_png


def small(data: Any) -> Any:
    from torch import nn

    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[data.spatial_dims]
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[data.spatial_dims]
    return nn.Sequential(
        convolution(data.channels, 8, 3, padding=1),
        nn.ReLU(),
        pool(2),
        nn.Flatten(),
        nn.Linear(8 * 2**data.spatial_dims, data.outputs),
    )


def builder(
    dataset: Dataset, *, epochs: int = 2, share: float | None = 0.25, **trainer: Any
) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset(dataset)
        .transforms("load_image", "ensure_channel_first")
        .transform("scale_intensity_range", a_min=0, a_max=255)
        .transform("to_tensor")
        .network(small)
        .trainer(
            "supervised",
            max_epochs=epochs,
            **{"learning_rate": 1e-2, "schedule": "constant", **trainer},
        )
        .loader(batch_size=16, workers=0)
        .split(validation=share, test=share)
    )


def pictures(count: int, shape: tuple[int, ...] = (16, 16), seed: int = 0) -> list[Any]:
    """Noise whose left half and upper half have a brightness of their own."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        values = rng.integers(0, 40, shape)
        left, upper = rng.integers(0, 100, 2)
        values[:, : shape[1] // 2] += left
        values[: shape[0] // 2] += upper
        made.append(values.astype(np.uint8))
    return made


def findings(images: list[Any], *, volumes: bool = False, seed: int = 1) -> Dataset:
    """What is bright, left and above; a third of it isn't known, and nobody looked below."""
    rng = np.random.default_rng(seed)
    samples = []
    for number, values in enumerate(images):
        left = values[:, : values.shape[1] // 2].mean() > 70
        upper = values[: values.shape[0] // 2].mean() > 70
        known = rng.random(2) > 1 / 3
        label = [float(left), float(upper)]
        samples.append(
            Sample(
                id=f"s{number:03}",
                image=DecodedImage(values=values) if volumes else values,
                label=tuple(np.where(known, label, math.nan).tolist()),
                group=f"p{number // 2}",
                extra={"site": ["north", "south"][number % 2]},
            )
        )
    return Dataset(samples=samples, task=Task(kind="multilabel", names=("left", "upper")))


@pytest.mark.parametrize("loss", ["auto", medpipe.step("focal", gamma=1.0)])
def test_findings_with_missing_labels_are_learnt(tmp_path: Path, loss: Any) -> None:
    data = findings(pictures(160))
    run = builder(data, epochs=6, loss=loss).build().run(tmp_path / "run")
    test = run.metrics["test"]
    assert test["auc"] > 0.8
    known = [sum(not math.isnan(s.label[place]) for s in data.samples) for place in range(2)]
    assert all(0 < test["findings"][name]["images"] < 40 for name in ("left", "upper"))
    assert all(80 < count < 130 for count in known)
    back = run.predictions()
    assert 0 < np.isnan(back.labels).sum() < back.labels.size
    assert test["subgroups"]["site"]["north"]["images"] == 20
    assert set(back.extra) == {"site"}


def test_findings_in_volumes_of_ragged_shapes(tmp_path: Path) -> None:
    import nibabel

    sizes = [(12, 10, 8), (8, 12, 10), (10, 10, 10)]
    images = [
        values for number, shape in enumerate(sizes) for values in pictures(16, shape, seed=number)
    ]
    data = findings(images, volumes=True)
    run = builder(data).loader(batch_size=1, workers=0).build().run(tmp_path / "run")
    assert run.data.spatial_shape == (None, None, None)
    back = run.predictions()
    by_id = {sample.id: sample for sample in data.samples}
    folder = tmp_path / "nifti"
    folder.mkdir()
    for id_ in back.ids:
        values: Any = by_id[id_].image
        # Rows and columns change places: NIfTI's first axis is the column.
        image = nibabel.Nifti1Image(values.values.swapaxes(0, 1), np.eye(4))
        nibabel.save(image, folder / f"{id_}.nii.gz")
    found = run.predict(folder, batch_size=8)
    assert found.ids == tuple(f"{id_}.nii.gz" for id_ in back.ids)
    np.testing.assert_allclose(found.scores, back.scores, atol=1e-6)
    fresh = findings(
        [v for n, shape in enumerate(sizes) for v in pictures(4, shape, seed=9 + n)], volumes=True
    )
    assert run.evaluate(fresh).metrics["images"] == 12


def ages(count: int = 120, *, targets: int = 1, seed: int = 3) -> Dataset:
    """How bright an image is, said as an age in years; and the darkness in another unit."""
    samples = []
    for number, values in enumerate(pictures(count, seed=seed)):
        age = 20 + values.mean() / 2
        label = age if targets == 1 else (age, 1000 - 3 * age)
        samples.append(Sample(id=f"s{number:03}", image=values, label=label))
    names = ("age", "darkness")[:targets]
    return Dataset(samples=samples, task=Task(kind="regression", names=names, unit="years"))


def trained_on_ages(tmp_path: Path, **options: Any) -> Run:
    return builder(ages(**options), epochs=10).build().run(tmp_path / "run")


@pytest.mark.parametrize("targets", [1, 2])
def test_a_brightness_is_learnt_in_its_unit(tmp_path: Path, targets: int) -> None:
    run = trained_on_ages(tmp_path, targets=targets)
    test = run.metrics["test"]
    assert test["unit"] == "years"
    assert test["r2"] > 0.5
    scores = run.predictions().scores
    assert 20 < scores[:, 0].min() < scores[:, 0].max() < 120
    assert all(table["r2"] > 0.5 for table in test["targets"].values())
    means = run.data.target_means
    assert means is not None
    assert 20 < means[0] < 120
    state = run.network().state_dict()
    assert state["target_mean"].tolist() == pytest.approx(means)


def test_without_the_head_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medpipe.tasks.head, "give_units", lambda network, *_: network)
    assert trained_on_ages(tmp_path).metrics["test"]["r2"] < 0.5


def test_new_files_and_other_sets_are_answered_in_the_unit(tmp_path: Path) -> None:
    run = trained_on_ages(tmp_path)
    back, by_id = run.predictions(), {sample.id: sample for sample in ages().samples}
    for id_ in back.ids:
        write_png(tmp_path / "new" / f"{id_}.png", by_id[id_].image)
    found = run.predict(tmp_path / "new")
    np.testing.assert_allclose(found.scores, back.scores, rtol=1e-6)
    assert run.evaluate(ages(seed=11)).metrics["r2"] > 0.5


def test_a_missing_target_counts_for_nothing(tmp_path: Path) -> None:
    whole = ages(80, targets=2)
    rng = np.random.default_rng(0)
    samples = []
    for sample in whole.samples:
        label: Any = sample.label
        kept = label[1] if rng.random() < 0.5 else math.nan
        samples.append(Sample(id=sample.id, image=sample.image, label=(label[0], kept)))
    data = Dataset(samples=samples, task=whole.task)
    run = builder(data, epochs=6).build().run(tmp_path / "run")
    tables = run.metrics["test"]["targets"]
    assert tables["age"]["images"] == 20
    assert 0 < tables["darkness"]["images"] < 20
    assert all(math.isfinite(row["training_loss"] or math.nan) for row in run.history)


def lopsided(kind: str) -> Dataset:
    """A validation split on which the default monitor of findings says nothing."""
    samples = []
    for number, values in enumerate(pictures(48)):
        split: Any = ("training", "validation", "test")[number % 3]
        found = 0.0 if split == "validation" else float(values.mean() > 70)
        label: Any = int(found) if kind == "multiclass" else (found,)
        samples.append(Sample(id=f"s{number:03}", image=values, label=label, split=split))
    names = ("dark", "bright") if kind == "multiclass" else ("bright",)
    return Dataset(samples=samples, task=Task(kind=kind, names=names))


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_where_the_monitor_is_undefined_the_loss_decides(tmp_path: Path, kind: str) -> None:
    start = builder(lopsided(kind), epochs=4, share=None, monitor="auc")
    run = start.build().run(tmp_path / "run")
    rows = run.history
    assert all(row["validation_auc"] is None for row in rows)
    losses = [row["validation_loss"] for row in rows]
    assert run.record["best_epoch"] == 1 + losses.index(min(losses, key=lambda x: x or 0.0))
    assert run.metrics["test"]["images"] == 16


@pytest.mark.parametrize("monitor", ["balanced_accuracy", "average_precision"])
def test_monitors_that_respect_imbalance_choose_the_best(tmp_path: Path, monitor: str) -> None:
    samples = [
        Sample(id=f"s{n:03}", image=values, label=int(values.mean() > 95))
        for n, values in enumerate(pictures(64))
    ]
    data = Dataset(samples=samples, task=Task(names=("dark", "bright")))
    run = builder(data, epochs=3, monitor=monitor).build().run(tmp_path / "run")
    values = [row[f"validation_{monitor}"] for row in run.history]
    assert values[run.record["best_epoch"] - 1] == max(value or 0.0 for value in values)


def test_of_epochs_with_one_value_the_loss_decides(tmp_path: Path) -> None:
    """A small validation split is soon right to the last image."""
    samples = [
        Sample(
            id=f"s{number:03}",
            image=np.full((16, 16), 200.0 * (number % 2)) + noise,
            label=number % 2,
        )
        for number, noise in enumerate(pictures(60))
    ]
    data = Dataset(samples=samples, task=Task(names=("dark", "light")))
    run = builder(data, epochs=8).build().run(tmp_path / "run")
    rows = run.history
    best = max(row["validation_balanced_accuracy"] or 0.0 for row in rows)
    tied = [row for row in rows if row["validation_balanced_accuracy"] == best]
    assert len(tied) > 1
    lowest = min(tied, key=lambda row: row["validation_loss"] or 0.0)
    assert run.record["best_epoch"] == lowest["epoch"]
