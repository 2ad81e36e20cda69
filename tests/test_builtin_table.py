"""The table data set: a CSV file with a row for each image."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.builtin.datasets.table import Table
from medpipe.plugin import DataError, Reading, visible


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files, which listing does not open, and no table yet."""
    (tmp_path / "scans").mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (tmp_path / "scans" / name).touch()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_bytes(text.encode())
    return file


def test_a_table_with_all_its_columns(folder: Path) -> None:
    file = write(
        folder,
        "\ufeffFile, finding ,patient,part,age\r\n"
        "scans/b.png,ill,p1,Train,70\r\n"
        'scans\\a.png," healthy ",p2,TEST,41\r\n'
        "\r\n"
        ",,,,\r\n"
        "scans/c.png,healthy,p1,validation,70,,\r\n"
        "scans/d.png,ill,p3,val\r\n",
    )
    dataset = Table(
        file=file, image="File", label="finding", group="patient", split="part", channels=3
    ).build()
    assert dataset.task.kind == "multiclass"
    assert dataset.task.names == ("healthy", "ill")
    assert dataset.reading == Reading(channels=3)
    assert [(s.id, s.label, s.group, s.split) for s in dataset.samples] == [
        ("scans/b.png", 1, "p1", "training"),
        ("scans/a.png", 0, "p2", "test"),
        ("scans/c.png", 0, "p1", "validation"),
        ("scans/d.png", 1, "p3", "validation"),
    ]
    assert all(Path(str(sample.image)).is_file() for sample in dataset.samples)


def test_groups_parts_and_root_may_be_left_out_or_given(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    file = write(elsewhere, "image,label\na.png,0\nb.png,1\n")
    dataset = Table(file=file, root=folder / "scans").build()
    assert [(s.id, s.group, s.split) for s in dataset.samples] == [
        ("a.png", None, None),
        ("b.png", None, None),
    ]
    assert dataset.reading == Reading(channels="auto")


def test_ids_and_classes_do_not_depend_on_the_unicode_form(folder: Path) -> None:
    (folder / "u\u0308.png").touch()
    file = write(folder, "image,label\nu\u0308.png,o\u0308\nscans/a.png,\u00f6\nscans/b.png,x\n")
    dataset = Table(file=file).build()
    assert dataset.task.names == ("x", "\u00f6")
    assert dataset.samples[0].id == "\u00fc.png"


@given(
    labels=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
            lambda text: visible(text) != ""
        ),
        min_size=2,
        max_size=4,
    ).filter(lambda labels: len(set(labels)) > 1)
)
def test_every_label_that_csv_can_hold_comes_back(
    labels: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("table")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "label"])
    for number, label in enumerate(labels):
        (folder / f"{number}.png").touch()
        writer.writerow([f"{number}.png", label])
    composed = [visible(label) for label in labels]
    table = Table(file=write(folder, text.getvalue()))
    if len(set(composed)) == 1:
        with pytest.raises(DataError, match="one class only"):
            table.build()
        return
    dataset = table.build()
    assert [dataset.task.names[int(s.label)] for s in dataset.samples] == composed


def message(folder: Path, text: str | bytes, **parameters: object) -> str:
    """What `Table` says about a table, with the folder's own path left out."""
    file = folder / "labels.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        Table(file=file, **parameters).build()  # type: ignore[arg-type]
    return str(caught.value).replace(f"{folder}/", "")


GOOD = "image,label\nscans/a.png,0\nscans/b.png,1\n"


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        (
            GOOD,
            {"label": "Lable"},
            "labels.csv can't be used:\n"
            "  dataset.label: there is no column 'Lable'. Did you mean 'label'?\n"
            "  Its columns are 'image', 'label'.",
        ),
        (
            GOOD,
            {"group": "patient", "split": "part"},
            "labels.csv can't be used:\n"
            "  dataset.group: there is no column 'patient'.\n"
            "  dataset.split: there is no column 'part'.\n"
            "  Its columns are 'image', 'label'.",
        ),
        (
            GOOD.replace(",", ";"),
            {},
            "labels.csv can't be used:\n  dataset.image: there is no column 'image'.\n  "
            "dataset.label: there is no column 'label'.\n  Its columns are 'image;label'. If ';' "
            "separates its cells, set dataset.delimiter = ';'.",
        ),
        (
            "image,label,label\nscans/a.png,0,1\n",
            {},
            "labels.csv has more than one column named 'label'. Rename all but one.",
        ),
        (
            # A line break inside a cell, and a row left blank: rows are counted as spreadsheets do.
            'image,label,note\nscans/a.png,0,"two\nlines"\n\nscans/b.png, ,x\n',
            {},
            "labels.csv can't be used:\n  row 4: no label in column 'label'.\nTo leave these "
            'rows out, set dataset.missing_labels = "drop".',
        ),
        (
            "image,label,patient\nscans/a.png,0,p\nscans/b.png,1,\n",
            {"group": "patient"},
            "labels.csv can't be used:\n  row 3: no group in column 'patient'.\nFor rows without "
            'a group, set dataset.ungrouped to "own" (each is a group of its own) or "drop" '
            "(they are left out).",
        ),
        (
            "image,label\nscans/a.png,0\n,1\n",
            {},
            "labels.csv can't be used:\n  row 3: no image in column 'image'.\nTo leave these "
            'rows out, set dataset.missing_files = "drop".',
        ),
        (
            "image,label\nscans/a.png,0\nscans/z.png,1\n",
            {},
            "labels.csv can't be used:\n  row 3: there is no file scans/z.png.\nTo leave these "
            'rows out, set dataset.missing_files = "drop".',
        ),
        (
            "image,label,split\nscans/a.png,0,train\nscans/b.png,1,holdout\nscans/c.png,1,\n",
            {"split": "split"},
            "labels.csv can't be used:\n  row 3: 'holdout' in column 'split' is not a split.\n  "
            "row 4: no split in column 'split'.\nWrite training, validation or test, or name in "
            "dataset.splits the values that stand for them; dataset.where leaves rows out.",
        ),
        (
            "image,label\nscans/a.png,0\nscans/b.png,1\nscans/./a.png,1\n",
            {},
            "labels.csv can't be used:\n  row 4: 'scans/./a.png' is already in row 2.\nEach "
            "image may be in only one row. If the table has a row for each annotation or reader, "
            'set dataset.repeated to "agree" (rows that say the same become one sample) or, for '
            'findings, "any"; or leave all but one row out, for example with dataset.where.',
        ),
        (
            "image,label\nscans/a.png,0\nscans/b.png,1,mild\n",
            {},
            "labels.csv can't be used:\n"
            "  row 3: 3 cells, but row 1 has 2.\n"
            "Put cells that hold the delimiter in double quotes.",
        ),
        (
            "image,label\nscans/a.png,0\nscans/b.png,0\n",
            {},
            "labels.csv holds only one class, '0' in column 'label'. A classifier needs two or "
            "more; name another column with dataset.label.",
        ),
        ("", {}, "labels.csv is empty. Row 1 must hold the column names."),
        ("\n\n,\n", {}, "labels.csv is empty. Row 1 must hold the column names."),
        ("image,label\n", {}, "labels.csv has column names but no rows below them."),
        (
            "\nimage,label\nscans/a.png,0\n",
            {},
            "labels.csv: row 1 is blank. It must hold the column names.",
        ),
        (
            "image,label\nscans/a.png,sch\xf6n\n".encode("latin-1"),
            {},
            "labels.csv is not UTF-8: line 2 holds the byte 0xf6. Set dataset.encoding "
            '("cp1252", "latin-1"), or save it as CSV UTF-8.',
        ),
        (
            'image,label\nscans/a.png,"0\n',
            {},
            "labels.csv is not valid CSV: row 2: a double quote is opened and not closed before "
            "the end of the file. Double a quote that is part of a text in quotes, or, if quotes "
            'mean nothing in this table, set dataset.quotes = "none".',
        ),
    ],
)
def test_wrong_tables(
    folder: Path, text: str | bytes, parameters: dict[str, object], expected: str
) -> None:
    assert message(folder, text, **parameters) == expected


def test_many_wrong_rows_are_counted(folder: Path) -> None:
    text = "image,label\n" + "".join(f"{number}.png,0\n" for number in range(25))
    lines = message(folder, text).splitlines()
    assert lines[1] == "  row 2: there is no file 0.png."
    assert lines[10:] == [
        "  row 11: there is no file 9.png.",
        "  and 15 more",
        'To leave these rows out, set dataset.missing_files = "drop".',
    ]


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    with pytest.raises(DataError) as caught:
        Table(file=file).build()
    assert str(caught.value) == f"dataset.file: there is no file {file}."
    file.mkdir()
    with pytest.raises(DataError) as caught:
        Table(file=file).build()
    assert str(caught.value) == f"dataset.file: {file} can't be read: is a directory."
    file.rmdir()
    file.write_text(GOOD)
    with pytest.raises(DataError) as caught:
        Table(file=file, root=tmp_path / "none").build()
    assert str(caught.value) == f"dataset.root: there is no folder {tmp_path / 'none'}."
