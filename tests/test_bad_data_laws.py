"""Laws of sorting out bad data: what is left out, what looks alike, what is remembered."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medpipe.data.preparation import prepare
from medpipe.data.quality import near_duplicates
from medpipe.data.quality.links import link_faults
from medpipe.data.quality.near_duplicates import (
    NEAR,
    PerceptualHashes,
    hashes_of,
    near_pairs,
    shrunk,
)
from medpipe.data.scanning.fingerprints import Fingerprint, Fingerprints, FoundFingerprints
from medpipe.data.scanning.pixel_defects import defect_of
from medpipe.errors import BadDataError
from medpipe.settings import SplitSettings
from medpipe.steps import Dataset, DecodedImage, Sample, Task
from support.examples import examples

TASK = Task(names=("a", "b"))
WORD = st.integers(0, 2**64 - 1)
NEARBY = st.lists(st.integers(0, 63), max_size=5)
"""Bits that are turned, so that near hashes occur at all."""


@st.composite
def hashes(draw: st.DrawFn) -> list[int]:
    found: list[int] = draw(st.lists(WORD, min_size=1, max_size=6))
    for bits in draw(st.lists(NEARBY, max_size=20)):
        word = found[draw(st.integers(0, len(found) - 1))]
        for bit in bits:
            word ^= 1 << bit
        found.append(word)
    return found


@given(found=hashes(), data=st.data())
def test_the_look_up_finds_what_comparing_all_pairs_finds(found: list[int], data: Any) -> None:
    splits = data.draw(st.lists(st.integers(0, 2), min_size=len(found), max_size=len(found)))
    near = {
        (one, other)
        for one, other in itertools.combinations(range(len(found)), 2)
        if (found[one] ^ found[other]).bit_count() <= NEAR
    }
    crossing = {pair for pair in near if splits[pair[0]] != splits[pair[1]]}
    looked_up = near_pairs(found, splits, most=10_000)
    assert (looked_up.count, looked_up.crossing) == (len(near), len(crossing))
    pairs = [(min(pair), max(pair)) for pair in looked_up.pairs]
    assert set(pairs) <= near
    # Of two hashes that are near one pair is named, in two splits if it can be; these come first.
    between = {frozenset((found[one], found[other])) for one, other in near}
    assert sorted(map(sorted, between)) == sorted(
        sorted({found[one], found[other]}) for one, other in pairs
    )
    crossed = [pair for pair in pairs if pair in crossing]
    assert pairs[: len(crossed)] == crossed
    assert {frozenset((found[one], found[other])) for one, other in crossed} == {
        frozenset((found[one], found[other])) for one, other in crossing
    }
    few = near_pairs(found, splits, most=2)
    assert (few.count, few.pairs) == (looked_up.count, looked_up.pairs[:2])


def test_thousands_of_images_of_one_hash_take_no_time() -> None:
    found = near_pairs([7] * 100_000, [0] * 99_999 + [1], most=5)
    assert (found.count, found.crossing) == (100_000 * 99_999 // 2, 99_999)
    assert found.pairs == [(0, 99_999)]


def test_the_look_up_is_the_same_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [number // 3 for number in range(60)]
    whole = near_pairs(found, [0] * 60, most=5000)
    monkeypatch.setattr(near_duplicates, "AT_ONCE", 7)
    assert near_pairs(found, [0] * 60, most=5000) == whole
    # One hash has up to 19 others to be compared with, and all of them 190 pairs.
    portions = near_duplicates._candidates(np.arange(20, dtype=np.uint64))
    assert max(len(one) for one, _ in portions) <= 19


def structured(seed: int, side: int = 96) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(30, 220, (8, 8), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def look(values: Any, *, channels: bool = False) -> int:
    return hashes_of(shrunk(DecodedImage(values=np.array(values), channels=channels))[None])[0]


def changed(seed: int) -> list[int]:
    """In how many bits copies that were changed a little differ from their image."""
    image = structured(seed)
    pixels = np.array(image)
    copies: list[Any] = [
        image.resize((48, 48), Image.Resampling.BOX),
        pixels // 2 + 60,  # brighter, with less contrast
        pixels.astype(np.uint16) * 257,
        pixels / 255,
        pixels + np.random.default_rng(0).normal(0, 1, pixels.shape),
        np.stack([pixels] * 5, axis=-1),  # a volume
    ]
    hashes = [look(copy) for copy in copies]
    hashes.append(look(np.repeat(pixels[..., None], 3, axis=-1), channels=True))
    return [(one ^ look(image)).bit_count() for one in hashes]


def test_copies_that_were_changed_a_little_look_alike_and_others_do_not() -> None:
    apart = [bits for seed in range(20) for bits in changed(seed)]
    assert sum(bits <= NEAR for bits in apart) >= 0.95 * len(apart)
    looks = [look(structured(seed)) for seed in range(100)]
    assert near_pairs(looks, [0] * 100, most=10).count == 0


def test_hashes_do_not_depend_on_what_is_hashed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "TOGETHER", 3)
    looks = PerceptualHashes()
    images = {f"s{n}": DecodedImage(values=np.array(structured(n, 40 + n))) for n in range(7)}
    for sample_id, image in images.items():
        looks.see(Sample(id=sample_id, image="x.png", label=0), image)
        assert len(looks._waiting) < 3  # no image is kept for long
    assert looks.hashes() == {id_: look(image.values) for id_, image in images.items()}


def leading_out(root: Path, *ids: str) -> list[str]:
    """The ids of those below a folder whose files lie elsewhere."""
    samples = [Sample(id=id_, image=str(root / id_), label=0) for id_ in ids]
    return [fault.sample for fault in link_faults(samples)]


def test_links_may_lead_anywhere_within_the_root_and_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for folder in (root / "b", tmp_path / "data2", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "x.png").write_bytes(b"")
    (root / "a").symlink_to(tmp_path / "elsewhere")  # a folder on the way to the file
    (root / "b" / "out.png").symlink_to(tmp_path / "data2" / "x.png")  # its name begins alike
    (root / "b" / "in.png").symlink_to(root / "b" / "x.png")
    ids = ("a/x.png", "b/out.png", "b/in.png", "b/x.png")
    assert leading_out(root, *ids) == ["a/x.png", "b/out.png"]
    (tmp_path / "link").symlink_to(root)
    assert leading_out(tmp_path / "link", *ids) == ["a/x.png", "b/out.png"]


FAULTY: dict[str, Any] = {
    "nan": np.full((4, 4), np.nan, np.float32),
    "infinite": np.diag([np.inf, 0, 0, 0]).astype(np.float32),
    "empty": np.empty((0, 4), np.uint8),
}


@settings(max_examples=examples(40), deadline=None)
@given(kinds=st.lists(st.sampled_from(["", "", *FAULTY, "label", "contradiction"]), max_size=12))
def test_quarantine_leaves_out_exactly_what_is_faulty(kinds: list[str]) -> None:
    random = np.random.default_rng(0)
    samples = [
        Sample(id=f"good{n}", image=random.integers(0, 256, (4, 4), np.uint8), label=n % 2)
        for n in range(20)
    ]
    faulty: dict[str, str] = {}
    for number, kind in enumerate(kinds):
        image = FAULTY.get(kind, random.integers(0, 256, (4, 4), np.uint8))
        label = 7 if kind == "label" else number % 2
        names = [f"x{number}"]
        samples.append(Sample(id=names[0], image=image, label=label))
        if kind == "contradiction":
            names.append(f"y{number}")
            samples.append(Sample(id=names[1], image=image, label=1 - label))
        faulty.update(dict.fromkeys(names if kind else [], kind))
    dataset = Dataset(samples=samples, task=TASK)
    prepared = prepare(dataset, SplitSettings(), workers=1, bad_data="quarantine")
    assert {fault.sample: fault.kind for fault in prepared.quarantine} == faulty
    left = {sample.id for sample in prepared.dataset.samples}
    assert left == {sample.id for sample in samples} - faulty.keys()
    assert prepared.split.keys() == prepared.scan.fingerprints.keys() == left
    if not faulty:
        assert prepared.dataset.notes == ()
        assert prepare(dataset, SplitSettings(), workers=1).split.by_id == prepared.split.by_id
        return
    with pytest.raises(BadDataError) as caught:
        prepare(dataset, SplitSettings(), workers=1)
    assert {fault.sample for fault in caught.value.faults} == faulty.keys()
    # What is left out by name stays out, whatever is found now.
    again = prepare(
        dataset, SplitSettings(), workers=1, bad_data="quarantine", left_out=prepared.quarantine
    )
    assert again.split.digest == prepared.split.digest
    assert again.quarantine == prepared.quarantine


NUMBERS = st.sampled_from([0.0, 1.0, -2.0, 3e38, np.nan, np.inf, -np.inf])


@given(values=st.lists(NUMBERS, min_size=1, max_size=9), columns=st.integers(1, 3))
def test_defects_are_what_looking_at_every_value_finds(values: list[float], columns: int) -> None:
    array = np.array(values * columns).reshape(-1, columns)
    expected = None
    if (array == array.flat[0]).all():
        expected = "constant"
    if np.isinf(array).any():
        expected = "infinite"
    if np.isnan(array).any():
        expected = "nan"
    assert defect_of(DecodedImage(values=array)) == expected
    assert defect_of(DecodedImage(values=array.astype(np.float32))) == expected


@given(
    pixels=st.lists(st.integers(0, 1), min_size=2, max_size=12).map(np.uint8),
    channels=st.integers(1, 4),
)
def test_constant_colours_are_constant(pixels: Any, channels: int) -> None:
    image = pixels[:, None, None] * np.arange(1, channels + 1, dtype=np.uint8)
    expected = "constant" if len(set(pixels.tolist())) == 1 else None
    assert defect_of(DecodedImage(values=image, channels=True)) == expected


def test_beyond_float32_is_infinite() -> None:
    assert defect_of(DecodedImage(values=np.array([[0.0, 1e39]]))) == "infinite"


@pytest.mark.parametrize("kind", ["e", "f", "d", "g"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_of_every_type(kind: str, value: float) -> None:
    assert defect_of(DecodedImage(values=np.array([[0, value]], kind))) == "infinite"
    assert defect_of(DecodedImage(values=np.array([[0, np.finfo(np.float16).max]], kind))) is None
    assert defect_of(DecodedImage(values=np.array([[0.0, -3.4e38]]))) is None


FLAW = st.sampled_from([None, None, "nan", "infinite", "constant"])


@given(defects=st.lists(FLAW, max_size=8), data=st.data())
def test_columns_keep_defects_with_their_samples(defects: list[Any], data: Any) -> None:
    prints = {
        f"s{n}": Fingerprint(sha256=f"{n:064x}", pixels=f"{n:032x}", shape=(2, 2), defect=defect)
        for n, defect in enumerate(defects)
    }
    cut = data.draw(st.integers(0, len(prints)))
    first, second = FoundFingerprints(), FoundFingerprints()
    for number, (sample_id, fingerprint) in enumerate(prints.items()):
        (first if number < cut else second).add(sample_id, fingerprint)
    first.extend(second)
    order = data.draw(st.permutations(list(prints)))
    some = order[: data.draw(st.integers(0, len(order)))]
    for columns in (first.of_ids(some), Fingerprints.of(prints).of_ids(some)):
        assert dict(columns) == {sample_id: prints[sample_id] for sample_id in some}
        assert list(columns.each()) == [prints[sample_id] for sample_id in some]
        assert columns.with_defect() == [(i, prints[i].defect) for i in some if prints[i].defect]
