"""Many findings or a number for each image: every split gets its share, also by whole patients."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.data.preparation import prepare
from medpipe.data.splits.iterative import _rarest_first, divide_iteratively
from medpipe.data.splits.shares import Missing, Unit, divide
from medpipe.data.splits.split import make_splits
from medpipe.data.splits.units import units_of
from medpipe.errors import DataError
from medpipe.settings import SplitSettings
from medpipe.steps import Dataset, Sample, Task
from medpipe.tasks.strata import ALL, NONE, UNKNOWN
from support.examples import examples
from support.splits import sample_of, scan_of

FINDINGS = Task(kind="multilabel", names=tuple("abcdefgh"))
AGES = Task(kind="regression", names=("age",), unit="years")
SPLITS = {"training": 0.8, "validation": 0.1, "test": 0.1}
FOLDS = dict.fromkeys(range(5), 0.2)


def _patients(seed: int, *, missing: float = 0.0, task: Task = FINDINGS) -> list[Sample]:
    """Patients with one to a dozen images, whose findings go together."""
    rng = random.Random(seed)
    often = [math.exp(rng.uniform(math.log(0.01), math.log(0.4))) for _ in task.names]
    samples = []
    for patient in range(120):
        own = [min(1.0, p * rng.choice([0.2, 0.5, 3])) for p in often]
        mean = rng.gauss(0, 1)
        for image in range(1 + min(11, int(rng.expovariate(0.5)))):
            if task.kind == "regression":
                label: Any = mean + rng.gauss(0, 0.3)
            else:
                label = tuple(
                    math.nan if rng.random() < missing else float(rng.random() < p) for p in own
                )
            samples.append(sample_of(f"{patient}-{image}", label, f"patient {patient}"))
    return samples


def _off(units: list[Unit], placed: list[Any], shares: dict[Any, float]) -> float:
    """How far the findings are from their shares, in standard deviations of chance."""
    totals: dict[int, int] = defaultdict(int)
    counts: dict[tuple[Any, int], int] = defaultdict(int)
    for unit, split in zip(units, placed, strict=True):
        for stratum, count in unit.counts:
            totals[stratum] += count
            counts[split, stratum] += count
    off = [
        abs(counts[split, stratum] - share * total) / math.sqrt(share * total)
        for split, share in shares.items()
        for stratum, total in totals.items()
        if stratum >= 0
    ]
    return sum(off) / len(off)


@pytest.mark.parametrize("shares", [SPLITS, FOLDS], ids=["splits", "folds"])
@pytest.mark.parametrize("task", [FINDINGS, AGES], ids=["findings", "ages"])
def test_iterative_stratification_beats_the_division_by_classes(
    task: Task, shares: dict[Any, float]
) -> None:
    """Measured as 0.6 to 0.8 of its deviation; each seed is another data set."""
    one = other = 0.0
    for seed in range(8):
        samples = _patients(seed, missing=0.1 * (seed % 3), task=task)
        units = units_of(samples, scan_of(samples), 0, task)
        one += _off(units, divide_iteratively(units, shares), shares)
        other += _off(units, divide(units, shares), shares)
    assert one < 0.85 * other


@settings(max_examples=examples(100), deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30),
    folds=st.integers(2, 5),
)
def test_no_single_move_makes_it_better(sizes: list[tuple[int, int]], folds: int) -> None:
    units = [
        Unit(ids=(str(n),), counts=((ALL, 1 + a + b), *((s, c) for s, c in ((0, a), (1, b)) if c)))
        for n, (a, b) in enumerate(sizes)
    ]
    shares = dict.fromkeys(range(folds), 1 / folds)
    placed = divide_iteratively(units, shares)
    assert len(placed) == len(units)

    def squares(where: list[int]) -> float:
        totals: dict[int, int] = defaultdict(int)
        counts: dict[tuple[int, int], int] = defaultdict(int)
        for unit, fold in zip(units, where, strict=True):
            for stratum, count in unit.counts:
                totals[stratum] += count
                counts[fold, stratum] += count
        return sum(
            (counts[fold, s] - total / folds) ** 2 / (total / folds)
            for fold in shares
            for s, total in totals.items()
        )

    best = squares(placed)
    for index in range(len(units)):
        for fold in shares:
            assert squares([*placed[:index], fold, *placed[index + 1 :]]) >= best - 1e-6


def test_the_rarest_finding_reaches_every_fold() -> None:
    samples = [
        sample_of(f"{n}", (float(n % 2), float(n % 40 == 0)), f"patient {n // 4}")
        for n in range(400)
    ]
    task = Task(kind="multilabel", names=("often", "seldom"))
    split = make_splits(samples, scan_of(samples), SplitSettings(folds=5), task)
    homes = [split.folds[s.id] for s in samples if s.label == (0.0, 1.0)]
    assert sorted(homes) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_missing_label_is_unknown_not_absent() -> None:
    nan = math.nan
    labels = [(1.0, 0.0), (nan, 0.0), (0.0, 0.0), (nan, 1.0), (nan, nan)]
    samples = [sample_of(f"{n}", label, "one patient") for n, label in enumerate(labels)]
    task = Task(kind="multilabel", names=("a", "b"))
    (unit,) = units_of(samples, scan_of(samples), 0, task)
    assert dict(unit.counts) == {ALL: 5, 0: 1, 1: 1, NONE: 1, UNKNOWN: 3, UNKNOWN - 1: 1}


def test_images_with_a_missing_label_are_shared_out() -> None:
    """Half of the images were not read for the second finding: half of each split."""
    labels = [(float(n % 5 == 0), math.nan if n % 2 else float(n % 20 == 0)) for n in range(400)]
    samples = [sample_of(f"{n}", label) for n, label in enumerate(labels)]
    task = Task(kind="multilabel", names=("a", "b"))
    split = make_splits(samples, scan_of(samples), SplitSettings(), task)
    unread = [s.id for s in samples if math.isnan(s.label[1])]  # type: ignore[index]
    assert abs(sum(split[i] == "test" for i in unread) - 20) <= 1
    assert split.counts == {"training": 320, "validation": 40, "test": 40}


def test_every_target_of_a_regression_is_shared_out() -> None:
    rng = random.Random(0)
    labels = [(rng.random(), rng.random() if n % 4 else math.nan) for n in range(600)]
    samples = [sample_of(f"{n}", label) for n, label in enumerate(labels)]
    task = Task(kind="regression", names=("age", "weight"))
    split = make_splits(samples, scan_of(samples), SplitSettings(validation=0, test=0.2), task)
    for place in (0, 1):
        known = sorted(label[place] for label in labels if not math.isnan(label[place]))
        cuts = [known[len(known) * tenth // 10] for tenth in range(1, 10)]
        shares = [0] * 10
        for s in samples:
            value = s.label[place]  # type: ignore[index]
            if split[s.id] == "test" and not math.isnan(value):
                shares[sum(value >= cut for cut in cuts)] += 1
        assert max(abs(n - 0.02 * len(known)) for n in shares) <= 1.5


def test_few_patients_have_few_bins() -> None:
    """Ten bins of three patients would give every split ten patients."""
    samples = [sample_of(f"{n}", float(n), f"patient {n}") for n in range(30)]
    split = make_splits(samples, scan_of(samples), SplitSettings(), AGES)
    assert split.counts == {"training": 24, "validation": 3, "test": 3}


def test_copies_without_a_group_are_trained_on_and_stay_there() -> None:
    samples = _patients(1) + [sample_of(f"copy {n}", (1.0,) * 8) for n in range(6)]
    pixels = {f"copy {n}": f"look {n // 2}" for n in range(6)}
    split = make_splits(samples, scan_of(samples, pixels), SplitSettings(), FINDINGS)
    assert {split[i] for i in pixels} == {"training"}


@settings(max_examples=examples(100), deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.booleans()), max_size=20),
    share=st.sampled_from([0.5, 0.7]),
)
def test_what_is_kept_for_training_is_not_moved(
    sizes: list[tuple[int, int, bool]], share: float
) -> None:
    units = [
        Unit(ids=(str(n),), counts=((ALL, a + b), (0, a), (1, b))[: 3 if b else 2], copies=copies)
        for n, (a, b, copies) in enumerate(sizes)
    ]
    shares = {"training": share, "test": 1 - share}
    kept = Missing(units, shares).put_copies(units, "training")
    placed = divide_iteratively(units, shares, home="training")
    assert all(placed[index] == "training" for index in kept)


def test_the_rarest_finding_is_placed_first_and_its_largest_unit() -> None:
    strata = [{0: 3, ALL: 3}, {0: 4, 1: 1, ALL: 4}, {1: 2, ALL: 2}, {NONE: 1, ALL: 1}]
    units = [Unit(ids=(str(n),), counts=tuple(counts.items())) for n, counts in enumerate(strata)]
    assert list(_rarest_first(units, frozenset())) == [(2, 1), (1, 1), (0, 0), (3, NONE)]
    assert list(_rarest_first(units, frozenset({2}))) == [(1, 1), (0, 0), (3, NONE)]


@pytest.mark.parametrize(
    ("task", "label", "why"),
    [
        (AGES, math.inf, "inf: it is infinite."),
        (
            FINDINGS,
            (2.0, *[0.0] * 7),
            f"{(2.0, *[0.0] * 7)}. Each finding is 1, 0 or NaN (missing).",
        ),
        (Task(names=("a", "b")), math.inf, "inf, but the 2 classes (a, b) are 0 to 1."),
    ],
)
def test_labels_that_mean_nothing(task: Task, label: Any, why: str) -> None:
    image = np.zeros((2, 2), np.uint8)
    dataset = Dataset(samples=[Sample(id="s", image=image, label=label)], task=task)
    with pytest.raises(DataError) as caught:
        prepare(dataset, SplitSettings(), workers=1)
    assert str(caught.value).splitlines()[1] == f"  The sample 's' has the label {why}"
