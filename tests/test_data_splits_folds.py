"""Folds: what is held out, what is carved, what is refused."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import attrs
import pytest

import medpipe
from medpipe.data.splits.split import make_splits
from medpipe.errors import ConfigError, DataError
from medpipe.settings import SplitSettings
from medpipe.steps import Sample, Task
from support.splits import TASK, sample_of, scan_of


def _patients(count: int = 100, size: int = 3, **options: Any) -> list[Sample]:
    return [
        sample_of(f"{n:03}", (n // size) % 2, f"patient {n // size}", **options)
        for n in range(count * size)
    ]


def _split(samples: list[Sample], task: Task = TASK, pixels: Any = None, **how: Any) -> Any:
    return make_splits(samples, scan_of(samples, pixels), SplitSettings(**how), task)


def test_a_fold_is_the_test_and_validation_is_carved_from_the_rest() -> None:
    samples = _patients()
    for fold in range(5):
        split = _split(samples, folds=5, fold=fold, validation=0.25)
        assert split.counts == {"training": 180, "validation": 60, "test": 60}
        by_class = Counter((samples[0].label, split[s.id]) for s in samples if s.label == 0)
        assert set(by_class.values()) == {90, 30}
    first = _split(samples, folds=5)
    assert first == _split(samples, folds=5, fold=0)
    assert first.counts == {"training": 216, "validation": 24, "test": 60}
    assert _split(samples, folds=5, seed=1).folds != first.folds


def test_where_the_data_bring_the_test_a_fold_is_the_validation() -> None:
    tested = [attrs.evolve(s, id=f"t{s.id}", group=f"t{s.group}") for s in _patients(10)]
    samples = [*_patients(), *(attrs.evolve(s, split="test") for s in tested)]
    held: Counter[str] = Counter()
    for fold in range(4):
        split = _split(samples, folds=4, fold=fold)
        assert split.counts["test"] == 30
        held.update(split.ids("validation"))
    assert held == Counter({s.id: 1 for s in samples if s.split is None})


def test_where_the_data_bring_the_validation_a_fold_is_the_test() -> None:
    samples = _patients()
    samples[:6] = [attrs.evolve(s, split="validation") for s in samples[:6]]
    split = _split(samples, folds=7, fold=3)
    assert split.counts["validation"] == 6
    assert split.counts["test"] == 42


def test_copies_are_held_out_in_their_turn() -> None:
    """No split is always trained on: a set of copies is a unit like any other."""
    samples = [sample_of(f"{n}", n % 2) for n in range(60)]
    pixels = {f"{n}": "same" for n in range(0, 8, 2)}
    homes = [
        {i: _split(samples, pixels=pixels, folds=3, fold=fold)[i] for i in pixels}
        for fold in range(3)
    ]
    assert sorted(set(home.values()) == {"test"} for home in homes) == [False, False, True]
    # In what is carved from the rest, they are trained on.
    assert all(set(home.values()) in ({"test"}, {"training"}) for home in homes)


def test_folds_are_pinned() -> None:
    """Folds are the same in every version: change this only with a note to users."""
    split = _split(_patients(40), folds=5, fold=2)
    assert split.digest == "663c64a6e5bfe11528fb998aa9944940eb00d9323ba27eb4f53c657def4ff725"


def _error(samples: list[Sample], **how: Any) -> str:
    with pytest.raises(DataError) as caught:
        _split(samples, **how)
    return str(caught.value)


def test_too_few_groups() -> None:
    assert _error(_patients(4, 10), folds=5) == (
        "The folds can't be filled: there are 4 groups (patients, or images on their own; "
        "duplicates count as one), too few for split.folds = 5. Lower it, or add data."
    )


def test_a_class_in_one_group() -> None:
    samples = [
        *(sample_of(f"{n}", 0) for n in range(20)),
        *(sample_of(f"w{n}", 1, "p") for n in "ab"),
    ]
    message = _error(samples, folds=5, fold=4)  # whichever fold is held out in this run
    assert re.fullmatch(
        r"The class 'well' has no training samples when the fold [0-4] is held out: all its "
        r"samples are in it\. Remove the class, or give it more samples or groups\.",
        message,
    )


def test_parts_that_the_data_bring() -> None:
    samples = _patients()
    samples[:3] = [attrs.evolve(s, split="test") for s in samples[:3]]
    assert _error(samples, folds=5, validation=0.1) == (
        "The data set has its own split test (3 samples), so each fold is held out for "
        "validation. Leave split.validation out."
    )
    samples[3:6] = [attrs.evolve(s, split="validation") for s in samples[3:6]]
    assert _error(samples, folds=5) == (
        "The data set has its own splits validation (3 samples) and test (3 samples), so no fold "
        "can be held out. Leave split.folds out."
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"folds": 5, "test": 0.2},
            "split.test: can't be given with split.folds: each fold is held out in its "
            "place. Leave it out.",
        ),
        ({"fold": 1}, "split.fold: needs split.folds, the number of folds. Set it too."),
        ({"folds": 5, "fold": 5}, "split.fold: must be from 0 to 4, got 5."),
    ],
)
def test_settings_that_do_not_fit(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        medpipe.PipelineBuilder().dataset("phantom").split(**how).build()
    assert [str(problem) for problem in caught.value.problems] == [message]


def test_a_large_validation_fits_with_folds() -> None:
    assert SplitSettings(folds=2, validation=0.95).validation == 0.95
