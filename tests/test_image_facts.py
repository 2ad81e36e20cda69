"""What images look like, kept as plain data, and in what another one differs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.data.readers.reader import read_image
from medpipe.data.scanning.image_facts import (
    ImageFacts,
    facts_of,
    measured_facts,
    summary,
    training_facts,
)
from medpipe.data.scanning.scan import scan
from medpipe.prediction.unlike import TIMES, dataset_notes, unlike
from medpipe.steps import Dataset, DecodedImage, Reading, Sample, Series, Task
from support.drawn_dicom import write_dicom, write_series
from support.folders import phantom
from support.trained import write_png


def pixels(number: int = 3) -> Any:
    return phantom(12, 32).samples[number].image


def test_a_series_has_the_modality_of_its_files(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    files = write_series(tmp_path / "s", values)
    image = read_image(files[0])
    assert facts_of(image).spacing == (2.0, 3.0)
    dataset = listed({"a": Series(files=tuple(map(str, files)))})
    assert known(dataset)["modalities"] == []
    write_series(tmp_path / "s", values, Modality="MR")
    assert known(dataset)["modalities"] == ["MR"]


def listed(images: dict[str, Any], reading: Reading = Reading()) -> Dataset:
    samples = [Sample(id=id_, image=image, label=0) for id_, image in images.items()]
    return Dataset(samples=samples, task=Task(names=("a", "b")), reading=reading)


def known(dataset: Dataset) -> dict[str, Any]:
    prints = scan(dataset, workers=1).fingerprints
    found = training_facts(dataset.samples, prints, dataset.reading)
    assert found is not None
    assert json.loads(json.dumps(found)) == found
    return found


@pytest.mark.parametrize(("channels", "of_file"), [(1, 3), (3, 1)])
def test_the_channels_are_those_of_the_file(tmp_path: Path, channels: Any, of_file: int) -> None:
    grey = pixels()
    values = grey if of_file == 1 else np.stack([grey] * 3, axis=-1)
    path = write_png(tmp_path / "a.png", values)
    for reading in (Reading(channels=channels), Reading(channels="auto"), Reading()):
        assert facts_of(read_image(path, reading)).channels == of_file
    dicom = write_dicom(tmp_path / "a.dcm", values, colours=of_file == 3)
    assert facts_of(read_image(dicom, Reading(channels=channels))).channels == of_file


def test_of_many_images_few_are_read_and_of_large_ones_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    images = {
        f"{number:03}": generator.integers(0, 200, (4, 4 + number % 7), np.uint8)
        for number in range(200)
    }
    images["150"][:] = 7
    dataset = listed(images)
    prints = scan(dataset, workers=1).fingerprints
    chosen = measured_facts(dataset.samples, prints, dataset.reading)
    assert 50 <= len(chosen) <= 64
    found = known(dataset)
    assert found["sides"] == {"2": [[4, 4], [4, 10]]}
    assert found["constant"]
    monkeypatch.setattr("medpipe.data.scanning.image_facts.VALUES", 100)
    few = measured_facts(dataset.samples, prints, dataset.reading)
    assert sum(np.prod(facts.sides) for _, facts in few[:-1]) < 100 < 28 * len(few)


def test_of_a_large_data_set_a_part_is_looked_at() -> None:
    full = ImageFacts(channels=1, sides=(4, 4), lowest=0, highest=255)
    images = {f"{number:03}": np.full((4, 4), 1000 + number) for number in range(130)}
    dataset = listed(images)
    prints = scan(dataset, workers=1).fingerprints
    assert dataset_notes(dataset.samples, prints, dataset.reading, summary([full])) == [
        "44 of 44 images that were looked at have a range of values unlike training's (000 1000 "
        "everywhere, 003 1003 everywhere, 006 1006 everywhere and 41 more): training had 0 to 255, "
        "each image a range of at least 255."
    ]
    assert dataset_notes(dataset.samples, prints, dataset.reading, None) == []


def test_what_can_no_longer_be_read_is_left_out(tmp_path: Path) -> None:
    images = {f"{n}": str(write_png(tmp_path / f"{n}.png", pixels(n))) for n in range(3)}
    dataset = listed(images)
    prints = scan(dataset, workers=1).fingerprints
    Path(images["1"]).unlink()
    found = training_facts(dataset.samples, prints, dataset.reading)
    assert found is not None
    assert found["measured"] == 2
    Path(images["0"]).write_bytes(b"")
    Path(images["2"]).unlink()
    assert training_facts(dataset.samples, prints, dataset.reading) is None


def test_where_training_had_constant_images_others_may_be() -> None:
    flat = ImageFacts(channels=1, sides=(8, 8), lowest=25, highest=25)
    full = ImageFacts(channels=1, sides=(8, 8), lowest=0, highest=255)
    weak = ImageFacts(channels=1, sides=(8, 8), lowest=0, highest=1)
    assert unlike(flat, summary([full])) == {"values": "25 everywhere"}
    assert unlike(flat, summary([full], constant=True)) == {}
    for some in ([full], [full, flat]):
        assert unlike(weak, summary(some)) == {"values": "0 to 1"}


@pytest.mark.parametrize(
    ("lowest", "highest", "differs"),
    [
        (-249, 1000, False),
        (-251, 1000, True),
        (0, 5000, False),
        (0, 5001, True),
        (100, 140, False),
        (100, 139, True),
        (0, 5, True),
    ],
)
def test_how_far_values_may_be_from_those_in_training(
    lowest: float, highest: float, differs: bool
) -> None:
    def image(low: float, high: float) -> ImageFacts:
        return ImageFacts(channels=1, sides=(8, 8), lowest=low, highest=high)

    kept = summary([image(0, 400), image(0, 1000), image(500, 2500)])
    assert kept["values"] == [0, 2500]
    assert kept["widths"] == [400, 1000]
    assert ("values" in unlike(image(lowest, highest), kept)) == differs


def test_values_that_are_not_finite_are_passed_over() -> None:
    values = np.array([[np.nan, 1.0], [np.inf, 3.0]], np.float32)
    facts = facts_of(DecodedImage(values=values))
    assert (facts.lowest, facts.highest) == (1.0, 3.0)
    nothing = facts_of(DecodedImage(values=np.full((2, 2), np.nan)))
    assert (nothing.lowest, nothing.highest) == (0.0, 0.0)


finite = st.floats(-3e38, 3e38)
lengths = st.floats(1e-3, 1e3)


@st.composite
def facts(draw: st.DrawFn, axes: int | None = None) -> ImageFacts:
    axes = axes or draw(st.sampled_from([2, 3]))
    low, high = sorted(draw(st.tuples(finite, finite)))
    some = st.lists(lengths, min_size=axes, max_size=axes).map(tuple)
    return ImageFacts(
        channels=draw(st.integers(1, 5)),
        sides=draw(st.tuples(*[st.integers(1, 4000)] * axes)),
        lowest=low,
        highest=high,
        spacing=draw(st.none() | some),
    )


@given(st.lists(facts(), min_size=1, max_size=8))
def test_no_image_is_unlike_those_that_it_is_one_of(some: list[ImageFacts]) -> None:
    kept = json.loads(json.dumps(summary(some)))
    assert all(unlike(one, kept) == {} for one in some)
    assert kept == json.loads(json.dumps(summary(some[::-1])))


@given(st.lists(facts(3), min_size=1, max_size=5), facts(3), st.integers(0, 2))
def test_one_side_beyond_the_factor_is_enough(
    some: list[ImageFacts], other: ImageFacts, axis: int
) -> None:
    low = min(one.sides[axis] for one in some)
    high = max(one.sides[axis] for one in some)
    kept = summary(some)
    side = other.sides[axis]
    if not low / TIMES <= side <= high * TIMES:
        assert unlike(other, kept)["size"] == " x ".join(map(str, other.sides))
    elif all(
        min(one.sides[a] for one in some) <= other.sides[a] <= max(one.sides[a] for one in some)
        for a in range(3)
    ):
        assert "size" not in unlike(other, kept)


@given(st.lists(facts(), min_size=1, max_size=5), facts())
def test_more_training_images_never_make_a_size_stranger(
    some: list[ImageFacts], other: ImageFacts
) -> None:
    few, more = unlike(other, summary(some[:1])), unlike(other, summary(some))
    for kind in ("channels", "size"):
        assert kind in few or kind not in more


# Real data


def real(name: str) -> Path:
    folder = Path(os.environ["MEDPIPE_DATA"]) / name
    if not folder.is_dir():
        pytest.skip(f"needs MEDPIPE_DATA to name a folder with {name} unpacked")
    return folder


@pytest.mark.real_data
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "pattern", "channels"),
    [("Task04_Hippocampus", "imagesTr/*.nii*", None), ("nuclei", "images/*.png", 1)],
)
def test_of_real_data_no_split_is_unlike_the_other(name: str, pattern: str, channels: Any) -> None:
    reading = Reading(channels=channels)
    dataset = listed({p.name: str(p) for p in sorted(real(name).glob(pattern))}, reading)
    prints = scan(dataset, workers=2).fingerprints
    images = {s.id: facts_of(read_image(s.image, reading)) for s in dataset.samples}
    assert len(images) > 200
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(images))
        samples = [dataset.samples[place] for place in order]
        half = len(samples) // 2
        kept = training_facts(samples[:half], prints, reading)
        assert kept is not None
        assert {s.id: found for s in samples if (found := unlike(images[s.id], kept))} == {}
