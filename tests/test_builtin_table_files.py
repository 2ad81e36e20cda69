"""Tables as files: CSV in several dialects and encodings, TSV, gzip and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import shutil
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.builtin.datasets.listing.table_file import read_table
from medpipe.builtin.datasets.table import Table
from medpipe.plugin import DataError, visible

TEXT = "image,label\na.png,sch\xf6n\nb.png,x\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, which listing does not open, and no table yet."""
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    return tmp_path


def message(file: Path, **parameters: object) -> str:
    with pytest.raises(DataError) as caught:
        Table(file=file, **parameters).build()  # type: ignore[arg-type]
    return str(caught.value).replace(f"{file.parent}/", "")


@pytest.mark.parametrize(
    ("name", "content", "parameters"),
    [
        ("t.csv", TEXT.encode("latin-1"), {"encoding": "latin-1"}),
        ("t.csv", TEXT.encode("utf-16"), {"encoding": "utf-16"}),
        ("t.csv", TEXT.encode("utf-8-sig"), {"encoding": "utf8"}),
        ("t.tsv", TEXT.replace(",", "\t").encode(), {}),
        ("t.TAB", TEXT.replace(",", "\t").encode(), {}),
        ("t.csv", TEXT.replace(",", ";").encode(), {"delimiter": ";"}),
        ("t.csv", TEXT.replace(",", ', "').replace("\n", '"\n').encode(), {}),
        ("t.csv.gz", gzip.compress(TEXT.encode("cp1252"), mtime=0), {"encoding": "cp1252"}),
        ("t.tsv.gz", gzip.compress(TEXT.replace(",", "\t").encode(), mtime=0), {}),
    ],
)
def test_kinds_of_text(
    folder: Path, name: str, content: bytes, parameters: dict[str, object]
) -> None:
    (folder / name).write_bytes(content)
    dataset = Table(file=folder / name, **parameters).build()  # type: ignore[arg-type]
    assert dataset.task.names == ("sch\xf6n", "x")
    assert [(sample.id, sample.label) for sample in dataset.samples] == [("a.png", 0), ("b.png", 1)]


CELL = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=6).filter(
    lambda text: text == text.strip() and (not text or visible(text))
)


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL).filter(any), min_size=1, max_size=5),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    packed=st.booleans(),
)
def test_what_was_written_is_read(
    rows: list[tuple[str, str, str]],
    delimiter: str,
    quoting: int,
    ending: str,
    encoding: str,
    packed: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=delimiter,
        quoting=quoting,  # type: ignore[arg-type]
        lineterminator=ending,
    )
    writer.writerow(["image", "label", "note"])
    writer.writerows(rows)
    content = text.getvalue().encode(encoding)
    folder = tmp_path_factory.mktemp("table")
    file = folder / ("t.csv.gz" if packed else "t.csv")
    file.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    table = read_table(file, encoding=encoding, delimiter=delimiter)
    assert list(table.header) == ["image", "label", "note"]
    assert [(number, tuple(cells)) for number, cells in table.rows] == list(enumerate(rows, 2))
    shutil.rmtree(folder)


def test_parquet_as_text(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {
        "image": ["a.png", "b.png", None],
        "ill": pa.array([True, False, None]),
        "age": pa.array([63.5, 41, None]),
        "sex": pa.array(["m", "f", None]).dictionary_encode(),
        "visit": pa.array([1, 2, None]),
        "points": pa.array([[1.0], [2.0, 3.0], None]),
    }
    file = folder / "t.parquet"
    pq.write_table(pa.table(columns), file)
    table = read_table(file, encoding="utf-8", delimiter=None)
    assert list(table.header) == ["image", "ill", "age", "sex", "visit"]
    assert table.rows == [
        (2, ["a.png", "True", "63.5", "m", "1"]),
        (3, ["b.png", "False", "41.0", "f", "2"]),
    ]
    dataset = Table(file=file, label="ill", task="multilabel", keep=("sex",)).build()
    assert [sample.label for sample in dataset.samples] == [(1.0,), (0.0,)]
    assert [sample.extra for sample in dataset.samples] == [{"sex": "m"}, {"sex": "f"}]
    assert message(file, label="points", group="pints") == (
        "t.parquet can't be used:\n  dataset.label: the column 'points' holds list, which is "
        "neither text nor a number nor true or false.\n  dataset.group: there is no column "
        "'pints'.\n  Its columns are 'image', 'ill', 'age', 'sex', 'visit'."
    )
    file.write_bytes(b"PAR1 no more")
    assert message(file).startswith("t.parquet can't be read as Parquet: ")
    file.rename(folder / "t.parquet.gz")
    assert message(folder / "t.parquet.gz") == (
        "t.parquet.gz: Parquet is compressed in itself. Unpack the file."
    )


def test_parquet_without_pyarrow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "t.parquet"
    file.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert message(file) == (
        "t.parquet: Parquet is read by pyarrow, which is not installed: pip install "
        "pyarrow. Or save the table as CSV."
    )

    def read_parquet(content: io.BytesIO) -> object:
        raise ValueError(f"{len(content.getvalue())} byte")

    # pandas can read Parquet by itself with fastparquet, which the tests do not have.
    pandas = types.SimpleNamespace(read_parquet=read_parquet)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert message(file) == "t.parquet can't be read as Parquet: 1 byte."


def test_texts_that_can_not_be_read(folder: Path) -> None:
    file = folder / "t.csv"
    file.write_bytes(b"image,label\na.png,\x81\n")
    assert message(file, encoding="cp1252") == (
        "t.csv is not 'cp1252': line 2 holds the byte 0x81. Set dataset.encoding "
        '("cp1252", "latin-1"), or save it as CSV UTF-8.'
    )
    packed = folder / "t.csv.gz"
    packed.write_bytes(TEXT.encode())
    assert message(packed) == (
        "t.csv.gz can't be unpacked: Not a gzipped file (b'im'). Compress it again, or remove "
        ".gz from its name if it isn't compressed."
    )
    packed.write_bytes(gzip.compress(TEXT.encode(), mtime=0)[:-12])
    assert message(packed).startswith("t.csv.gz can't be unpacked: ")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"encoding": "utf-9"},
            "'utf-9' is not a text encoding. Usual ones are 'utf-8', 'cp1252', 'latin-1' and "
            "'utf-16'.",
        ),
        (
            {"encoding": "zip"},
            "'zip' is not a text encoding. Usual ones are 'utf-8', 'cp1252', 'latin-1' and "
            "'utf-16'.",
        ),
        ({"delimiter": ";;"}, "must be one character, such as ';', got ';;'."),
        ({"delimiter": '"'}, "must be one character, such as ';', got '\"'."),
    ],
)
def test_wrong_parameters(parameters: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        Table(file=Path("t.csv"), **parameters)  # type: ignore[arg-type]


def test_columns_that_are_not_used_may_have_one_name(folder: Path) -> None:
    file = folder / "t.csv"
    file.write_text("image,x,x,label,\na.png,1,2,0,\nb.png,1,2,1,\n")
    assert len(Table(file=file).build().samples) == 2
    assert message(file, group="x") == (
        "t.csv has more than one column named 'x'. Rename all but one."
    )


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_spreadsheet_is_no_text(folder: Path, start: bytes) -> None:
    (folder / "t.xlsx").write_bytes(start + bytes(range(256)))
    assert message(folder / "t.xlsx") == (
        "t.xlsx is a spreadsheet or an archive, not text. Save the sheet as CSV UTF-8."
    )


def test_utf16_is_named_where_it_is_marked(folder: Path) -> None:
    (folder / "t.csv").write_bytes(TEXT.encode("utf-16"))
    assert message(folder / "t.csv") == (
        "t.csv is not UTF-8: line 1 holds the byte 0xff. "
        'Set dataset.encoding ("utf-16"), or save it as CSV UTF-8.'
    )


def test_column_names_are_compared_in_one_unicode_form(folder: Path) -> None:
    (folder / "t.csv").write_text("image,e\u0301tat\na.png,x\nb.png,y\n", encoding="utf-8")
    assert Table(file=folder / "t.csv", label="\u00e9tat").build().task.names == ("x", "y")
    assert Table(file=folder / "t.csv", label="e\u0301tat").build().task.names == ("x", "y")


def test_a_path_that_can_be_no_path(folder: Path) -> None:
    assert message(folder / "t\0.csv") == "dataset.file: t\0.csv can't be read: embedded null byte."


def test_a_row_for_excel_and_a_table_of_many_columns(tmp_path: Path) -> None:
    (tmp_path / "excel.csv").write_text("sep=;\nimage;label\na.png;x\n")
    with pytest.raises(DataError) as caught:
        Table(file=tmp_path / "excel.csv").build()
    assert str(caught.value) == (
        f"{tmp_path / 'excel.csv'}: row 1 is 'sep=;', which is for Excel alone. Remove the row, "
        "and set dataset.delimiter if commas don't separate the cells."
    )
    names = [f"c{number}" for number in range(43)]
    (tmp_path / "wide.csv").write_text(f"{','.join(names)}\n{','.join(names)}\n")
    with pytest.raises(DataError) as caught:
        Table(file=tmp_path / "wide.csv").build()
    assert str(caught.value).endswith(", 'c39' and 3 more.")


def test_cells_between_tabs_in_a_file_that_is_not_called_so(folder: Path) -> None:
    (folder / "t.csv").write_text("image\tlabel\na.png\tx\nb.png\ty\n")
    assert message(folder / "t.csv") == (
        "t.csv can't be used:\n  dataset.image: there is no column 'image'.\n  dataset.label: "
        "there is no column 'label'.\n  Its columns are 'image label'. If '\\t' separates its "
        "cells, set dataset.delimiter = '\\t'."
    )


def test_row_names_of_r_without_a_column_name(folder: Path) -> None:
    (folder / "t.csv").write_text('"image","label"\n"1","a.png","x"\n"2","b.png","y"\n')
    assert message(folder / "t.csv") == (
        "t.csv: row 1 has 2 names and each row below it has 3 cells: the first column has no "
        "name, as in a table that R writes with row names. Put a name in front of row 1, or "
        "write the table with row.names = FALSE."
    )


def test_a_title_above_the_names_is_not_taken_for_row_names(folder: Path) -> None:
    (folder / "t.csv").write_text("Study 7,\nimage,label\na.png,x\nb.png,y\n")
    assert message(folder / "t.csv") == (
        "t.csv can't be used:\n  dataset.image: there is no column 'image'.\n"
        "  dataset.label: there is no column 'label'.\n  Its columns are 'Study 7'."
    )


@pytest.mark.skipif(os.sep != "/", reason="there such a path may be one")
def test_paths_of_windows_on_another_system(folder: Path) -> None:
    (folder / "t.csv").write_text("image,label\nC:\\data\\a.png,x\n\\\\pacs\\b.png,y\n.\\b.png,y\n")
    assert message(folder / "t.csv") == (
        "t.csv can't be used:\n  row 2: there is no file C:/data/a.png.\n  row 3: there is no "
        "file //pacs/b.png.\nA Windows path with a drive or a server can't be used on this "
        "system: write paths relative to dataset.root. To leave these rows out, set "
        'dataset.missing_files = "drop".'
    )
