"""The image folder data set: one folder for each class."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.builtin.datasets.image_folder import ImageFolder
from medpipe.plugin import DataError, Reading


def fill(root: Path, *files: str) -> Path:
    """Empty files, which is all that listing needs."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_images_at_any_depth_sorted_with_other_files_passed_over(tmp_path: Path) -> None:
    root = fill(
        tmp_path,
        *("ill/p2/deep/er/z.PNG", "ill/p10/a.jpeg", "healthy/b.TiFF", "healthy/B.bmp"),
        *("healthy/c.jpg", "healthy/d.tif", "healthy/Thumbs.db", "healthy/notes.txt"),
        *("healthy/._c.jpg", ".git/x.png", "ill/.hidden/y.png", "README.md", ".cover.png"),
    )
    dataset = ImageFolder(root=root, channels=1).build()
    assert dataset.task.kind == "multiclass"
    assert dataset.task.names == ("healthy", "ill")
    assert dataset.reading == Reading(channels=1)
    assert [(sample.id, sample.label) for sample in dataset.samples] == [
        ("healthy/B.bmp", 0),
        ("healthy/b.TiFF", 0),
        ("healthy/c.jpg", 0),
        ("healthy/d.tif", 0),
        ("ill/p10/a.jpeg", 1),
        ("ill/p2/deep/er/z.PNG", 1),
    ]
    assert {(sample.group, sample.split) for sample in dataset.samples} == {(None, None)}
    assert all(Path(str(sample.image)).is_file() for sample in dataset.samples)


def test_ids_and_classes_do_not_depend_on_the_unicode_form(tmp_path: Path) -> None:
    root = fill(tmp_path, "krank/u\u0308.png", "schla\u0308ft/a.png")
    dataset = ImageFolder(root=root).build()
    assert dataset.task.names == ("krank", "schl\u00e4ft")
    assert [sample.id for sample in dataset.samples] == ["krank/\u00fc.png", "schl\u00e4ft/a.png"]
    assert all(Path(str(sample.image)).is_file() for sample in dataset.samples)


@given(names=st.permutations([f"{label}/{number}.png" for label in "ab" for number in range(4)]))
def test_the_order_of_creation_changes_nothing(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = fill(tmp_path_factory.mktemp("folder"), *names)
    assert [sample.id for sample in ImageFolder(root=root).build().samples] == sorted(names)
    shutil.rmtree(root)


def test_groups_are_what_the_pattern_captures(tmp_path: Path) -> None:
    root = fill(tmp_path, "ill/person12_bacteria_3.png", "ill/person7_b_1.png", "well/person7.png")
    samples = ImageFolder(root=root, group_pattern=r"(person\d+)").build().samples
    assert [sample.group for sample in samples] == ["person12", "person7", "person7"]
    samples = ImageFolder(root=root, group_pattern=r"^(\w+)/person(\d)(x)?").build().samples
    assert [sample.group for sample in samples] == ["ill/1/", "ill/7/", "well/7/"]


def test_links_to_folders_are_not_followed_and_links_to_files_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = fill(tmp_path / "data", "a/1.png", "b/2.png")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "3.png").symlink_to(root / "b" / "2.png")
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        dataset = ImageFolder(root=root).build()
    assert [sample.id for sample in dataset.samples] == ["a/1.png", "a/3.png", "b/2.png"]
    assert dataset.notes == ("1 link to a folder was not followed, 'a/loop'.",)
    assert caplog.messages == [f"{root / 'a' / 'loop'} is a link to a folder and was not followed"]


def message(root: Path, **parameters: object) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(root=root, **parameters).build()  # type: ignore[arg-type]
    return str(caught.value)


def test_a_missing_folder_a_file_and_an_empty_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    assert message(root) == (
        f"dataset.root: there is no folder {root}. Name the folder that holds one folder for each "
        "class."
    )
    root.touch()
    assert message(root) == (
        f"dataset.root: {root} is a file. Name the folder that holds one folder for each class."
    )
    root.unlink()
    root.mkdir()
    expected = f"{root} is empty. It must hold one folder of images for each class."
    assert message(root) == expected
    fill(root, ".DS_Store", ".git/a.png")
    assert message(root) == expected
    fill(root, "labels.csv")
    assert message(root) == (
        f"{root} holds no folders. It must hold one folder of images for each class."
    )


def test_one_class_only(tmp_path: Path) -> None:
    assert message(fill(tmp_path, "ill/a.png")) == (
        f"{tmp_path} holds only one class, 'ill'. A classifier needs two or more: dataset.root "
        "must be the folder above the class folders."
    )


def test_folders_named_like_splits(tmp_path: Path) -> None:
    fill(tmp_path, "Train/ill/a.png", "test/ill/b.png", "testing/ill/b.png", "extra/c.png")
    assert message(tmp_path) == (
        f"{tmp_path} holds the folders 'Train', 'extra', 'test', 'testing': 'Train', 'test', "
        "'testing' look like splits of a data set, not like classes. To take them as splits, "
        "write:\n"
        "  [dataset.splits]\n"
        '  training = "Train"\n'
        '  test = ["test", "testing"]\n'
        "Or point dataset.root at one of them. If they are classes, name them in dataset.classes."
    )
    shutil.rmtree(tmp_path / "test")
    shutil.rmtree(tmp_path / "testing")
    assert message(tmp_path) == (
        f"{tmp_path} holds the folders 'Train', 'extra': 'Train' looks like a split of a data "
        "set, not like classes. To take them as splits, write:\n"
        "  [dataset.splits]\n"
        '  training = "Train"\n'
        "Or point dataset.root at one of them. If they are classes, name them in dataset.classes."
    )


def test_files_called_dicom_that_are_none(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "b/old.DCM", "b/older.dicom")
    assert message(tmp_path) == (
        "2 files called DICOM without DICOM's mark (DICM at byte 128), 'b/old.DCM' for one. Write "
        "such files again with pydicom.dcmread(path, force=True).save_as(path, "
        "enforce_file_format=True), or remove them."
    )


def test_class_folders_without_images(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.txt", "c/d/Thumbs.db", "d/3.png")
    kinds = (
        "Images are files ending in .png, .jpg, .jpeg, .jpe, .jfif, .jfi, .jif, .tif, .tiff, .bmp, "
        ".dib, .nii.gz, .nii, .npy, .npz, and "
    )
    assert message(tmp_path) == (
        f"{tmp_path}: no images in the class folders 'b', 'c'. {kinds}DICOM files. Remove the "
        "folders or add their images.\n"
        "1 file of other kinds was passed over, 'b/2.txt'.\n"
        "1 hidden or system name was passed over, 'c/d/Thumbs.db'."
    )
    shutil.rmtree(tmp_path / "c")
    assert message(tmp_path) == (
        f"{tmp_path}: no images in the class folder 'b'. {kinds}DICOM files. Remove the folder or "
        "add its images.\n"
        "1 file of other kinds was passed over, 'b/2.txt'."
    )


def test_images_outside_of_any_class(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "5.png", "4.JPG")
    assert message(tmp_path) == (
        f"{tmp_path} holds 2 images that are not in a class folder, '4.JPG' for one. Put each "
        "into the folder of its class."
    )


def test_links_that_would_lose_data(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    link = tmp_path / "c"
    link.symlink_to(tmp_path / "a")
    assert message(tmp_path) == (
        f"{link} is a link to a folder, and links to folders are not followed. Put the folder "
        "itself there, or remove the link."
    )
    link.unlink()
    broken = tmp_path / "a" / "3.png"
    broken.symlink_to(tmp_path / "nowhere.png")
    assert message(tmp_path) == f"{broken} is a link to a file that is not there."


def test_names_that_clash_or_are_not_utf8(tmp_path: Path) -> None:
    fill(tmp_path, "a/\u00fc.png", "a/u\u0308.png", "b/1.png")
    if len(list((tmp_path / "a").iterdir())) == 2:  # some file systems compose names themselves
        assert message(tmp_path).endswith(
            " have the same name in Unicode form NFC. Rename one of them."
        )
    shutil.rmtree(tmp_path / "a")
    fill(tmp_path, "a/1.png")
    try:
        (tmp_path / "a" / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        return
    assert message(tmp_path) == (
        f"{tmp_path / 'a'} holds a name that is not UTF-8: b'\\xff.png'. Rename it."
    )


REMEDY = (
    "Change the pattern, or give a list of patterns, of which the first that matches counts. Or "
    'set dataset.ungrouped to "own" (each of these images is a group of its own) or "drop" (they '
    "are left out)."
)


def test_files_that_the_pattern_does_not_match(tmp_path: Path) -> None:
    fill(tmp_path, "a/person1.png", "b/cover.png")
    assert message(tmp_path, group_pattern=r"(person\d+)") == (
        f"dataset.group_pattern captures nothing in 1 of 2 images in {tmp_path}:\n"
        f"  b/cover.png\n{REMEDY}"
    )
    # It is found in all, but captures nothing in one.
    assert message(tmp_path, group_pattern=r"(\d*)\.png") == (
        f"dataset.group_pattern captures nothing in 1 of 2 images in {tmp_path}:\n"
        f"  b/cover.png\n{REMEDY}"
    )
    fill(tmp_path, *(f"b/{number:02d}.png" for number in range(12)))
    lines = message(tmp_path, group_pattern=["(person)", "(x)"]).splitlines()
    assert lines[0] == f"dataset.group_pattern captures nothing in 13 of 14 images in {tmp_path}:"
    assert lines[10:] == ["  b/09.png", "  and 3 more", REMEDY]


def test_what_becomes_of_images_without_a_group(tmp_path: Path) -> None:
    fill(tmp_path, "a/p1.png", "a/x.png", "b/p2.png", "b/y.png")
    own = ImageFolder(root=tmp_path, group_pattern=r"(p\d)", ungrouped="own").build()
    assert [sample.group for sample in own.samples] == ["p1", None, "p2", None]
    assert own.notes == (
        "2 images in which dataset.group_pattern captures nothing are each a group of their own "
        "(dataset.ungrouped), 'a/x.png' for one.",
    )
    (tmp_path / "b" / "y.png").unlink()
    drop = ImageFolder(root=tmp_path, group_pattern=r"(p\d)", ungrouped="drop").build()
    assert [sample.id for sample in drop.samples] == ["a/p1.png", "b/p2.png"]
    assert drop.notes == (
        "1 image in which dataset.group_pattern captures nothing was left out "
        "(dataset.ungrouped), 'a/x.png'.",
    )
    text = message(tmp_path, group_pattern="(z)", ungrouped="drop")
    assert text.startswith(f"dataset.group_pattern captures nothing in 3 of 3 images in {tmp_path}")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (
            "(person",
            "'(person' is not a regular expression: missing ), unterminated subpattern at "
            "position 0.",
        ),
        (
            r"person\d+",
            r"'person\\d+' captures nothing. Put the part of the path that names the group (the "
            r"patient) in parentheses: (person\d+).",
        ),
    ],
)
def test_wrong_patterns_are_refused_before_any_work(pattern: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        ImageFolder(root=Path("data"), group_pattern=pattern)
