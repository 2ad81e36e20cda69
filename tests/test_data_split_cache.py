"""A split that was made before is the one that would be made."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.data.scanning.scan import Fingerprint, Scan
from medpipe.data.splits import split_cache
from medpipe.data.splits.split import Splits, make_splits
from medpipe.data.splits.split_cache import remembered_splits
from medpipe.errors import DataError
from medpipe.settings import SplitSettings
from medpipe.steps import SPLITS, Sample, Task
from medpipe.system.cache_folder import cache_directory
from support.examples import examples

TASK = Task(names=("a", "b"))


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_cache, "WORTH", 0)


def data(count: int, groups: int | None = None) -> tuple[list[Sample], Scan]:
    samples = [
        Sample(
            id=f"ä{n}",
            image=f"{n}.png",
            label=n % 2,
            group=None if groups is None else f"p{n // 2 % groups}",
        )
        for n in range(count)
    ]
    prints = {
        sample.id: Fingerprint(sha256=sample.id, pixels=f"{n // 2}", shape=(2, 2))
        for n, sample in enumerate(samples)
    }
    return samples, Scan(fingerprints=prints)


def same(one: Splits, other: Splits) -> bool:
    return dict(one.by_id) == dict(other.by_id) and dict(one.folds) == dict(other.folds)


def no_split(*_: Any) -> Splits:
    raise AssertionError("it was made again")


@settings(max_examples=examples(25), deadline=None)
@given(
    count=st.integers(40, 80),
    groups=st.sampled_from([None, 13]),
    seed=st.integers(0, 3),
    folds=st.sampled_from([None, 3]),
)
def test_made_once_and_found_again(
    count: int, groups: int | None, seed: int, folds: int | None
) -> None:
    samples, scan = data(count, groups)
    chosen = SplitSettings(seed=seed, folds=folds, fold=None if folds is None else 1)
    expected = make_splits(samples, scan, chosen, TASK)
    with pytest.MonkeyPatch.context() as patch:
        assert same(remembered_splits(samples, scan, chosen, TASK), expected)
        patch.setattr(split_cache, "make_splits", no_split)
        assert same(remembered_splits(samples[::-1], scan, chosen, TASK), expected)


def test_whatever_it_depends_on_makes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, scan = data(60)
    remembered_splits(samples, scan, SplitSettings(), TASK)
    prints = dict(scan.fingerprints)
    prints["ä0"] = attrs.evolve(prints["ä0"], pixels="other")
    *firsts, last = sorted(samples, key=lambda sample: sample.id)
    renamed = attrs.evolve(last, id=f"{last.id}x")
    of_renamed = {**dict(scan.fingerprints), renamed.id: scan.fingerprints[last.id]}
    monkeypatch.setattr(split_cache, "make_splits", no_split)
    changes: list[tuple[Any, Any, Any, Any]] = [
        ([attrs.evolve(samples[0], label=1), *samples[1:]], scan, SplitSettings(), TASK),
        ([attrs.evolve(samples[0], group="g"), *samples[1:]], scan, SplitSettings(), TASK),
        ([attrs.evolve(samples[0], split="test"), *samples[1:]], scan, SplitSettings(), TASK),
        (samples[1:], scan, SplitSettings(), TASK),
        ([*firsts, renamed], Scan(fingerprints=of_renamed), SplitSettings(), TASK),
        (samples, Scan(fingerprints=prints), SplitSettings(), TASK),
        (samples, scan, SplitSettings(seed=1), TASK),
        (samples, scan, SplitSettings(test=0.2), TASK),
        (samples, scan, SplitSettings(), Task(names=("a", "b", "c"))),
    ]
    for change in changes:
        with pytest.raises(AssertionError, match="made again"):
            remembered_splits(*change)
    remembered_splits(samples, scan, SplitSettings(), TASK)
    monkeypatch.setattr(split_cache, "FORMAT", split_cache.FORMAT + 1)
    with pytest.raises(AssertionError, match="made again"):
        remembered_splits(samples, scan, SplitSettings(), TASK)


def test_a_change_of_any_sample_makes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, scan = data(60, groups=13)
    samples = [attrs.evolve(s, split=SPLITS[n % 3]) for n, s in enumerate(samples)]
    monkeypatch.setattr(split_cache, "make_splits", lambda *_: made)
    made = Splits(by_id={sample.id: SPLITS[0] for sample in samples})
    remembered_splits(samples, scan, SplitSettings(), TASK)
    monkeypatch.setattr(split_cache, "make_splits", no_split)
    remembered_splits(samples, scan, SplitSettings(), TASK)
    for place in (0, 7, 59):
        sample = samples[place]
        for changed in (
            attrs.evolve(sample, label=1 - sample.label),
            attrs.evolve(sample, group="another"),
            attrs.evolve(sample, split=None),
        ):
            others = [changed if one is sample else one for one in samples]
            with pytest.raises(AssertionError, match="made again"):
                remembered_splits(others, scan, SplitSettings(), TASK)


def test_few_samples_are_divided_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, scan = data(60)
    monkeypatch.setattr(split_cache, "WORTH", 61)
    remembered_splits(samples, scan, SplitSettings(), TASK)
    assert not (cache_directory() / "splits").exists()


def test_a_damaged_one_is_made_again() -> None:
    samples, scan = data(60)
    expected = remembered_splits(samples, scan, SplitSettings(), TASK)
    (file,) = (cache_directory() / "splits").iterdir()
    text = file.read_text()
    digits = text.index('"splits":"') + len('"splits":"')
    other = "1" if text[digits] != "1" else "0"
    wrong = text[:digits] + other + text[digits + 1 :]
    for damaged in (text[: len(text) // 2], wrong, "", f"{text[:-1]}ä"):
        file.write_text(damaged, encoding="utf-8")
        assert same(remembered_splits(samples, scan, SplitSettings(), TASK), expected)
        assert file.read_text() == text


def test_what_cannot_be_divided_is_refused_each_time() -> None:
    samples, scan = data(40, groups=1)
    for _ in range(2):
        with pytest.raises(DataError, match=r"^The split validation is empty"):
            remembered_splits(samples, scan, SplitSettings(), TASK)
