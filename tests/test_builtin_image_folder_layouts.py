"""The image folder data set on folders that are laid out as public sets are, and its settings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import medpipe
from medpipe.builtin.datasets.image_folder import ImageFolder
from medpipe.plugin import DataError, Reading, Series
from support.drawn_dicom import write_black, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

KERMANY = (r"(person\d+)_", r"(NORMAL2-IM-\d+)-", r"(IM-\d+)-")


def fill(root: Path, *files: str) -> Path:
    """Empty files, which is all that listing needs."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def message(root: Path, **parameters: object) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(root=root, **parameters).build()  # type: ignore[arg-type]
    return str(caught.value)


def kermany(root: Path) -> Path:
    """The layout of the chest X-rays of Kermany and others (2018)."""
    return fill(
        root,
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0383-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0383-0002.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_virus_6.jpeg",
        "train/PNEUMONIA/person2_virus_7.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person100_bacteria_475.jpeg",
        "test/.DS_Store",
        "__MACOSX/train/._NORMAL",
    )


def test_given_splits_with_patients_in_the_file_names(tmp_path: Path) -> None:
    root = kermany(tmp_path)
    dataset = ImageFolder(
        root=root,
        splits={"train": "train", "test": "test"},
        group_pattern=KERMANY,
        channels=1,
        on_leak="drop_train",
    ).build()
    assert dataset.task.names == ("NORMAL", "PNEUMONIA")
    assert dataset.on_leak == "drop_train"
    assert dataset.notes == ("2 hidden or system names were passed over, '__MACOSX' for one.",)
    assert [(s.id, s.label, s.group, s.split) for s in dataset.samples] == [
        ("test/NORMAL/IM-0001-0001.jpeg", 0, "IM-0001", "test"),
        ("train/NORMAL/IM-0115-0001.jpeg", 0, "IM-0115", "training"),
        ("train/NORMAL/NORMAL2-IM-0383-0001.jpeg", 0, "NORMAL2-IM-0383", "training"),
        ("train/NORMAL/NORMAL2-IM-0383-0002.jpeg", 0, "NORMAL2-IM-0383", "training"),
        ("test/PNEUMONIA/person100_bacteria_475.jpeg", 1, "person100", "test"),
        ("train/PNEUMONIA/person1_bacteria_1.jpeg", 1, "person1", "training"),
        ("train/PNEUMONIA/person1_virus_6.jpeg", 1, "person1", "training"),
        ("train/PNEUMONIA/person2_virus_7.jpeg", 1, "person2", "training"),
    ]


def test_the_lines_that_the_refusal_proposes_are_a_configuration(tmp_path: Path) -> None:
    root = kermany(tmp_path / 'a "b"')
    refused = message(root)
    lines = re.findall(r"^  (\S+ = .*|\[dataset\.splits\])$", refused, flags=re.MULTILINE)
    text = f'format = 1\n[dataset]\nstep = "image_folder"\nroot = "data"\n{chr(10).join(lines)}\n'
    step = medpipe.PipelineBuilder.from_toml(text).build().configuration.dataset
    assert step == ImageFolder(root=Path("data"), splits={"test": "test", "training": "train"})


def test_a_class_may_be_in_some_parts_only(tmp_path: Path) -> None:
    root = fill(tmp_path, "one/a/1.png", "one/b/2.png", "two/b/3.png", "two/c/4.png", "dev/c/5.png")
    splits = {"training": ("one", "two"), "val": "dev"}
    dataset = ImageFolder(root=root, splits=splits).build()
    assert dataset.task.names == ("a", "b", "c")
    assert [(s.id, s.label, s.split) for s in dataset.samples] == [
        ("one/a/1.png", 0, "training"),
        ("one/b/2.png", 1, "training"),
        ("two/b/3.png", 1, "training"),
        ("dev/c/5.png", 2, "validation"),
        ("two/c/4.png", 2, "training"),
    ]
    one = ImageFolder(root=root, splits=splits, classes={"x": ("a", "b"), "y": "c"}).build()
    assert one.task.names == ("x", "y")


def test_parts_that_do_not_fit_the_folders(tmp_path: Path) -> None:
    root = fill(tmp_path, "one/a/1.png", "one/b/2.png", "two/b/3.png", "extra/c/4.png")
    assert message(root, splits={"train": "one", "test": "too"}) == (
        f"dataset.splits: {root} holds no folder 'too'. It holds 'extra', 'one', 'two'."
    )
    assert message(root, splits={"train": "one"}) == (
        f"dataset.splits names no split for the folders 'extra', 'two' in {root}. Add each to a "
        "split, or move it away."
    )
    shutil.rmtree(root / "two")
    shutil.rmtree(root / "extra")
    assert message(fill(root, "one/5.png"), splits={"train": "one"}) == (
        f"{root / 'one'} holds 1 image that are not in a class folder, 'one/5.png' for one. Put "
        "each into the folder of its class."
    )
    (root / "two").mkdir()
    (root / "one" / "5.png").unlink()
    assert message(root, splits={"train": "one", "test": "two"}) == (
        f"{root / 'two'} is empty. It must hold one folder of images for each class."
    )


def test_classes_merge_folders(tmp_path: Path) -> None:
    root = fill(tmp_path, "virus/1.png", "bacteria/2.png", "normal/3.png", "test/4.png")
    classes = {"pneumonia": ("virus", "bacteria"), "healthy": "normal", "other": ("test", "none")}
    dataset = ImageFolder(root=root, classes={**classes, "absent": "x"}).build()
    assert dataset.task.names == ("absent", "healthy", "other", "pneumonia")
    assert [(s.id, s.label) for s in dataset.samples] == [
        ("normal/3.png", 1),
        ("test/4.png", 2),
        ("bacteria/2.png", 3),
        ("virus/1.png", 3),
    ]
    assert dataset.notes == (
        f"dataset.classes names no folder that exists in {root} for 'absent'.",
    )
    assert message(root, classes={"healthy": "normal", "ill": "virus"}) == (
        f"dataset.classes names no class for the folders 'bacteria', 'test' in {root}. Add each "
        "to a class, or move it away."
    )


def test_only_the_files_with_given_suffixes(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.nii.gz", "a/1_mask.nii", "b/2.NII.GZ", "b/2.png", "b/readme.txt")
    dataset = ImageFolder(root=root, suffixes=(".Nii.gz",)).build()
    assert [sample.id for sample in dataset.samples] == ["a/1.nii.gz", "b/2.NII.GZ"]
    assert dataset.notes == (
        "3 files with other suffixes (dataset.suffixes) were passed over, 'a/1_mask.nii' for one.",
    )
    assert message(root, suffixes=[".png"]) == (
        f"{root}: no images in the class folder 'a'. Images are files ending in .png "
        "(dataset.suffixes). Remove the folder or add its images.\n"
        "4 files with other suffixes (dataset.suffixes) were passed over, 'a/1.nii.gz' for one."
    )


def test_dicom_files_are_known_by_their_content(tmp_path: Path) -> None:
    write_black(tmp_path / "ill" / "p1" / "IMG0001")
    write_black(tmp_path / "ill" / "p1" / "IMG0002.7")
    write_report(tmp_path / "ill" / "p1" / "report")
    write_black(tmp_path / "well" / "p2" / "1.dcm", series="4.5.6")
    write_report(tmp_path / "DICOMDIR")
    fill(tmp_path, "well/p2/notes.txt", "well/p2/2.png")
    dataset = ImageFolder(root=tmp_path, window=(40.0, 400.0)).build()
    assert dataset.reading == Reading(channels="auto", window=(40.0, 400.0))
    assert [(sample.id, sample.label) for sample in dataset.samples] == [
        ("ill/p1/IMG0001", 0),
        ("ill/p1/IMG0002.7", 0),
        ("well/p2/1.dcm", 1),
        ("well/p2/2.png", 1),
    ]
    notes = (
        "1 file of other kinds was passed over, 'well/p2/notes.txt'.",
        "2 DICOM files without pixels were passed over, 'DICOMDIR' for one.",
    )
    assert dataset.notes == (
        *notes,
        "The groups of 3 DICOM images are made from SeriesInstanceUID: 2 series "
        "(dataset.dicom_group).",
    )
    series = ImageFolder(root=tmp_path, unit="series").build()
    assert [sample.id for sample in series.samples] == [
        "ill/p1/1.2.3",
        "well/p2/2.png",
        "well/p2/4.5.6",
    ]
    folder = tmp_path / "ill" / "p1"
    image = series.samples[0].image
    assert image == Series(files=[str(folder / "IMG0001"), str(folder / "IMG0002.7")])
    write_black(tmp_path / "IMG0009")
    assert message(tmp_path) == (
        f"{tmp_path} holds 1 image that are not in a class folder, 'IMG0009' for one. Put each "
        "into the folder of its class."
    )


def reference(patterns: Sequence[str], text: str) -> str | None:
    for pattern in patterns:
        found = re.search(pattern, text)
        if found:
            parts = ["" if part is None else part for part in found.groups()]
            return "/".join(parts) if "".join(parts) else None
    return None


@given(
    names=st.sets(st.from_regex(r"\A(p\d{1,2}|IM-\d{1,2}|x)(_\d)?\Z"), min_size=1, max_size=8),
    patterns=st.lists(
        st.sampled_from(
            [r"(p\d+)", r"IM-(\d+)", r"(p|IM)[-]?(\d)", r"p(\d+)(_\d)?", r"_(\d?)", r"x(\d*)"]
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_groups_are_what_a_plain_loop_finds(
    names: set[str], patterns: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = fill(
        tmp_path_factory.mktemp("groups"), *(f"{c}/{name}.png" for c in "ab" for name in names)
    )
    expected = {f"{c}/{n}.png": reference(patterns, f"{c}/{n}.png") for c in "ab" for n in names}
    own = ImageFolder(root=root, group_pattern=tuple(patterns), ungrouped="own").build()
    assert {sample.id: sample.group for sample in own.samples} == expected
    kept = {id_: group for id_, group in expected.items() if group is not None}
    if kept:
        drop = ImageFolder(root=root, group_pattern=tuple(patterns), ungrouped="drop").build()
        assert {sample.id: sample.group for sample in drop.samples} == kept
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"splits": {"learn": "train"}},
            "'learn' is not a split. The splits are training, validation and test.",
        ),
        (
            {"splits": {"train": "a", "training": "b"}},
            "the split training is named twice. Give it a list of values.",
        ),
        (
            {"splits": {"train": "a", "test": ("b", "a")}},
            "'a' is a value of both 'train' and 'test'.",
        ),
        ({"splits": {}}, "it is empty. Give each name its values, or leave it out."),
        (
            {"classes": {"ill": ("a", "b"), "well": ()}},
            "'well' has no value. Give it a value or a list of values.",
        ),
        ({"classes": {"ill": "a"}}, "a classifier needs two or more classes, got 'ill'."),
        ({"suffixes": ("png",)}, "'png' is not a suffix. Begin it with a dot: '.png'."),
        ({"suffixes": ()}, 'the list is empty. Name a suffix (".png"), or leave it out.'),
        (
            {"window": (40.0, 0.0)},
            "a window is [centre, width] with a width above 0, got [40.0, 0.0].",
        ),
        ({"group_pattern": ()}, "the list is empty. Give a pattern, or leave it out."),
    ],
)
def test_wrong_parameters(parameters: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        ImageFolder(root=Path("data"), **parameters)  # type: ignore[arg-type]


def test_parameters_go_through_toml_and_back() -> None:
    builder = medpipe.PipelineBuilder().dataset(
        "image_folder",
        root="data",
        splits={"train": "train", "test": ["test", "test 2"]},
        classes={"a": "1", "b": ["2", "3"]},
        group_pattern=KERMANY,
        window=[40, 400],
        suffixes=[".dcm"],
        unit="series",
    )
    assert medpipe.PipelineBuilder.from_toml(builder.to_toml()) == builder
    with pytest.raises(medpipe.ConfigError) as caught:
        medpipe.PipelineBuilder().dataset(
            "image_folder", root="data", splits={"learn": "x"}, window=[1, -1], classes={"a": "b"}
        ).build()
    assert [problem.path for problem in caught.value.problems] == [
        "dataset.window",
        "dataset.classes",
        "dataset.splits",
    ]
