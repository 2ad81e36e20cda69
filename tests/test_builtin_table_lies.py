"""Tables that say something else than they seem to: found and said, or admitted by a setting."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.builtin.datasets.table import Table
from medpipe.plugin import DataError, Dataset
from support.signs import SPACES, UNSEEN

QUOTES = (
    "Double a quote that is part of a text in quotes, or, if quotes mean nothing in this table, "
    'set dataset.quotes = "none".'
)


def table(folder: Path, text: str | bytes, **parameters: Any) -> Table:
    for name in "abcdef":
        (folder / f"{name}.png").touch()
    file = folder / "t.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Table(file=file, **parameters)


def build(folder: Path, text: str | bytes, **parameters: Any) -> Dataset:
    return table(folder, text, **parameters).build()


def refused(folder: Path, text: str | bytes, **parameters: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        build(folder, text, **parameters)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def found(dataset: Dataset) -> list[tuple[str, Any]]:
    return [(sample.id, dataset.task.names[int(sample.label)]) for sample in dataset.samples]  # type: ignore[arg-type]


# Quotes

OPENED = [
    # The quote that closes is of the next row, of a later one, in another column, or in both.
    (
        'image,label,report\na.png,x,"5 cm\nb.png,y,7"\nc.png,x,-\nd.png,y,-\n',
        2,
        "report",
        "b.png,y,7",
    ),
    (
        'image,label,report\na.png,x,"5 cm\nb.png,y,-\nc.png,x,7"\nd.png,y,-\n',
        2,
        "report",
        "b.png,y,-",
    ),
    (
        'image,report,label\na.png,"5 cm,x\nb.png,7",y\nc.png,-,x\nd.png,-,y\n',
        2,
        "report",
        "b.png,7",
    ),
    ('label,image,r\nx,a.png,-\ny,b.png,"q\nx,c.png,-\ny,d.png,w"\n', 3, "r", "x,c.png,-"),
    ('image,label\na.png,"x\nb.png,y"\nc.png,x\nd.png,y\n', 2, "label", "b.png,y"),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("text", "row", "column", "line"), OPENED)
def test_a_quote_that_swallows_rows_is_refused(
    tmp_path: Path, text: str, row: int, column: str, line: str, ending: str
) -> None:
    assert refused(tmp_path, text.replace("\n", ending)) == [
        "t.csv can't be used:",
        f"  row {row}: the cell in column {column!r} holds rows of the table, such as {line!r}: a "
        "double quote before them is not closed in its row.",
        f'{QUOTES} If the cell is right, set dataset.quotes = "trusted".',
    ]
    assert len(build(tmp_path, text, quotes="trusted", missing_files="drop").samples) < 4


def test_quotes_may_mean_nothing(tmp_path: Path) -> None:
    dataset = build(tmp_path, OPENED[1][0], quotes="none", keep=("report",))
    assert [sample.extra["report"] for sample in dataset.samples] == ['"5 cm', "-", '7"', "-"]


def test_a_quote_that_is_never_closed_is_named_by_its_row(tmp_path: Path) -> None:
    text = 'image,label,report\na.png,x,"two\nlines"\nb.png,y,"5 cm\nc.png,x,-\n'
    assert refused(tmp_path, text) == [
        "t.csv is not valid CSV: row 3 (line 4): a double quote is opened and not closed before "
        f"the end of the file. {QUOTES}"
    ]
    assert refused(tmp_path, 'image,label,r\na.png,x,"a" b\n')[0].startswith(
        "t.csv is not valid CSV: row 2: text follows the double quote that closes a cell. Double"
    )


def test_quotes_within_cells_and_doubled_ones_are_text(tmp_path: Path) -> None:
    text = 'image,label,r\na.png,x,5" mass\nb.png,y,"says ""no"", twice"\n'
    dataset = build(tmp_path, text, keep=("r",))
    assert [sample.extra["r"] for sample in dataset.samples] == ['5" mass', 'says "no", twice']


REPORTS = [
    "FINDINGS:\nHeart, lungs, bones: normal.\n\nIMPRESSION:\nNo effusion, no mass, stable.",
    'Compared to "2019-03-01",\nsmaller, 3 mm, left.\nSee b.png, y, above',
    "1,2,3\n4,5,6",
    "a,b\nc.jpg,x,-",
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_reports_with_line_breaks_are_read(tmp_path: Path, ending: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=ending)
    writer.writerow(["image", "label", "report"])
    for name, report in zip("abcd", REPORTS, strict=True):
        writer.writerow([f"{name}.png", "xy"[name in "bd"], report])
    dataset = build(tmp_path, text.getvalue(), keep=("report",))
    assert [sample.extra["report"] for sample in dataset.samples] == REPORTS
    assert dataset.notes == ()
    two = text.getvalue().replace("label,", "").replace("x,", "").replace("y,", "")
    assert two  # the same with two columns, where a line with one comma has as many cells


def test_reports_in_a_table_of_two_columns_are_read(tmp_path: Path) -> None:
    text = "label,image\n" + "\n".join(f'"{c}\nfrom b, c",{n}.png' for c, n in ("xa", "yb", "xc"))
    assert found(build(tmp_path, text)) == [
        ("a.png", "x from b, c"), ("b.png", "y from b, c"), ("c.png", "x from b, c")
    ]  # fmt: skip


CELL = st.text(st.sampled_from('ab,"\n .'), max_size=12)


@given(reports=st.lists(CELL, min_size=4, max_size=4))
def test_what_csv_writes_is_never_refused(
    reports: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "label", "report"])
    writer.writerows([f"{n}.png", n in "ab", r] for n, r in zip("abcd", reports, strict=True))
    assert len(build(tmp_path_factory.mktemp("t"), text.getvalue()).samples) == 4


# What can't be seen


@pytest.mark.parametrize("sign", [s for s in UNSEEN if s != "\x00"], ids=ascii)
def test_signs_that_no_screen_shows_make_nothing_another(tmp_path: Path, sign: str) -> None:
    text = (
        f"{sign}image,la{sign}bel,patient{sign},part,use,sex\n"
        f"a.png,x{sign},{sign}p1,train{sign},y{sign}es,F{sign}\n"
        f"b{sign}.png,x,p1,train,yes,F\n"
        "c.png,y,p2,train,yes,M\n"
        f"d.png,{sign}y,p{sign}2,t{sign}est,yes,{sign}M\n"
        "e.png,y,p3,test,no,M\n"
        f"{sign},{sign},,,,\n"
    )
    dataset = build(
        tmp_path, text, group="patient", split="part", where={"use": "yes"}, keep=("sex",)
    )
    assert found(dataset) == [("a.png", "x"), ("b.png", "x"), ("c.png", "y"), ("d.png", "y")]
    assert [sample.group for sample in dataset.samples] == ["p1", "p1", "p2", "p2"]
    assert [sample.split for sample in dataset.samples] == [*["training"] * 3, "test"]
    assert [sample.extra["sex"] for sample in dataset.samples] == ["F", "F", "M", "M"]
    assert all(Path(str(sample.image)).is_file() for sample in dataset.samples)
    noted = {
        note.split("'")[1]: note for note in dataset.notes if "with invisible characters" in note
    }
    assert {*noted} == {"image", "label", "patient", "part", "use", "sex"}
    assert noted["label"].startswith("2 cells in column 'label' with invisible characters")
    assert noted["label"].endswith(") were read without them, rows 2 and 5.")


@pytest.mark.parametrize("sign", [s for s in SPACES if s not in "\n\r\x85\u2028"], ids=ascii)
def test_every_space_is_a_plain_one(tmp_path: Path, sign: str) -> None:
    text = f"image,label\na.png,left{sign}lung{sign}\nb.png,{sign}left lung\nc.png,right\n"
    assert found(build(tmp_path, text))[:2] == [("a.png", "left lung"), ("b.png", "left lung")]


def test_a_file_with_such_a_sign_in_its_name_is_found(tmp_path: Path) -> None:
    for name in ("x\u00a0y.png", "a\u200bb.png", "u\u0308.png"):
        (tmp_path / name).touch()
    text = "image,label\nx\u00a0y.png,1\na\u200bb.png,0\n\u00fc.png,1\n"
    dataset = build(tmp_path, text)
    assert [sample.id for sample in dataset.samples] == ["x y.png", "ab.png", "\u00fc.png"]
    assert all(Path(str(sample.image)).is_file() for sample in dataset.samples)


def test_what_a_program_lost_or_mangled_is_said(tmp_path: Path) -> None:
    text = "image,label\na.png,J\u00c3\u00bcrgen\nb.png,J\ufffdrgen\nc.png,\u00c3\n"
    assert build(tmp_path, text).notes == (
        "1 cell in column 'label' was written by a program that lost characters (U+FFFD), row 3: "
        "different values may have become the same.",
        "1 cell in column 'label' was UTF-8 that a program read in another encoding and wrote "
        "again, such as 'J\u00c3\u00bcrgen', row 2.",
    )


# Bytes


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(tmp_path: Path, encoding: str) -> None:
    content = "image,label\na.png,x\nb.png,y\n".encode(encoding)
    assert refused(tmp_path, content) == [
        f't.csv is UTF-16. Set dataset.encoding = "{encoding}", or save it as CSV UTF-8.'
    ]
    assert len(build(tmp_path, content, encoding=encoding).samples) == 2
    marked = "image,label\na.png,x\nb.png,y\n".encode("utf-16")
    assert len(build(tmp_path, marked, encoding="utf-16").samples) == 2


def test_nul_characters_are_damage(tmp_path: Path) -> None:
    assert refused(tmp_path, "image,label\na.png,x\nb.png,y" + "\0" * 5) == [
        "t.csv holds 5 NUL characters, the first in line 3: it is damaged, or not text. Get it "
        "again, or save it as CSV UTF-8."
    ]


def test_an_encoding_that_is_not_the_tables_is_said(tmp_path: Path) -> None:
    content = "image,label\na.png,schön\nb.png,y\n".encode()
    assert build(tmp_path, content, encoding="cp1252").notes[0] == (
        "dataset.encoding is 'cp1252', and the table is valid UTF-8 too: line 2 reads "
        "'a.png,schÃ¶n', and would read 'a.png,schön'."
    )
    assert build(tmp_path, content).notes == ()
    assert build(tmp_path, content.decode().encode("cp1252"), encoding="cp1252").notes == ()


def test_a_cell_of_any_size_is_read(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "w" * (before + 9)
    dataset = build(tmp_path, f"image,label,r\na.png,x,{long}\nb.png,y,-\n", keep=("r",))
    assert dataset.samples[0].extra["r"] == long
    assert csv.field_size_limit() == before


# Rows


def test_short_rows_are_refused_where_a_column_is_needed(tmp_path: Path) -> None:
    text = "image,label,mass,note\na.png,x,1,-\nb.png,y\nc.png,x,0\nd.png\n"
    assert refused(tmp_path, text, label=("label", "mass"), task="regression")[1:3] == [
        "  row 3: 2 cells, but row 1 has 4: it ends before column 'mass'.",
        "  row 5: 1 cells, but row 1 has 4: it ends before column 'label'.",
    ]
    assert refused(tmp_path, text) == [
        "t.csv can't be used:",
        "  row 5: 1 cells, but row 1 has 4: it ends before column 'label'.",
        'If cells at the end may be left out, set dataset.short_rows = "blank".',
    ]
    dataset = build(tmp_path, text, short_rows="blank", missing_labels="drop")
    assert [sample.id for sample in dataset.samples] == ["a.png", "b.png", "c.png"]
    assert dataset.notes == (
        "1 row without a label in column 'label' was left out (dataset.missing_labels), row 5.",
        "3 rows with fewer cells than row 1 were read with blank ones at the end, rows 3, 4 and 5.",
    )


def test_a_delimiter_at_the_end_of_each_row_is_nothing(tmp_path: Path) -> None:
    dataset = build(tmp_path, "image,label,\na.png,x,\nb.png,y,\n")
    assert found(dataset) == [("a.png", "x"), ("b.png", "y")]
    assert dataset.notes == ()


def test_two_tables_put_together(tmp_path: Path) -> None:
    text = "image,label\na.png,x\nb.png,y\n\ufeffimage,label\nc.png,x\nd.png,y\n"
    dataset = build(tmp_path, text)
    assert len(dataset.samples) == 4
    assert dataset.task.names == ("x", "y")
    assert dataset.notes == ("Row 1 is repeated and was passed over, row 4.",)
    moved = text.replace("\ufeffimage,label", "label,image")
    assert refused(tmp_path, moved)[1] == (
        "  row 4 has the column names of row 1 in another order."
    )


def test_a_column_called_almost_as_another_is_said(tmp_path: Path) -> None:
    text = "image,label,Label,la bel,other\na.png,x,1,2,3\nb.png,y,1,2,3\n"
    assert build(tmp_path, text).notes == (
        "Beside the column 'label' there is 'Label', 'la bel', which differs only in case or "
        "spaces.",
    )


# Numbers


def test_decimal_commas_and_thousands(tmp_path: Path) -> None:
    text = "image;label\na.png;63,5\nb.png;1\n"
    options: dict[str, Any] = {"delimiter": ";", "task": "regression"}
    assert refused(tmp_path, text, **options) == [
        "t.csv can't be used:",
        "  row 2: '63,5' in column 'label' is not a number.",
        'If decimals follow a comma, set dataset.decimal = ",".',
    ]
    dataset = build(tmp_path, text, **options, decimal=",")
    assert [sample.label for sample in dataset.samples] == [63.5, 1.0]
    for number, decimal in (("1.234,5", ","), ("1,234.5", "."), ("1.234", ","), ("1'234", ".")):
        lines = refused(tmp_path, text.replace("63,5", number), **options, decimal=decimal)
        assert lines[1:] == [
            f"  row 2: {number!r} in column 'label' is not a number.",
            "Write numbers without thousands separators: 1234.5.",
        ]


def test_ids_that_a_spreadsheet_changed_are_said(tmp_path: Path) -> None:
    rows = "a.png,x,{}\nb.png,y,{}\n"
    text = "image,label,patient\n" + rows
    dataset = build(tmp_path, text.format("12.0", "13.0"), group="patient")
    assert dataset.notes == (
        "The groups in column 'patient' are written as numbers with decimals, such as '12.0': "
        "if they are ids, another table may have them without decimals.",
    )
    (note,) = build(tmp_path, text.format("1.23E+15", "p2"), group="patient").notes
    assert (
        "numbers with a power of ten, as a spreadsheet writes long numbers: '1.23E+15' in row 2"
        in note
    )
    (note,) = build(tmp_path, text.format("p1", "04-Mar"), group="patient").notes
    assert (
        "dates, which a spreadsheet makes of ids that look like dates: '04-Mar' in row 3." in note
    )
    assert build(tmp_path, text.format("12", "E12"), group="patient").notes == ()


# Several rows for one image

BOXES = (
    "image,label,patient,box\n"
    "a.png,x,p1,1 1 5 5\na.png,x,p1,7 7 9 9\nb.png,y,p2,\n"
    "c.png,x,p3,2 2 3 3\n./c.png,x,p3,2 2 3 3\n"
)


def test_a_row_for_each_annotation(tmp_path: Path) -> None:
    lines = refused(tmp_path, BOXES)
    assert lines[1:3] == [
        "  row 3: 'a.png' is already in row 2.",
        "  row 6: './c.png' is already in row 5.",
    ]
    dataset = build(tmp_path, BOXES, repeated="agree", group="patient", keep=("box",))
    assert found(dataset) == [("a.png", "x"), ("b.png", "y"), ("c.png", "x")]
    assert [sample.extra["box"] for sample in dataset.samples] == [
        "1 1 5 5; 7 7 9 9",
        "",
        "2 2 3 3",
    ]
    assert dataset.notes == (
        "4 rows name one of 2 images each, and became a sample for each image (dataset.repeated).",
    )


def test_rows_of_one_image_that_differ_are_refused(tmp_path: Path) -> None:
    text = BOXES.replace("a.png,x,p1,7", "a.png,y,p9,7").replace("./c.png,x", "./c.png,y")
    assert refused(tmp_path, text, repeated="agree", group="patient") == [
        "t.csv can't be used:",
        "  rows 2 and 3 name the image 'a.png' with different labels and groups.",
        "  rows 5 and 6 name the image 'c.png' with different labels.",
        "Correct the rows, or leave all but one out, for example with dataset.where.",
    ]
    merged = {"all": ("x", "y"), "other": "z"}
    text = text.replace("p9", "p1").replace("b.png,y", "b.png,z")
    assert len(build(tmp_path, text, repeated="agree", classes=merged).samples) == 3


def test_a_finding_of_any_row_counts(tmp_path: Path) -> None:
    cells = "image,finding\na.png,mass\na.png,node\nb.png,none\nc.png,node|mass\nc.png,mass|node\n"
    options: dict[str, Any] = {"label": "finding", "separator": "|", "negative": ("none",)}
    assert refused(tmp_path, cells, **options, repeated="agree") == [
        "t.csv can't be used:",
        "  rows 2 and 3 name the image 'a.png' with different labels.",
        'To count a finding if any of the rows has it, set dataset.repeated = "any".',
    ]
    dataset = build(tmp_path, cells, **options, repeated="any")
    assert [sample.label for sample in dataset.samples] == [(1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]
    flags = "image,m,n\na.png,1,0\na.png,0,\nb.png,,0\nb.png,,0\nc.png,0,1\nc.png,0,1\n"
    dataset = build(tmp_path, flags, label=("m", "n"), repeated="any")
    first, second, third = (sample.label for sample in dataset.samples)
    assert (first, third) == ((1.0, 0.0), (0.0, 1.0))
    assert isinstance(second, tuple)
    assert math.isnan(second[0])
    assert second[1] == 0.0
    assert refused(tmp_path, flags, label=("m", "n"), repeated="agree")[1] == (
        "  rows 2 and 3 name the image 'a.png' with different labels."
    )


# One-hot classes

HOT = "image,MEL,NV,BCC\na.png,1.0,0.0,0.0\nb.png,0,1,0\nc.png,false,TRUE,\n"


def test_columns_of_classes(tmp_path: Path) -> None:
    columns = ("MEL", "NV", "BCC")
    dataset = build(tmp_path, HOT, label=columns, task="multiclass")
    assert dataset.task.names == columns
    assert [sample.label for sample in dataset.samples] == [0, 1, 1]
    assert dataset.notes == ("No row is of 'BCC' (dataset.label).",)
    merged = {"benign": "NV", "malignant": ("MEL", "BCC")}
    dataset = build(tmp_path, HOT, label=columns, task="multiclass", classes=merged)
    assert found(dataset) == [("a.png", "malignant"), ("b.png", "benign"), ("c.png", "benign")]
    blank = build(
        tmp_path, HOT + "d.png,,,\n", label=columns, task="multiclass", missing_labels="drop"
    )
    assert len(blank.samples) == 3


def test_rows_with_no_class_or_several_are_refused(tmp_path: Path) -> None:
    text = HOT + "d.png,0,0,0\ne.png,1,0,1\nf.png,.7,.2,.1\n"
    assert refused(tmp_path, text, label=("MEL", "NV", "BCC"), task="multiclass") == [
        "t.csv can't be used:",
        "  row 5: no 1 in the columns 'MEL', 'NV', 'BCC'.",
        "  row 6: a 1 in each of the columns 'MEL', 'BCC'.",
        "  row 7: '.7' in column 'MEL' is neither 1 nor 0.",
        "In columns of classes each row has one 1, and 0 or blanks in the others. If an image "
        'may have several classes or none, set dataset.task = "multilabel".',
    ]


def test_findings_that_look_like_classes_are_said(tmp_path: Path) -> None:
    text = "image,MEL,NV\na.png,1,0\nb.png,0,1\n"
    assert build(tmp_path, text, label=("MEL", "NV")).notes == (
        "Each row has exactly one 1 in the columns 'MEL', 'NV'. If these are classes, of which "
        'an image has one, set dataset.task = "multiclass"; if they are findings, set '
        '"multilabel".',
    )
    assert build(tmp_path, text, label=("MEL", "NV"), task="multilabel").notes == ()
    assert build(tmp_path, text + "c.png,1,1\n", label=("MEL", "NV")).notes == ()


# Parquet


def test_parquet_of_pandas(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import datetime

    import pyarrow.parquet as pq

    when = datetime.datetime(2024, 1, 2)
    content = pa.table(
        {
            "image": ["a.png", "b.png", "c.png"],
            "label": [1.0, 0.0, None],
            "patient": pa.array([12.0, 13.0, 13.0]),
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "flag": [True, False, None],
            "when": [when, when, None],
            "score": [0.5, 1.0, None],
        }
    )
    pq.write_table(content, tmp_path / "t.parquet")
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    dataset = Table(
        file=tmp_path / "t.parquet",
        group="patient",
        keep=("kind", "flag", "when", "score"),
        missing_labels="drop",
    ).build()
    assert dataset.task.names == ("0", "1")
    assert [sample.group for sample in dataset.samples] == ["12", "13"]
    assert [sample.extra for sample in dataset.samples] == [
        {"kind": "u", "flag": "True", "when": "2024-01-02 00:00:00", "score": "0.5"},
        {"kind": "v", "flag": "False", "when": "2024-01-02 00:00:00", "score": "1.0"},
    ]
    twice = pa.Table.from_arrays([pa.array(["a.png"]), pa.array([1]), pa.array([2])],
                                 names=["image", "label", "label"])  # fmt: skip
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="more than one column named 'label'"):
        Table(file=tmp_path / "t.parquet").build()
