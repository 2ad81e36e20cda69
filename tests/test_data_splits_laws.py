"""Laws of the split over made-up patients, duplicates, given splits, labels of all kinds, folds."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.data.quality.contradictions import contradictions
from medpipe.data.scanning.scan import Fingerprint, Scan
from medpipe.data.splits.leak_messages import leak_lines
from medpipe.data.splits.leak_removal import without_leaks
from medpipe.data.splits.leaks import find_leaks, predefined_splits
from medpipe.data.splits.split import Splits, make_splits
from medpipe.errors import DataError
from medpipe.settings import SplitSettings
from medpipe.steps import SPLITS, Dataset, Sample, Task
from support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS = {
    "multiclass": Task(names=("ill", "well")),
    "multilabel": Task(kind="multilabel", names=("mass", "nodule", "effusion")),
    "regression": Task(kind="regression", names=("age",), unit="years"),
}
LABELS: dict[str, st.SearchStrategy[Any]] = {
    "multiclass": st.integers(0, 1),
    "multilabel": st.tuples(*[st.sampled_from([0.0, 0.0, 1.0, math.nan])] * 3),
    "regression": st.one_of(st.floats(0, 100), st.just(math.nan)),
}


@attrs.frozen(kw_only=True)
class Made:
    dataset: Dataset
    scan: Scan

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.dataset.samples

    def sets(self) -> list[set[str]]:
        """Every group and every set of copies."""
        members: dict[tuple[str, str], set[str]] = defaultdict(set)
        for s in self.samples:
            members["pixels", self.scan.fingerprints[s.id].pixels].add(s.id)
            if s.group is not None:
                members["group", s.group].add(s.id)
        return list(members.values())

    def merged(self) -> list[set[str]]:
        """Groups and copies combined, found in another way than the library finds it."""
        merged: list[set[str]] = []
        for ids in self.sets():
            touching = [other for other in merged if other & ids]
            merged = [other for other in merged if not other & ids]
            merged.append(ids.union(*touching))
        return merged


@st.composite
def made(draw: st.DrawFn, *, brought: bool = False, leaky: bool = False, units: int = 6) -> Made:
    """Patients with several images, some of them copies of other images, of any patient."""
    kind = draw(st.sampled_from(sorted(TASKS)))
    sizes = draw(st.lists(st.integers(1, 5), min_size=units, max_size=16))
    samples: list[Sample] = []
    pixels: dict[str, str] = {}
    for patient, size in enumerate(sizes):
        grouped = draw(st.integers(0, 3)) > 0
        # Copies link patients: seldom, so that there is something to divide.
        for image in range(size):
            id_ = f"{patient:02}/{image}.png"
            copied = bool(samples) and draw(st.integers(0, 11)) == 0
            pixels[id_] = pixels[draw(st.sampled_from(samples)).id] if copied else id_
            label = draw(LABELS[kind])
            samples.append(
                Sample(id=id_, image="", label=label, group=f"p{patient}" if grouped else None)
            )
    prints = {i: Fingerprint(sha256=i, pixels=look, shape=()) for i, look in pixels.items()}
    found = Made(
        dataset=Dataset(samples=samples, task=TASKS[kind], on_leak="drop_train"),
        scan=Scan(fingerprints=prints),
    )
    if brought:
        choices = [*SPLITS, None] if leaky else ["test", "training", None, None]
        homes: dict[str, Any] = {}
        for ids in found.merged():
            home = draw(st.sampled_from(choices))
            for id_ in sorted(ids):
                moved = leaky and draw(st.integers(0, 4)) == 0
                homes[id_] = draw(st.sampled_from(choices)) if moved else home
        placed = [attrs.evolve(s, split=homes[s.id]) for s in draw(st.permutations(samples))]
        found = attrs.evolve(found, dataset=attrs.evolve(found.dataset, samples=placed))
    return found


def _split(case: Made, how: SplitSettings) -> Splits | None:
    """None where the library says that these few samples can't be divided so."""
    try:
        return make_splits(case.samples, case.scan, how, case.dataset.task)
    except DataError as error:
        known = ("is empty: there", "can't be filled: there", "has no training samples")
        if not any(text in str(error) for text in known):
            raise
        return None


def _whole(ids: Iterable[set[str]], split: Splits) -> bool:
    return all(len({split[i] for i in some}) == 1 for some in ids)


HOW = st.one_of(
    st.builds(
        SplitSettings,
        validation=st.sampled_from([None, 0, 0.2, 0.3]),
        seed=st.integers(0, 9),
    ),
    st.builds(
        lambda folds, fold, **others: SplitSettings(folds=folds, fold=fold % folds, **others),
        folds=st.integers(2, 5),
        fold=st.integers(0, 4),
        seed=st.integers(0, 9),
    ),
)


@settings(max_examples=examples(200), deadline=None)
@given(case=made(brought=True), how=HOW, random=st.randoms(use_true_random=False))
def test_nothing_crosses_and_nothing_is_lost(case: Made, how: SplitSettings, random: Any) -> None:
    split = _split(case, how)
    if split is None:
        return
    assert sorted(split) == sorted(s.id for s in case.samples)
    assert _whole(case.sets(), split)
    assert all(split[s.id] == "test" for s in case.samples if s.split == "test")
    shuffled = random.sample(case.samples, len(case.samples))
    again = make_splits(shuffled, case.scan, how, case.dataset.task)
    assert (again, again.folds) == (split, split.folds)


@settings(max_examples=examples(120), deadline=None)
@given(case=made(brought=True, units=8), folds=st.integers(2, 5), seed=st.integers(0, 9))
def test_every_sample_is_held_out_once(case: Made, folds: int, seed: int) -> None:
    splits = [
        _split(case, SplitSettings(folds=folds, fold=fold, seed=seed)) for fold in range(folds)
    ]
    known = [(fold, split) for fold, split in enumerate(splits) if split is not None]
    tested = {s.id for s in case.samples if s.split == "test"}
    held: Any = "validation" if tested else "test"
    for fold, split in known:
        assert split.folds == known[0][1].folds  # it does not depend on the fold
        assert split.folds.keys() == {s.id for s in case.samples} - tested
        assert set(split.ids(held)) == {i for i, home in split.folds.items() if home == fold}
        assert set(split.folds.values()) == set(range(folds))


@settings(max_examples=examples(200), deadline=None)
@given(case=made(brought=True, leaky=True))
def test_left_out_is_only_what_crosses_and_nothing_crosses_then(case: Made) -> None:
    splits = predefined_splits(case.samples)
    kept = without_leaks(case.dataset, case.scan, splits)
    ids = {s.id for s in kept.samples}
    assert not find_leaks(kept.samples, case.scan, splits)
    for together in case.merged():
        homes = {splits[i] for i in together}
        # All that belongs together is in the split that counts most.
        stays = next(split for split in ("test", "validation", "training") if split in homes)
        assert together & ids == {i for i in together if splits[i] == stays}
    crossing = find_leaks(case.samples, case.scan, splits)
    assert len(kept.notes) == bool(crossing)
    if crossing:
        assert f"{len(case.samples) - len(ids)} sample" in kept.notes[0]
        assert all(line in kept.notes[0] for line in leak_lines(crossing, splits))
        with pytest.raises(DataError, match="drop_train"):
            make_splits(
                case.samples, case.scan, SplitSettings(validation=0, test=0), case.dataset.task
            )
    # Where a split is possible then, everything that is given stands.
    how = SplitSettings(validation=0, test=0)
    split = _split(attrs.evolve(case, dataset=kept), how)
    if split is not None:
        assert dict(split) == {i: splits[i] for i in ids}


@settings(max_examples=examples(100), deadline=None)
@given(case=made())
def test_images_under_different_labels_are_noted(case: Made) -> None:
    looks: dict[str, list[Any]] = defaultdict(list)
    for s in case.samples:
        label = s.label if isinstance(s.label, tuple) else (s.label,)
        looks[case.scan.fingerprints[s.id].pixels].append(label)
    wrong = 0
    for labels in looks.values():
        for column in zip(*labels, strict=True):
            if len({value for value in column if value == value}) > 1:
                wrong += 1
                break
    note = contradictions(case.samples, case.scan, case.dataset.task)
    assert (note is None) == (wrong == 0)
    if note is not None:
        assert note.startswith(f"{wrong} image{'s' if wrong > 1 else ''} appear")
