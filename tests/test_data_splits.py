"""The split: its laws, and the splits that data bring."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.data.scanning.scan import Scan, scan
from medpipe.data.splits.leaks import find_leaks
from medpipe.data.splits.shares import Unit, divide
from medpipe.data.splits.split import Splits, make_splits
from medpipe.data.splits.split_file import read_splits, write_splits
from medpipe.errors import DataError
from medpipe.settings import SplitSettings
from medpipe.steps import SPLITS, Sample, Split, Task
from support.examples import examples
from support.splits import TASK, sample_of, scan_of

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = SplitSettings(validation=0.2, test=0.2)
NOTHING = SplitSettings(validation=0, test=0)


@attrs.frozen(kw_only=True)
class Case:
    samples: list[Sample]
    pixels: dict[str, str]

    @property
    def scan(self) -> Scan:
        return scan_of(self.samples, self.pixels)

    def units(self) -> list[set[str]]:
        """What must stay together, found in another way than the library finds it."""
        sets = [{s.id} for s in self.samples]
        for key in ("group", "pixels"):
            members: dict[str, set[str]] = defaultdict(set)
            for s in self.samples:
                mark = s.group if key == "group" else self.pixels.get(s.id)
                if mark is not None:
                    members[mark].add(s.id)
            sets += members.values()
        merged: list[set[str]] = []
        for ids in sets:
            touching = [other for other in merged if other & ids]
            merged = [other for other in merged if not other & ids]
            merged.append(ids.union(*touching))
        return merged


@st.composite
def cases(draw: st.DrawFn, mixed: bool = False) -> Case:
    """Classes with groups and duplicates of many sizes; at least six units for each class."""
    samples: list[Sample] = []
    pixels: dict[str, str] = {}
    for label in range(2):
        for unit, size in enumerate(draw(st.lists(st.integers(1, 9), min_size=6, max_size=14))):
            kind = draw(st.sampled_from(["group", "pixels", "both"])) if size > 1 else "alone"
            for index in range(size):
                group, look = f"patient {label}-{unit}", f"look {label}-{unit}"
                # For "both" the first is a copy of the second, which brings the group.
                grouped = kind == "group" or (kind == "both" and index > 0)
                other = mixed and draw(st.integers(0, 9)) == 0
                s = sample_of(
                    f"{label}/{unit}/{index}.png",
                    1 - label if other else label,
                    group if grouped else None,
                )
                samples.append(s)
                if kind == "pixels" or (kind == "both" and index < 2):
                    pixels[s.id] = look
    return Case(samples=draw(st.permutations(samples)), pixels=pixels)


SETTINGS = st.builds(
    SplitSettings,
    validation=st.sampled_from([0, 0.1, 0.2, 0.33]),
    test=st.sampled_from([0, 0.1, 0.25]),
    seed=st.integers(0, 99),
)


@settings(max_examples=examples(150), deadline=None)
@given(case=cases(), how=SETTINGS)
def test_laws(case: Case, how: SplitSettings) -> None:
    split = make_splits(case.samples, case.scan, how, TASK)

    # disjoint and complete
    splits = [set(split.ids(name)) for name in SPLITS]
    assert set().union(*splits) == {s.id for s in case.samples}
    assert sum(map(len, splits)) == len(case.samples)
    # groups and duplicates whole
    units = case.units()
    assert all(len({split[i] for i in unit}) == 1 for unit in units)
    assert not find_leaks(case.samples, case.scan, split)
    # class shares within one group of the target
    labels = {s.id: s.label for s in case.samples}
    fractions: dict[Split, float] = {
        "training": 1 - how.validation - how.test,
        "validation": how.validation,
        "test": how.test,
    }
    for label in range(2):
        largest = max(sum(labels[i] == label for i in unit) for unit in units)
        total = sum(found == label for found in labels.values())
        for name, fraction in fractions.items():
            count = sum(labels[i] == label for i in split.ids(name))
            assert abs(count - fraction * total) <= largest + 1e-6
    # nothing is left empty
    assert all(split.counts[name] > 0 for name, fraction in fractions.items() if fraction > 0)


@settings(max_examples=examples(60), deadline=None)
@given(case=cases(mixed=True), how=SETTINGS, random=st.randoms(use_true_random=False))
def test_order_and_separator_change_nothing(case: Case, how: SplitSettings, random: Any) -> None:
    split = make_splits(case.samples, case.scan, how, TASK)
    assert not find_leaks(case.samples, case.scan, split)

    shuffled = random.sample(case.samples, len(case.samples))
    assert make_splits(shuffled, case.scan, how, TASK) == split

    there = [attrs.evolve(s, id=s.id.replace("/", "\\")) for s in shuffled]
    looks = {i.replace("/", "\\"): look for i, look in case.pixels.items()}
    elsewhere = make_splits(there, scan_of(there, looks), how, TASK)
    assert elsewhere == {i.replace("/", "\\"): name for i, name in split.items()}
    assert elsewhere.digest == split.digest


def test_composed_letters_change_nothing() -> None:
    composed = [sample_of(f"caf\u00e9 {n}", n % 2) for n in range(40)]
    apart = [attrs.evolve(s, id=s.id.replace("\u00e9", "e\u0301")) for s in composed]
    first = make_splits(composed, scan_of(composed), DEFAULT, TASK)
    second = make_splits(apart, scan_of(apart), DEFAULT, TASK)
    assert [first[s.id] for s in composed] == [second[s.id] for s in apart]
    assert first.digest == second.digest


PROCESS = """
import json, sys
from medpipe.data.scanning.scan import Fingerprint, Scan
from medpipe.data.splits.split import make_splits
from medpipe.settings import SplitSettings
from medpipe.steps import Sample, Task
rows = json.load(sys.stdin)
samples = [Sample(id=i, image="", label=label, group=group) for i, label, group, _ in rows]
prints = {i: Fingerprint(sha256=i, pixels=pixels, shape=()) for i, _, _, pixels in rows}
split = make_splits(
    samples, Scan(fingerprints=prints), SplitSettings(seed=3), Task(names=("ill", "well"))
)
print(json.dumps([dict(sorted(split.items())), split.digest]))
"""


def test_another_process_gives_the_same() -> None:
    samples = [
        sample_of(f"{n}.png", n % 2, f"patient {n // 3}" if n % 5 else None) for n in range(150)
    ]
    pixels = {s.id: f"look {int(s.id[:-4]) // 7}" for s in samples[::4]}
    here = make_splits(samples, scan_of(samples, pixels), SplitSettings(seed=3), TASK)
    rows = [(s.id, s.label, s.group, pixels.get(s.id, s.id)) for s in samples]
    for hash_seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", PROCESS],
            input=json.dumps(rows),
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == [dict(here), here.digest]


def test_split_is_pinned() -> None:
    """A split is the same in every version: change this only with a note to users."""
    samples = [sample_of(f"{n:03}.png", n % 2, f"patient {n // 3}") for n in range(120)]
    split = make_splits(samples, scan_of(samples), SplitSettings(), TASK)
    assert split.counts == {"training": 96, "validation": 12, "test": 12}
    assert split.digest == "64686abb53841ce6faf758186a6fb581673b5d7d0fd03437023603a87d5a1113"


def test_seeds_differ() -> None:
    samples = [sample_of(f"{n}.png", n % 2) for n in range(100)]
    first, second = (
        make_splits(samples, scan_of(samples), SplitSettings(seed=seed), TASK) for seed in (0, 1)
    )
    assert first != second
    assert first.counts == second.counts == {"training": 80, "validation": 10, "test": 10}


def test_large_groups_reach_every_split() -> None:
    """Patients with half of a class each do not all land in training."""
    samples = [
        sample_of(f"{n}-{i}", 0, f"patient {n}")
        for n in range(10)
        for i in range(40 if n < 3 else 2)
    ]
    samples += [sample_of(f"well {n}", 1) for n in range(50)]
    homes = Counter[str]()
    for seed in range(20):
        how = SplitSettings(validation=0.3, test=0.3, seed=seed)
        split = make_splits(samples, scan_of(samples), how, TASK)
        homes.update(split[f"{n}-0"] for n in range(3))
    assert min(homes[split] for split in SPLITS) >= 10


def test_units_are_moved_until_shares_fit() -> None:
    """One by one, both units of ten would leave training thirteen short of its share."""
    sizes = (5, 10, 10, 1, 2, 5, 1)
    units = [Unit(ids=(str(n),), counts=((0, size),)) for n, size in enumerate(sizes)]
    shares: dict[Split, float] = {"training": 0.8, "validation": 0.1, "test": 0.1}
    placed = divide(units, shares, home="training")
    for split, share in shares.items():
        count = sum(size for size, given in zip(sizes, placed, strict=True) if given == split)
        assert abs(count - share * sum(sizes)) <= max(sizes)


def test_copies_of_one_image_are_trained_on() -> None:
    """In an evaluation they would count several times."""
    samples = [sample_of(f"{n}", n % 2) for n in range(200)]
    pixels = {f"{n}": f"look {n % 20}" for n in range(60)}
    split = make_splits(samples, scan_of(samples, pixels), DEFAULT, TASK)
    assert {split[i] for i in pixels} == {"training"}
    assert split.counts == {"training": 120, "validation": 40, "test": 40}


def test_split_is_a_mapping() -> None:
    split = Splits(by_id={"b": "test", "a": "training", "c": "test"})
    assert dict(split) == {"a": "training", "b": "test", "c": "test"}
    assert split == Splits(by_id={"c": "test", "b": "test", "a": "training"})
    assert split.ids("test") == ("b", "c")
    assert repr(split) == "Splits(training=1, validation=0, test=2)"


def test_findings_are_shared_out() -> None:
    findings = [(float(n % 2), float(n % 10 == 0), float(n % 25 == 0)) for n in range(500)]
    samples = [sample_of(f"{n}", label) for n, label in enumerate(findings)]
    task = Task(kind="multilabel", names=("mass", "nodule", "effusion"))
    split = make_splits(samples, scan_of(samples), SplitSettings(), task)
    by_id = {s.id: s.label for s in samples}
    for finding, total in enumerate((250, 50, 20)):
        counts = [sum(by_id[i][finding] for i in split.ids(name)) for name in SPLITS]
        expected = [0.8 * total, 0.1 * total, 0.1 * total]
        assert all(abs(a - b) <= 1 for a, b in zip(counts, expected, strict=True))
    assert abs(split.counts["test"] - 50) <= 2


def test_values_are_shared_out() -> None:
    samples = [sample_of(f"{n}", (n * 37 % 400) / 4) for n in range(400)]
    samples.append(sample_of("unknown", math.nan))
    task = Task(kind="regression", names=("age",), unit="years")
    split = make_splits(samples, scan_of(samples), SplitSettings(), task)
    ages = {s.id: s.label for s in samples}
    for name, count in (("training", 32), ("validation", 4), ("test", 4)):
        tenths = Counter(int(ages[i] // 10) for i in split.ids(name) if i != "unknown")
        assert set(tenths.values()) == {count}


# The splits that data bring.


@settings(max_examples=examples(80), deadline=None)
@given(case=cases(), data=st.data())
def test_given_splits_stand(case: Case, data: st.DataObject) -> None:
    """A test split that the data bring stays as it is; validation is carved from the rest."""
    units = case.units()
    tested = set().union(*data.draw(st.lists(st.sampled_from(units), max_size=2)))
    said = data.draw(st.booleans())
    samples = [
        attrs.evolve(s, split="test" if s.id in tested else "training" if said else None)
        for s in case.samples
    ]
    how = SplitSettings(validation=0.2, test=0)
    split = make_splits(samples, case.scan, how, TASK)
    assert set(split.ids("test")) == tested
    rest = attrs.evolve(case, samples=[s for s in samples if s.id not in tested])
    alone = make_splits(rest.samples, rest.scan, how, TASK)
    assert {i: name for i, name in split.items() if i not in tested} == alone


def _error(samples: list[Sample], how: SplitSettings, pixels: dict[str, str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        make_splits(samples, scan_of(samples, pixels), how, TASK)
    return str(caught.value)


def test_fraction_for_a_given_part() -> None:
    samples = [sample_of(f"{n}", n % 2, split="test" if n < 9 else None) for n in range(60)]
    assert _error(samples, SplitSettings(test=0.1)) == (
        "The data set has its own split test (9 samples). Leave split.test out."
    )
    samples[20] = attrs.evolve(samples[20], split="validation")
    assert _error(samples, DEFAULT) == (
        "The data set has its own splits validation (1 sample) and test (9 samples). Leave "
        "split.validation and split.test out."
    )


def test_what_is_carved_where_nothing_is_said() -> None:
    """A tenth each, or nothing where the data bring the split; 0 is as good as nothing there."""
    samples = [sample_of(f"{n}", n % 2) for n in range(100)]
    brought = [*samples, *(sample_of(f"t{n}", n % 2, split="test") for n in range(7))]
    both = [*brought, *(sample_of(f"v{n}", n % 2, split="validation") for n in range(5))]
    for some, counts in ((samples, (80, 10, 10)), (brought, (90, 10, 7)), (both, (100, 5, 7))):
        split = make_splits(some, scan_of(some), SplitSettings(), TASK)
        assert tuple(split.counts.values()) == counts
    assert make_splits(brought, scan_of(brought), SplitSettings(test=0), TASK) == make_splits(
        brought, scan_of(brought), SplitSettings(validation=0.1), TASK
    )


def test_part_with_another_name() -> None:
    samples = [sample_of("a", 0, split="train"), sample_of("b", 1)]
    assert _error(samples, NOTHING) == (
        "The sample 'a' has the split 'train'. The splits are training, validation, test."
    )


def test_planted_leaks_are_found_and_named() -> None:
    samples = [sample_of(f"{n:02}.png", n % 2, f"patient {n // 2}", "training") for n in range(40)]
    for n in (1, 7, 13, 19, 24, 25):
        samples[n] = attrs.evolve(samples[n], split="test")
    pixels = {"24.png": "same", "30.png": "same", "25.png": "whole", "01.png": "whole"}
    assert _error(samples, NOTHING, pixels) == (
        "The data set's own splits divide groups or duplicate images:\n  4 groups: 'patient 0' "
        "(training, test), 'patient 3' (training, test), 'patient 6' (training, test) and 1 "
        "more.\n  1 set of duplicate images: '24.png' (test) = '30.png' (training).\nCorrect "
        'these splits, set dataset.on_leak = "drop_train" to leave the training side out, or '
        "leave the splits out and let medpipe divide the samples."
    )


def test_too_few_groups() -> None:
    samples = [sample_of(f"{n}", n % 2, f"patient {n % 2}") for n in range(20)]
    assert _error(samples, SplitSettings(validation=0, test=0.25)) == (
        "The split test is empty: there are 2 groups (patients, or images on their own; "
        "duplicates count as one), too few for split.test = 0.25. "
        "Raise it, set it to 0, or add data."
    )


def test_few_groups_in_each_class_fill_every_split() -> None:
    samples = [sample_of(f"{n}", n % 3, f"patient {n % 6}") for n in range(60)]
    task = Task(names=("a", "b", "c"))
    split = make_splits(samples, scan_of(samples), DEFAULT, task)
    assert min(split.counts.values()) >= 10


def test_class_without_training_samples() -> None:
    samples = [sample_of(f"{n}", int(n < 4), split="test" if n < 4 else None) for n in range(20)]
    assert _error(samples, NOTHING) == (
        "The class 'well' has no training samples: all its 4 samples are in other splits. "
        "Remove the class, or give it more samples or groups."
    )
    assert _error([sample_of("a", 1)], NOTHING) == (
        "The class 'ill' has no training samples: it has no samples. "
        "Remove the class, or give it more samples or groups."
    )


@pytest.mark.long
@pytest.mark.real_data
def test_mednist(tmp_path: Path) -> None:
    from medpipe.builtin.datasets.mednist import MedNIST

    dataset = MedNIST().build()
    found = scan(dataset, workers=os.cpu_count() or 1)
    split = make_splits(dataset.samples, found, SplitSettings(), dataset.task)

    copies = Counter(f.pixels for f in found.fingerprints.values())
    copied = [count for count in copies.values() if count > 1]
    assert len(copied) == 348
    assert sum(copied) - len(copied) == 440
    assert not find_leaks(dataset.samples, found, split)
    assert all(
        copies[f.pixels] == 1 or split[i] == "training" for i, f in found.fingerprints.items()
    )
    assert split.counts == {"training": 47163, "validation": 5896, "test": 5895}
    assert split.digest == "7e48e6fbd962f0af8205bda324c4eec6dc5ce9c417b65f70f78af445be472af7"

    write_splits(tmp_path / "splits.csv", split, dataset.samples, found)
    assert read_splits(tmp_path / "splits.csv", dataset, found, SplitSettings())[1] == split
