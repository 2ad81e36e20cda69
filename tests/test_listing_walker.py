"""One walker for training, evaluation and prediction: what it takes, passes over and refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medpipe.builtin.datasets.image_folder import ImageFolder
from medpipe.builtin.datasets.table import Table
from medpipe.data.listing.names import IMAGE_SUFFIXES, is_system_name, may_hold_system_names
from medpipe.data.listing.walking import FolderListing
from medpipe.plugin import DataError, Reading, spellings
from medpipe.prediction.listing import find_files
from support.drawn_dicom import write_series


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (6, 5), 9)
    image.putpixel((1, 1), value)
    image.save(path, format="PNG")


def predicted(root: Path, **options: Any) -> Any:
    return find_files(root, reading=Reading(), unit=options.pop("unit", "file"))


SYSTEM = [
    ".DS_Store",
    "._1.png",
    ".hidden.png",
    "Thumbs.db",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "Desktop.ini",
    "1.png~",
    ".#1.png",
    "#1.png#",
    "1.png.swp",
    "1.png.bak",
    "~$1.png",
    "SYNOFILE_THUMB_M.png",
    "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
    "__MACOSX/a/._1.png",
    ".ipynb_checkpoints/1-checkpoint.png",
    ".Trash-1000/1.png",
    "#recycle/1.png",
    "@Recycle/1.png",
    "@tmp/1.png",
    "$RECYCLE.BIN/1.png",
    "System Volume Information/1.png",
    "lost+found/1.png",
]


@pytest.mark.parametrize("name", SYSTEM)
def test_system_names_are_passed_over_and_counted_alike(tmp_path: Path, name: str) -> None:
    for place in ("a/1.png", "b/2.png", f"a/{name}", name):
        draw(tmp_path / place, len(place))
    dataset = ImageFolder(root=tmp_path).build()
    assert [sample.id for sample in dataset.samples] == ["a/1.png", "b/2.png"]
    assert dataset.task.names == ("a", "b")
    first = name.partition("/")[0]
    named = min(first, f"a/{first}")
    note = f"2 hidden or system names were passed over, {named!r} for one."
    assert dataset.notes == (note,)
    found = predicted(tmp_path)
    assert list(found.images) == ["a/1.png", "b/2.png"]
    assert found.notes == (note,)


def test_what_only_resembles_a_system_name_is_an_image(tmp_path: Path) -> None:
    names = ["a/thumbs.db.png", "a/x~1.png", "a/@home/1.png", "a/#1.png", "b/x.bak/1.png"]
    for name in names:
        draw(tmp_path / name)
    dataset = ImageFolder(root=tmp_path).build()
    assert sorted(sample.id for sample in dataset.samples) == sorted(names)
    assert dataset.notes == ()


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), max_size=4))
def test_all_at_once_no_system_name_is_missed(names: list[str]) -> None:
    names += [SYSTEM[len(names)].partition("/")[0]] if len(names) == 3 else []
    some = any(is_system_name(name, folder=folder) for name in names for folder in (False, True))
    assert may_hold_system_names(names) or not some


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_suffixes_of_images_in_any_case(tmp_path: Path, suffix: str) -> None:
    for place, name in enumerate((suffix, suffix.upper(), suffix.title())):
        draw(tmp_path / "a" / f"{place}{name}")
        draw(tmp_path / "b" / f"{place}{name}")
    dataset = ImageFolder(root=tmp_path).build()
    assert len(dataset.samples) == 6
    assert dataset.notes == ()
    # Named, a suffix is that one and no other.
    only = ImageFolder(root=tmp_path, suffixes=(suffix,)).build()
    assert len(only.samples) == 6


def test_windows_names_of_jpeg_are_listed_also_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a/0.jfif", "a/1.jpe", "a/2.png", "b/0.jfif", "b/1.jpe", "b/2.png"):
        draw(tmp_path / name)
    assert len(ImageFolder(root=tmp_path).build().samples) == 6
    asked = ImageFolder(root=tmp_path, suffixes=(".png", ".jfif", ".jpe")).build()
    assert len(asked.samples) == 6
    assert asked.notes == ()


def test_a_table_tries_a_suffix_in_all_its_spellings(tmp_path: Path) -> None:
    for name in ("1.JPG", "2.jfif", "3.jpeg", "4.jpg"):
        draw(tmp_path / name)
    (tmp_path / "t.csv").write_text("image,label\n1,a\n2,b\n3,a\n4,b\n")
    dataset = Table(file=tmp_path / "t.csv", suffixes=(".jpg",)).build()
    assert [Path(str(sample.image)).name for sample in dataset.samples] == [
        "1.JPG",
        "2.jfif",
        "3.jpeg",
        "4.jpg",
    ]
    assert [sample.id for sample in dataset.samples] == ["1", "2", "3", "4"]
    assert spellings(".TIFF") == (".TIFF", ".tif")
    assert spellings(".mha") == (".mha",)


def test_links_to_folders_are_counted_in_prediction_as_in_training(tmp_path: Path) -> None:
    for name in ("new/p1/1.png", "lake/p2/1.png"):
        draw(tmp_path / name)
    (tmp_path / "new" / "p2").symlink_to(tmp_path / "lake" / "p2")
    (tmp_path / "new" / "p1" / "loop").symlink_to(tmp_path / "new")
    found = predicted(tmp_path / "new")
    assert list(found.images) == ["p1/1.png"]
    note = "2 links to folders were not followed, 'p1/loop' for one."
    assert found.notes == (note,)
    (tmp_path / "new" / "p1" / "1.png").unlink()
    with pytest.raises(DataError) as caught:
        predicted(tmp_path / "new")
    assert str(caught.value).endswith(f"by their content.\n{note}")


def test_a_link_to_itself_is_named_with_its_cause(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        draw(tmp_path / name)
    (tmp_path / "a" / "x").symlink_to("x")
    (tmp_path / "a" / "y.png").symlink_to("nowhere")
    said = {
        "a/x": f"{tmp_path}/a/x can't be looked at: too many levels of symbolic links.",
        "a/y.png": f"{tmp_path}/a/y.png is a link to a file that is not there.",
    }
    faults = ImageFolder(root=tmp_path).build_with_faults().faults
    assert {fault.sample: fault.message for fault in faults} == said
    assert predicted(tmp_path).unreadable == said


def test_a_path_of_a_table_that_can_not_be_looked_at_is_not_taken_for_absent(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "1.png")
    (tmp_path / "loop").symlink_to("loop")
    draw(tmp_path / "3.png")
    (tmp_path / "t.csv").write_text("image,label\n1.png,a\nloop,b\n2.png,b\n3.png,b\n")
    dataset = Table(
        file=tmp_path / "t.csv", missing_files="drop", task="multiclass"
    ).build_with_faults()
    assert [(fault.kind, fault.message) for fault in dataset.faults] == [
        (
            "unreadable",
            f"row 3: {tmp_path}/loop can't be looked at: too many levels of symbolic links.",
        )
    ]
    assert dataset.notes[0].startswith("1 row without an image file was left out")


def test_names_that_look_the_same_are_told(tmp_path: Path) -> None:
    for name in ("1.png", "1\u200b.png", "X.png", "x.png", "p\u00a01/5.png", "p 1/6.png"):
        draw(tmp_path / "a" / name)
    draw(tmp_path / "b" / "2.png")
    dataset = ImageFolder(root=tmp_path).build_with_faults()
    assert [(fault.kind, fault.sample, fault.message) for fault in dataset.faults] == [
        (
            "id",
            "a/1\u200b.png",
            f"{tmp_path}/a holds '1.png' and '1\\u200b.png', which differ only in invisible "
            "characters (U+200B ZERO WIDTH SPACE). Rename or remove one of them.",
        )
    ]
    assert dataset.notes == (
        "Some names differ only in case, in spaces or in invisible characters, and each is taken "
        "as a name of its own: 'a/X.png', 'a/x.png'; 'a/p 1', 'a/p\\xa01'.",
    )


def test_class_folders_that_look_the_same_are_one_class(tmp_path: Path) -> None:
    for name in ("Benign", "Benign ", "Be\u00adnign", "Ill", "ill"):
        draw(tmp_path / name / "1.png")
    dataset = ImageFolder(root=tmp_path).build()
    assert dataset.task.names == ("Benign", "Ill", "ill")
    assert [sample.label for sample in dataset.samples] == [0, 0, 0, 1, 2]
    assert dataset.notes[-2:] == (
        "The class folders 'Benign', 'Benign ', 'Be\\xadnign' differ only in invisible "
        "characters, and are one class, 'Benign'.",
        "The classes 'Ill', 'ill' differ only in case, in spaces or in how a number is written. "
        "If they are the same class, merge them in dataset.classes.",
    )
    merged = ImageFolder(root=tmp_path, classes={"well": "Benign", "ill": ("Ill", "ill")}).build()
    assert [sample.label for sample in merged.samples] == [0, 0, 1, 1, 1]


def test_groups_that_look_the_same_are_one_and_others_are_told(tmp_path: Path) -> None:
    for name in ("a/p1_x.png", "a/p1\u200b_y.png", "b/P1_x.png", "b/p2_x.png"):
        draw(tmp_path / name)
    dataset = ImageFolder(root=tmp_path, group_pattern="([^/_]+)_").build()
    groups = {sample.id: sample.group for sample in dataset.samples}
    assert groups["a/p1_x.png"] == groups["a/p1\u200b_y.png"] == "p1"
    assert dataset.notes == (
        "dataset.group_pattern captures groups that differ only in case, in spaces or in how a "
        "number is written: 'P1', 'p1'. If they are the same group, rename them.",
    )


def test_a_folder_of_a_series_counts_what_it_passes_over(tmp_path: Path) -> None:
    import numpy as np

    for name in ("p1", "p2"):
        write_series(
            tmp_path / name, np.zeros((3, 4, 2), np.int16), SeriesInstanceUID=f"1.{name[1]}"
        )
    (tmp_path / "p1" / "._0.dcm").write_bytes(b"x")
    (tmp_path / "p1" / "more").symlink_to("../p2")
    (tmp_path / "t.csv").write_text("image,label\np1,a\np2,b\n")
    dataset = Table(file=tmp_path / "t.csv", unit="series").build()
    assert dataset.notes[:2] == (
        "1 hidden or system name was passed over, 'p1/._0.dcm'.",
        "1 link to a folder was not followed, 'p1/more'.",
    )


def test_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    listing = FolderListing(faults=[])
    listing.look_below(str(tmp_path))
    assert listing.files == {}
    assert listing.notes() == ("1 name of pipes, sockets and devices was passed over, 'pipe'.",)
    assert [fault.sample for fault in listing.faults or ()] == ["pipe.png"]
