"""The rows of tables: images, which rows are taken, groups, splits, and what travels along."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import medpipe
from medpipe.builtin.datasets.table import Table
from medpipe.plugin import DataError, Dataset, Series
from support.drawn_dicom import write_black, write_report


def write(folder: Path, *lines: str, files: tuple[str, ...] = ()) -> Path:
    """A table and empty image files, which is all that listing needs."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "t.csv"


def build(file: Path, **parameters: object) -> Dataset:
    return Table(file=file, **parameters).build()  # type: ignore[arg-type]


def message(file: Path, **parameters: object) -> str:
    with pytest.raises(DataError) as caught:
        build(file, **parameters)
    return str(caught.value).replace(f"{file.parent}/", "")


def test_images_by_templates_and_suffixes(tmp_path: Path) -> None:
    files = ("p1/s1_T1.nii.gz", "p1/s1_T2.nii", "p2/s1_T1.nii", "p2/s1_T2.nii")
    file = write(tmp_path, "who,when,label", "p1,s1,0", "p2,s1,1", files=files)
    template = ("{who}/{when}_T1", "{who}\\{when}_T2")
    dataset = build(file, image=template, suffixes=(".nii.gz", ".nii"))
    assert [sample.id for sample in dataset.samples] == ["p1/s1_T1", "p2/s1_T1"]
    assert [sample.image for sample in dataset.samples] == [
        (f"{tmp_path}/p1/s1_T1.nii.gz", f"{tmp_path}/p1/s1_T2.nii"),
        (f"{tmp_path}/p2/s1_T1.nii", f"{tmp_path}/p2/s1_T2.nii"),
    ]
    (tmp_path / "p2/s1_T1.nii.gz").touch()  # the file as it is written comes first
    one = build(file, image=["{who}/{when}_T1.nii"], suffixes=(".gz",))
    assert [sample.image for sample in one.samples] == [
        f"{tmp_path}/p1/s1_T1.nii.gz",
        f"{tmp_path}/p2/s1_T1.nii",
    ]
    assert message(file, image=template, suffixes=(".nii", ".png")) == (
        "t.csv can't be used:\n  row 2: there is no file p1/s1_T1, nor with .nii, .png.\nTo "
        'leave these rows out, set dataset.missing_files = "drop".'
    )
    assert message(file, image="{who}/{when}_T1") == (
        "t.csv can't be used:\n  row 2: there is no file p1/s1_T1.\n  row 3: there is no file "
        "p2/s1_T1.\nIf the table leaves suffixes out, set dataset.suffixes. To leave these rows "
        'out, set dataset.missing_files = "drop".'
    )
    assert message(file, image="who") == (
        "t.csv can't be used:\n  row 2: p1 is a folder.\n  row 3: p2 is a folder.\nIf each "
        'folder holds one DICOM series, set dataset.unit = "series".'
    )
    assert message(file, image="{whom}/{when}.png") == (
        "t.csv can't be used:\n"
        "  dataset.image: there is no column 'whom'. Did you mean 'who'?\n"
        "  Its columns are 'who', 'when', 'label'."
    )


def test_one_file_under_two_names(tmp_path: Path) -> None:
    file = write(tmp_path, "image,label", "a,0", "b.png,1", "a.png,1", files=("a.png", "b.png"))
    assert message(file, suffixes=(".png",)) == (
        "t.csv can't be used:\n  row 4: 'a.png' is already in row 2.\nEach image may be in only "
        "one row. If the table has a row for each annotation or reader, set dataset.repeated to "
        '"agree" (rows that say the same become one sample) or, for findings, "any"; or leave '
        "all but one row out, for example with dataset.where."
    )


def test_the_same_image_counts_among_the_rows_that_are_taken(tmp_path: Path) -> None:
    lines = ["image,label,use", "a.png,0,no", "a.png,1,yes", "b.png,0,yes", "b.png,,yes"]
    file = write(tmp_path, *lines, files=("a.png", "b.png"))
    dataset = build(file, where={"use": "yes"}, missing_labels="drop")
    assert [(sample.id, sample.label) for sample in dataset.samples] == [("a.png", 1), ("b.png", 0)]
    assert dataset.notes == (
        "1 row with other values was left out (dataset.where), row 2.",
        "1 row without a label in column 'label' was left out (dataset.missing_labels), row 5.",
    )


def test_rows_are_taken_by_equal_values(tmp_path: Path) -> None:
    lines = [
        "image,label,view,visit",
        "a.png,0,PA,1.0",
        "b.png,1,AP,1",
        "c.png,1, PA ,01",
        "d.png,0,pa,1",
        "e.png,0,PA,2",
    ]
    file = write(tmp_path, *lines, files=tuple(f"{name}.png" for name in "abcde"))
    where = {"view": ("PA", "LL"), "visit": 1}
    dataset = build(file, where=where)
    assert [sample.id for sample in dataset.samples] == ["a.png", "c.png"]
    assert dataset.notes == (
        "3 rows with other values were left out (dataset.where), rows 3, 5 and 6.",
        "No row has 'LL' in column 'view' (dataset.where).",
    )
    assert message(file, where={"view": "Pa", "visit": "3"}) == (
        "t.csv: no row is left.\n"
        "5 rows with other values were left out (dataset.where), rows 2, 3, 4 and 2 more.\n"
        "No row has 'Pa' in column 'view' (dataset.where).\n"
        "No row has '3' in column 'visit' (dataset.where)."
    )
    assert message(file, where={"Views": "PA"}) == (
        "t.csv can't be used:\n"
        "  dataset.where: there is no column 'Views'. Did you mean 'view'?\n"
        "  Its columns are 'image', 'label', 'view', 'visit'."
    )


def test_rows_without_an_image(tmp_path: Path) -> None:
    lines = ["image,label", "a.png,0", ",1", "z.png,x", "-,1", "b.png,1"]
    file = write(tmp_path, *lines, files=("a.png", "b.png"))
    dataset = build(file, missing_files="drop", missing_values=("-",))
    assert [sample.id for sample in dataset.samples] == ["a.png", "b.png"]
    assert dataset.task.names == ("0", "1")
    assert dataset.notes == (
        "3 rows without an image file were left out (dataset.missing_files), rows 3, 4 and 5.",
    )


def test_groups_from_a_column_or_from_patterns(tmp_path: Path) -> None:
    lines = ["image,label,who", "p1_a.png,0,x", "p2_a.png,1,", "IM-3.png,1,y"]
    file = write(tmp_path, *lines, files=("p1_a.png", "p2_a.png", "IM-3.png"))
    own = build(file, group="who", ungrouped="own")
    assert [sample.group for sample in own.samples] == ["x", None, "y"]
    assert own.notes == ("1 row without a group is a group of its own (dataset.ungrouped), row 3.",)
    drop = build(file, group="who", ungrouped="drop")
    assert [sample.group for sample in drop.samples] == ["x", "y"]
    assert drop.notes == ("1 row without a group was left out (dataset.ungrouped), row 3.",)
    patterns = build(file, group_pattern=(r"(p\d)", r"(IM)-(\d)"))
    assert [sample.group for sample in patterns.samples] == ["p1", "p2", "IM/3"]
    assert message(file, group_pattern=r"(p\d)") == (
        "t.csv can't be used:\n  row 4: dataset.group_pattern captures nothing in "
        "'IM-3.png'.\nChange the pattern, or give a list of patterns, of which the first that "
        'matches counts. For rows without a group, set dataset.ungrouped to "own" (each is a '
        'group of its own) or "drop" (they are left out).'
    )


def test_a_row_is_left_out_for_one_reason_and_does_not_claim_its_image(tmp_path: Path) -> None:
    lines = ["image,label,who", "a.png,0,", "z.png,0,", "a.png,0,x", "b.png,1,y"]
    file = write(tmp_path, *lines, files=("a.png", "b.png"))
    dataset = build(file, group="who", ungrouped="drop", missing_files="drop")
    assert [(sample.id, sample.group) for sample in dataset.samples] == [
        ("a.png", "x"),
        ("b.png", "y"),
    ]
    assert dataset.notes == (
        "1 row without a group was left out (dataset.ungrouped), row 2.",
        "1 row without an image file was left out (dataset.missing_files), row 3.",
    )


def test_parts_by_the_values_of_a_column(tmp_path: Path) -> None:
    lines = ["image,label,fold", "a.png,0,1", "b.png,1,2.0", "c.png,1,Hold", "d.png,0,x"]
    file = write(tmp_path, *lines, files=("a.png", "b.png", "c.png", "d.png"))
    splits = {"train": ("1", "2"), "test": "Hold", "val": "x"}
    dataset = build(file, split="fold", splits=splits, on_leak="drop_train")
    assert [sample.split for sample in dataset.samples] == [
        "training",
        "training",
        "test",
        "validation",
    ]
    assert dataset.on_leak == "drop_train"
    assert message(file, split="fold", splits={"train": ("1", "3"), "test": "hold"}) == (
        "t.csv can't be used:\n  no row has '3', 'hold' in column 'fold'.\n  row 3: '2.0' in "
        "column 'fold' is in no split of dataset.splits.\n  row 4: 'Hold' in column 'fold' is in "
        "no split of dataset.splits.\n  row 5: 'x' in column 'fold' is in no split of "
        "dataset.splits.\nCorrect dataset.splits.\nAdd the value to dataset.splits, or leave its "
        "rows out with dataset.where."
    )
    left = build(file, split="fold", splits={"train": "1", "test": "Hold"},
                 where={"fold": (1, "Hold")})  # fmt: skip
    assert len(left.samples) == 2


def test_columns_that_travel_along(tmp_path: Path) -> None:
    lines = ["image,label,sex,age", "a.png,0, f ,63", "b.png,1,,u\u0308"]
    file = write(tmp_path, *lines, files=("a.png", "b.png"))
    samples = build(file, keep=("sex", "age"), missing_values=("63",)).samples
    assert [sample.extra for sample in samples] == [
        {"sex": "f", "age": "63"},
        {"sex": "", "age": "\u00fc"},
    ]


def test_folders_of_dicom_series(tmp_path: Path) -> None:
    for number in range(3):
        write_black(tmp_path / "p1" / "ct" / f"{number}")
    (tmp_path / "p1" / "ct" / "notes.txt").touch()
    write_black(tmp_path / "p2" / "a", series="1.1")
    file = write(tmp_path, "image,label", "p1,0", "p2/,1")
    dataset = build(file, unit="series", window="voi")
    assert dataset.reading.window == "voi"
    assert [sample.id for sample in dataset.samples] == ["p1", "p2/"]
    image = dataset.samples[0].image
    assert isinstance(image, Series)
    assert sorted(Path(path).name for path in image.files) == ["0", "1", "2"]
    write_black(tmp_path / "p2" / "b", series="1.2")
    write_report(tmp_path / "p3" / "report")
    (tmp_path / "4.dcm").touch()
    file = write(tmp_path, "image,label", "p1,0", "p2,1", "p3,0", "4.dcm,1", "p5,1")
    assert message(file, unit="series") == (
        "t.csv can't be used:\n  row 3: the folder p2 holds 2 DICOM series: '1.1', '1.2'.\n  row "
        "4: the folder p3 holds no DICOM images.\n  row 5: 4.dcm is a file.\n  row 6: there is "
        "no folder p5.\nGive each series a folder of its own, and name that folder.\nTo leave "
        'these rows out, set dataset.missing_files = "drop".\nWith dataset.unit = "series" name '
        'the folder of each series; for single files set dataset.unit = "file".'
    )


@given(
    rows=st.lists(
        st.tuples(
            st.booleans(),  # whether the file is there
            st.sampled_from(["", "x", "y"]),  # label
            st.sampled_from(["", "g1", "g2"]),  # group
            st.sampled_from(["PA", "AP"]),  # view
        ),
        min_size=1,
        max_size=8,
    )
)
def test_rows_left_out_and_rows_taken_are_all_rows(
    rows: list[tuple[bool, str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("table")
    lines = [f"{n}.png,{label},{group},{view}" for n, (_, label, group, view) in enumerate(rows)]
    files = [f"{number}.png" for number, row in enumerate(rows) if row[0]]
    for name in files:
        (folder / name).touch()
    file = write(folder, "image,label,group,view", *lines)
    parameters = {
        "where": {"view": "PA"},
        "missing_labels": "drop",
        "missing_files": "drop",
        "group": "group",
        "ungrouped": "drop",
        "classes": {"ix": "x", "yps": "y"},
    }
    kept = [
        (f"{number}.png", ["x", "y"].index(label), group)
        for number, (there, label, group, view) in enumerate(rows)
        if there and label and group and view == "PA"
    ]
    if kept:
        dataset = build(file, **parameters)
        assert [(s.id, s.label, s.group) for s in dataset.samples] == kept
        notes = dataset.notes
    else:
        first, *notes = message(file, **parameters).splitlines()
        assert first == "t.csv: no row is left."
    counts = [int(note.split()[0]) for note in notes if "left out" in note]
    assert sum(counts) + len(kept) == len(rows)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"image": "{a}/{b"},
            "'{a}/{b' is neither a column nor a template with columns in braces, such as "
            '"{folder}/{filename}".',
        ),
        ({"image": ()}, "name a column."),
        ({"where": {}}, "it names no value. Name one, or leave it out."),
        ({"where": {"view": ()}}, "it names no value for 'view'. Name one, or leave it out."),
        (
            {"keep": ("age", "label")},
            "'label' is a name that medpipe itself uses in each sample. Rename the column in the "
            "table.",
        ),
        ({"keep": ("age", "age")}, "a column is named twice, or not at all."),
        (
            {"group": "who", "group_pattern": "(p)"},
            "dataset.group names a column of groups already. Leave one of them out.",
        ),
        (
            {"splits": {"train": "a"}},
            "it names values of a column. Name that column with dataset.split.",
        ),
        (
            {"splits": {"dev": "a"}, "split": "split"},
            "'dev' is not a split. The splits are training, validation and test.",
        ),
    ],
)
def test_wrong_parameters(parameters: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        Table(file=Path("t.csv"), **parameters)  # type: ignore[arg-type]


def test_parameters_go_through_toml_and_back() -> None:
    builder = medpipe.PipelineBuilder().dataset(
        "table",
        file="t.csv",
        image=["{folder}/{name}_T1", "{folder}/{name}_T2"],
        suffixes=[".nii.gz"],
        label=["a", "b"],
        uncertain="missing",
        where={"View Position": ["PA", 1, 2.5]},
        keep=["age"],
        split="split",
        splits={"train": ["1", "2"], "test": "3"},
        window=[40, 400],
    )
    assert medpipe.PipelineBuilder.from_toml(builder.to_toml()) == builder


def test_what_was_looked_for_is_named_where_nothing_is_left(tmp_path: Path) -> None:
    file = write(tmp_path, "image,label\nlost,a\ngone,b\n")
    assert message(file, missing_files="drop") == (
        "t.csv: no row is left.\n"
        "2 rows without an image file were left out (dataset.missing_files), rows 2 and 3.\n"
        "row 2: there is no file lost."
    )
