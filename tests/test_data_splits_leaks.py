"""Parts that divide groups or copies: left out where asked, from listing to prepared data."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import pytest

from medpipe.data.preparation import PreparedData, prepare
from medpipe.data.quality.contradictions import contradictions
from medpipe.data.splits.leak_removal import without_leaks
from medpipe.data.splits.leaks import predefined_splits
from medpipe.errors import DataError
from medpipe.settings import SplitSettings
from medpipe.steps import Dataset, Sample, Task
from support.splits import TASK, sample_of, scan_of

AGES = Task(kind="regression", names=("age", "weight"), unit="years")


def _image(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)


def _dataset(count: int = 40, **options: Any) -> Dataset:
    """Real images; two for each patient."""
    samples = [
        Sample(id=f"{n:02}", image=_image(n), label=n // 2 % 2, group=f"patient {n // 2}")
        for n in range(count)
    ]
    return Dataset(samples=samples, **{"task": TASK, **options})


def _with(dataset: Dataset, index: int, **changes: Any) -> Dataset:
    samples = list(dataset.samples)
    samples[index] = attrs.evolve(samples[index], **changes)
    return attrs.evolve(dataset, samples=samples)


def _prepared(dataset: Dataset, **how: Any) -> PreparedData:
    return prepare(dataset, SplitSettings(**how), workers=1, bad_data="keep")


def test_what_is_left_out_and_the_note_about_it() -> None:
    samples = [
        # a patient in test and training, and a patient who is the same by a copy
        sample_of("a1", 0, "a", "test"),
        sample_of("a2", 0, "a", "training"),
        sample_of("b1", 1, "b"),  # a copy of a2; for the library to divide, so training
        sample_of("b2", 1, "b", "training"),
        # validation against test, and training against validation
        sample_of("c1", 0, "c", "validation"),
        sample_of("c2", 0, "c", "test"),
        sample_of("d1", 1, None, "training"),
        sample_of("d2", 1, None, "validation"),
        sample_of("e1", 1, "e"),
    ]
    scan = scan_of(samples, {"a2": "one", "b1": "one", "d1": "two", "d2": "two"})
    dataset = Dataset(samples=samples, task=TASK, on_leak="drop_train", notes=["earlier"])
    kept = without_leaks(dataset, scan, predefined_splits(samples))
    assert [s.id for s in kept.samples] == ["a1", "c2", "d2", "e1"]
    assert kept.notes == (
        "earlier",
        "5 samples were left out (4 of training and 1 of validation), since the data set's own "
        "splits divide groups or duplicate images: 2 groups: 'a' (training, test), 'c' "
        "(validation, test). 1 set of duplicate images: 'd1' (training) = 'd2' (validation).",
    )
    assert without_leaks(kept, scan, predefined_splits(samples)) is kept


def test_prepared_data_hold_only_what_is_kept() -> None:
    dataset = _with(_dataset(on_leak="drop_train"), 4, split="test")
    dataset = _with(dataset, 30, image=_image(9))
    prepared = _prepared(dataset, validation=0.1)
    assert {s.id for s in dataset.samples} - {s.id for s in prepared.dataset.samples} == {"05"}
    assert prepared.scan.fingerprints.keys() == prepared.split.keys()
    assert sum(map(len, prepared.by_split.values())) == len(prepared.dataset.samples) == 39
    assert prepared.dataset.notes == (
        "1 image appears under different labels: '09' (ill) = '30' (well).",
        "1 sample was left out (1 of training), since the data set's own splits divide groups or "
        "duplicate images: 1 group: 'patient 2' (training, test).",
    )
    with pytest.raises(DataError, match=r'set dataset\.on_leak = "drop_train"'):
        _prepared(attrs.evolve(dataset, on_leak="error"))


def test_what_remains_must_have_every_class_in_training() -> None:
    dataset = _dataset(4, on_leak="drop_train")
    dataset = _with(dataset, 2, split="test")  # patient 1 is the only one who is well
    with pytest.raises(DataError) as caught:
        _prepared(dataset, validation=0)
    assert str(caught.value) == (
        "The class 'well' has no training samples: its only sample is in another split. Remove "
        "the class, or give it more samples or groups."
    )


def test_different_labels_of_one_image_are_named() -> None:
    nan = math.nan
    cases: list[tuple[Task, list[Any], str | None]] = [
        (TASK, [0, 1, 1], "1 image appears under different labels: '0' (ill) = '1' (well)."),
        (TASK, [1, 1, 1], None),
        (AGES, [(50.0, nan), (nan, 70.0), (50.0, 70.0)], None),
        (
            AGES,
            [(50.0, nan), (60.0, 70.5), (nan, nan)],
            "1 image appears under different labels: '0' (50, missing) = '1' (60, 70.5) = "
            "'2' (missing, missing).",
        ),
        (
            Task(kind="multilabel", names=("mass", "nodule")),
            [(1.0, 1.0), (0.0, 0.0), (1.0, 1.0)],
            "1 image appears under different labels: '0' (mass, nodule) = '1' (nothing found).",
        ),
    ]
    for task, labels, note in cases:
        samples = [sample_of(f"{n}", label) for n, label in enumerate(labels)]
        assert contradictions(samples, scan_of(samples, dict.fromkeys("012", "x")), task) == note


def test_many_different_labels_are_counted() -> None:
    samples = [sample_of(f"{n:02}", n % 2) for n in range(10)]
    scan = scan_of(samples, {s.id: f"look {n // 2}" for n, s in enumerate(samples)})
    assert contradictions(samples, scan, TASK) == (
        "5 images appear under different labels: '00' (ill) = '01' (well), "
        "'02' (ill) = '03' (well), '04' (ill) = '05' (well) and 2 more."
    )


def test_target_statistics_are_of_the_training_samples_that_have_the_target() -> None:
    labels = [(10.0, math.nan), (20.0, 5.0), (60.0, 5.0), (1000.0, 1000.0)]
    samples = [
        Sample(id=f"{n}", image=_image(n), label=label, split="test" if n == 3 else "training")
        for n, label in enumerate(labels)
    ]
    prepared = _prepared(Dataset(samples=samples, task=AGES), validation=0)
    found = prepared.label_statistics("training")
    assert found["target_means"] == (30.0, 5.0)
    assert found["target_spreads"] == (pytest.approx(np.std([10, 20, 60])), 1.0)
    assert prepared.label_statistics("test") == {
        "target_means": (1000.0, 1000.0),
        "target_spreads": (1.0, 1.0),
    }
    assert "target_means" not in _prepared(_dataset()).label_statistics("training")


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_a_target_without_training_labels(kind: Any) -> None:
    samples = [
        Sample(id=f"{n}", image=_image(n), label=(1.0, math.nan if n else 1.0)) for n in range(9)
    ]
    samples[0] = attrs.evolve(samples[0], split="test")
    task = Task(kind=kind, names=("age", "weight"))
    with pytest.raises(DataError) as caught:
        _prepared(Dataset(samples=samples, task=task), validation=0)
    noun = "target" if kind == "regression" else "finding"
    assert str(caught.value) == (
        f"The {noun} 'weight' has no training sample with a label. Remove it, or give it more "
        "samples or groups."
    )


def test_data_that_bring_no_training_samples() -> None:
    samples = [Sample(id=f"{n}", image=_image(n), label=1.0, split="test") for n in range(9)]
    task = Task(kind="regression", names=("age",))
    with pytest.raises(DataError) as caught:
        _prepared(Dataset(samples=samples, task=task), validation=0)
    assert str(caught.value) == (
        "No sample is left for training. Lower split.validation and split.test."
    )
