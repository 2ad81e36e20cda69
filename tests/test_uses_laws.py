"""No patient and no image crosses a split, whatever a table brings: laws over made-up tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medpipe import DataError, Registry
from medpipe.data.preparation import PreparedData, prepare
from medpipe.settings import SplitSettings
from support import layouts
from support.examples import examples
from support.splits import nothing_crosses

PICTURES, COPIES = 14, 3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, each in several files of other names and formats."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        pixels = layouts.picture(number, bright=number % 2)[:12, :12]
        for copy, suffix in enumerate(("png", "bmp", "tif")):
            layouts.save(folder / f"{number}_{copy}.{suffix}", pixels)
    return folder


LABELS = {
    "multiclass": st.sampled_from(["ill", "well"]),
    "multilabel": st.sampled_from(["a", "b", "a|b", "none"]),
    "regression": st.integers(20, 90).map(str),
}
ASKED: dict[str, dict[str, Any]] = {
    "multiclass": {},
    "multilabel": {"separator": "|", "negative": ["none"]},
    "regression": {"task": "regression"},
}


@st.composite
def tables(draw: st.DrawFn, kind: str, *, splits: bool) -> list[dict[str, str]]:
    images = draw(
        st.lists(
            st.tuples(st.integers(0, PICTURES - 1), st.integers(0, COPIES - 1)),
            min_size=8,
            max_size=30,
            unique=True,
        )
    )
    suffixes = ("png", "bmp", "tif")
    words = st.sampled_from(["train", "train", "test"])
    return [
        {
            "image": f"{number}_{copy}.{suffixes[copy]}",
            "patient": f"p{draw(st.integers(0, 9))}",
            "label": draw(LABELS[kind]),
            **({"split": draw(words)} if splits else {}),
        }
        for number, copy in images
    ]


def dataset(files: Path, rows: list[dict[str, str]], **parameters: Any) -> Any:
    file = layouts.table(files / "table.csv", rows)
    return Registry.discover().datasets["table"](file=file, group="patient", **parameters).build()


def prepared(data: Any, asked: SplitSettings) -> PreparedData:
    # The tables give copies of one picture different labels.
    return prepare(data, asked, workers=1, bad_data="keep")


@pytest.mark.parametrize("kind", LABELS)
@settings(max_examples=examples(40), deadline=None)
@given(data=st.data(), folds=st.sampled_from([None, 2]), seed=st.integers(0, 3))
def test_what_medpipe_divides_never_crosses(
    files: Path, kind: str, data: st.DataObject, folds: int | None, seed: int
) -> None:
    rows = data.draw(tables(kind, splits=False))
    asked = SplitSettings(validation=0.25, test=0.25, seed=seed)
    if folds is not None:
        asked = SplitSettings(validation=0.25, seed=seed, folds=folds)
    try:
        found = prepared(dataset(files, rows, **ASKED[kind]), asked)
    except DataError:
        assume(False)  # too few groups for the splits, or a class without training samples
    nothing_crosses(found)


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_what_given_splits_leak_is_named_or_left_out(files: Path, data: st.DataObject) -> None:
    rows = data.draw(tables("multiclass", splits=True))
    assume({"ill", "well"} == {row["label"] for row in rows})
    word = {"train": "training", "test": "test"}
    homes: dict[str, set[str]] = {}
    for row in rows:
        for mark in (row["patient"], row["image"].partition("_")[0]):
            homes.setdefault(mark, set()).add(word[row["split"]])
    leaking = {mark for mark, splits in homes.items() if len(splits) > 1}
    asked = SplitSettings(validation=0, test=None if "test" in {r["split"] for r in rows} else 0)
    refusal = ""
    try:
        nothing_crosses(prepared(dataset(files, rows, split="split"), asked))
    except DataError as error:
        refusal = str(error)
    if leaking:
        assert refusal.startswith("The data set's own splits divide groups or duplicate images:")
        assert any(f"'{mark}'" in refusal or f"'{mark}_" in refusal for mark in leaking)
    try:
        kept = prepared(dataset(files, rows, split="split", on_leak="drop_train"), asked)
    except DataError as error:
        if "has no training samples" not in str(error) and "left for training" not in str(error):
            raise
        return
    nothing_crosses(kept)
    given_splits = {row["image"]: word[row["split"]] for row in rows}
    assert all(given_splits[id_] == split for id_, split in kept.split.items())
    left_out = set(given_splits) - set(kept.split)
    assert all(given_splits[id_] == "training" for id_ in left_out)
    assert bool(left_out) == bool(leaking)
    assert any("left out" in note for note in kept.dataset.notes) == bool(leaking)
