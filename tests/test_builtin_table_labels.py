"""The labels of tables: classes, findings in one cell or in columns, numbers."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import medpipe
from medpipe.builtin.datasets.table import Table
from medpipe.plugin import DataError, Dataset


def build(folder: Path, header: str, *rows: str, **parameters: object) -> Dataset:
    """List a table whose image column is made here, one file for each row."""
    lines = [f"image,{header}"]
    for number, row in enumerate(rows, 2):
        (folder / f"{number}.png").touch()
        lines.append(f"{number}.png,{row}")
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    return Table(file=folder / "t.csv", **parameters).build()  # type: ignore[arg-type]


def labels(dataset: Dataset) -> list[object]:
    """The labels, with None for NaN, which does not equal itself."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return [
        tuple(map(plain, s.label)) if isinstance(s.label, tuple) else s.label
        for s in dataset.samples
    ]


def message(folder: Path, header: str, *rows: str, **parameters: object) -> str:
    with pytest.raises(DataError) as caught:
        build(folder, header, *rows, **parameters)
    return str(caught.value).replace(f"{folder}/", "")


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    dataset = build(tmp_path, "label", "10", "9", "0.5", "10")
    assert dataset.task == medpipe.Task(kind="multiclass", names=("0.5", "9", "10"))
    assert labels(dataset) == [2, 1, 0, 2]


def test_values_are_merged_into_classes(tmp_path: Path) -> None:
    classes = {"pneumonia": ("viral", "1"), "healthy": "none", "other": "rare"}
    dataset = build(tmp_path, "label", "viral", " none ", "1.0", "none", classes=classes)
    assert dataset.task.names == ("healthy", "other", "pneumonia")
    assert labels(dataset) == [2, 0, 2, 0]
    assert dataset.notes == ("No row has a value that dataset.classes names for 'other'.",)
    rows = ["viral", "covid", "none", "covid", "tb", "covid", "covid", "covid"]
    assert message(tmp_path, "label", *rows, classes=classes) == (
        "t.csv can't be used:\n"
        "  rows 3, 5, 7 and 2 more: 'covid' in column 'label' is in no class of dataset.classes.\n"
        "  row 6: 'tb' in column 'label' is in no class of dataset.classes.\n"
        "Add each value to a class of dataset.classes, or leave its rows out by naming the others "
        "in dataset.where.label."
    )
    left = build(
        tmp_path, "label", *rows, classes=classes, where={"label": ("viral", "none", "rare")}
    )
    assert labels(left) == [2, 0]


def test_many_numbers_are_a_regression_unless_said(tmp_path: Path) -> None:
    rows = [str(number / 2) for number in range(51)]
    assert message(tmp_path, "label", *rows) == (
        "t.csv: column 'label' holds 51 different numbers, such as '0.0', '0.5', '1.0'. To "
        'predict the number set dataset.task = "regression"; if each is a class, set '
        'dataset.task = "multiclass".'
    )
    assert len(build(tmp_path, "label", *rows, task="multiclass").task.names) == 51
    assert len(build(tmp_path, "label", *rows[:50], *rows[:50]).task.names) == 50
    assert len(build(tmp_path, "label", *rows, *rows, "other").task.names) == 52
    assert labels(build(tmp_path, "label", *rows, task="regression"))[:3] == [0.0, 0.5, 1.0]


def test_a_column_of_values_that_never_come_again_is_no_class(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(11)]
    assert message(tmp_path, "label", *names, "p0") == (
        "t.csv: column 'label' holds 11 different values, of which 10 are in one row only, such "
        "as 'p1', 'p10', 'p2': these are not classes that can be learned. Name another column "
        "with dataset.label, merge values in dataset.classes, or for numbers set dataset.task = "
        '"regression". If each is a class nevertheless, set dataset.task = "multiclass".'
    )
    assert len(build(tmp_path, "label", *names, "p0", task="multiclass").task.names) == 11
    assert len(build(tmp_path, "label", *names[:10]).task.names) == 10


def test_a_separator_that_is_nowhere_is_said(tmp_path: Path) -> None:
    rows = ["Edema|Mass", "Mass"]
    dataset = build(tmp_path, "label", *rows, separator=";")
    assert dataset.task.names == ("Edema|Mass", "Mass")
    assert dataset.notes == (
        "No cell in column 'label' holds two findings. Check that ';' separates them "
        "(dataset.separator).",
    )


def test_findings_in_one_cell(tmp_path: Path) -> None:
    rows = ["Edema|Mass", "No Finding", "Mass", "Edema | Edema|"]
    dataset = build(tmp_path, "label", *rows, separator="|", negative=("No Finding",))
    assert dataset.task == medpipe.Task(kind="multilabel", names=("Edema", "Mass"))
    assert labels(dataset) == [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)]
    merged = {"fluid": ("Edema", "Effusion"), "lump": ("Mass", "Nodule")}
    dataset = build(
        tmp_path, "label", "Edema;Effusion", "", "Nodule", separator=";", blank="negative",
        classes=merged,
    )  # fmt: skip
    assert dataset.task.names == ("fluid", "lump")
    assert labels(dataset) == [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0)]
    assert message(tmp_path, "label", "Edema|Pneumonia", "Cyst", separator="|", classes=merged) == (
        "t.csv can't be used:\n"
        "  row 2: 'Pneumonia' in column 'label' is in no class of dataset.classes.\n"
        "  row 3: 'Cyst' in column 'label' is in no class of dataset.classes.\n"
        "Add each value to a class of dataset.classes, or leave its rows out by naming the others "
        "in dataset.where.label."
    )
    assert message(tmp_path, "label", "none|Mass", "", separator="|", negative=("none",)) == (
        "t.csv can't be used:\n  row 2: 'none|Mass' in column 'label' says 'none' "
        "(dataset.negative) and 'Mass'.\n  row 3: no label in column 'label'.\nCorrect the "
        "table, or leave such rows out with dataset.where.\nTo leave these rows out, set "
        'dataset.missing_labels = "drop".'
    )
    assert message(tmp_path, "label", "none", "none", separator="|", negative=("none",)) == (
        "t.csv holds no finding in column 'label'. Name another column with dataset.label, or "
        "fewer values in dataset.negative."
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"uncertain": "missing"}, [(1.0, 0.0), (None, 1.0), (None, 0.0)]),
        ({"uncertain": "positive"}, [(1.0, 0.0), (None, 1.0), (1.0, 0.0)]),
        ({"uncertain": "negative", "blank": "negative"}, [(1, 0), (0, 1), (0, 0), (0, 0)]),
    ],
)
def test_a_column_for_each_finding(
    tmp_path: Path, parameters: dict[str, object], expected: list[object]
) -> None:
    rows = ["1,0.0", ",TRUE", "-1.0,0", ","]
    dataset = build(tmp_path, "a,b", *rows, label=("a", "b"), missing_labels="drop", **parameters)
    assert dataset.task == medpipe.Task(kind="multilabel", names=("a", "b"))
    assert labels(dataset) == expected
    note = "1 row without a label in columns 'a', 'b' was left out (dataset.missing_labels), row 5."
    assert dataset.notes == (() if "blank" in parameters else (note,))


def test_what_is_refused_in_columns_of_findings(tmp_path: Path) -> None:
    assert message(tmp_path, "a,b", "1,-1", "2,0", ",", label=("a", "b")) == (
        "t.csv can't be used:\n  row 2: '-1' in column 'b' is neither 1 nor 0.\n  row 3: '2' in "
        "column 'a' is neither 1 nor 0.\n  row 4: no label in columns 'a', 'b'.\nIf -1 means "
        'uncertain, set dataset.uncertain to "missing", "positive" or "negative".\nWrite 1, 0 or '
        'nothing.\nTo leave these rows out, set dataset.missing_labels = "drop".'
    )
    assert message(tmp_path, "label", "Edema|Mass", task="multilabel") == (
        "t.csv can't be used:\n  row 2: 'Edema|Mass' in column 'label' is neither 1 nor "
        "0.\nWrite 1, 0 or nothing. If a cell names its findings, set dataset.separator."
    )


def test_numbers_with_their_unit(tmp_path: Path) -> None:
    dataset = build(tmp_path, "age", "63.5", "41", "-1e1", label="age", task="regression",
                    label_unit="years")  # fmt: skip
    assert dataset.task == medpipe.Task(kind="regression", names=("age",), unit="years")
    assert labels(dataset) == [63.5, 41.0, -10.0]
    two = build(tmp_path, "a,b", "1,2", ",3", "NA,NA", label=("a", "b"), task="regression",
                missing_values=("NA",), missing_labels="drop")  # fmt: skip
    assert two.task.names == ("a", "b")
    assert labels(two) == [(1.0, 2.0), (None, 3.0)]
    assert two.notes == (
        "1 row without a label in columns 'a', 'b' was left out (dataset.missing_labels), row 4.",
    )
    assert message(tmp_path, "label", "1,", "NA", "nan", "1e999", "", "6_3", task="regression") == (
        "t.csv can't be used:\n  row 3: 'NA' in column 'label' is not a number.\n  row 4: 'nan' "
        "in column 'label' is not a number.\n  row 5: '1e999' in column 'label' is too large for "
        "a float32.\n  row 6: no label in column 'label'.\n  row 7: '6_3' in column 'label' is "
        'not a number.\nWrite a number such as 63.5; if a word stands for a blank cell ("NA"), '
        "name it in dataset.missing_values.\nGive the target in another unit.\nTo leave these "
        'rows out, set dataset.missing_labels = "drop".'
    )


@given(
    cells=st.lists(
        st.lists(
            st.sampled_from(["0", "1", "-1", "", "1.0", "-1.0", "0.0"]), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=6,
    ),
    uncertain=st.sampled_from(["missing", "positive", "negative"]),
    blank=st.sampled_from(["missing", "negative"]),
)
def test_columns_of_findings_are_what_a_plain_reading_says(
    cells: list[list[str]], uncertain: str, blank: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    meanings = {"missing": None, "positive": 1.0, "negative": 0.0}

    def reference(cell: str) -> float | None:
        if not cell:
            return meanings[blank]
        return meanings[uncertain] if float(cell) == -1 else float(cell)

    expected = [tuple(map(reference, row)) for row in cells]
    expected = [row for row in expected if set(row) != {None}]
    folder = tmp_path_factory.mktemp("labels")
    rows = [",".join(row) for row in cells]
    parameters = {"label": ("a", "b", "c"), "uncertain": uncertain, "blank": blank}
    if expected:
        dataset = build(folder, "a,b,c", *rows, missing_labels="drop", **parameters)
        assert labels(dataset) == expected
    else:
        text = message(folder, "a,b,c", *rows, missing_labels="drop", **parameters)
        assert text.startswith("t.csv: no row is left.\n")
    shutil.rmtree(folder)


@given(
    rows=st.lists(
        st.frozensets(st.sampled_from(["A", "B c", "D", "10", "2"]), max_size=4),
        min_size=1,
        max_size=6,
    ).filter(any)
)
def test_findings_in_a_cell_come_back(
    rows: list[frozenset[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    cells = ["|".join(sorted(row)) or "none" for row in rows]
    dataset = build(folder, "label", *cells, separator="|", negative=("none",))
    names = dataset.task.names
    assert set(names) == frozenset().union(*rows)
    found = [
        frozenset(name for name, value in zip(names, s.label, strict=True) if value)  # type: ignore[arg-type]
        for s in dataset.samples
    ]
    assert found == rows
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"label": ("a", "b"), "task": "multiclass", "classes": {"x": "a", "y": "c"}},
            "with several columns of classes it must name each column once and nothing else; see "
            "'b'.",
        ),
        (
            {"repeated": "any"},
            "it is for multilabel, and this is multiclass. Leave it out, or set dataset.task = "
            '"multilabel".',
        ),
        (
            {"decimal": ","},
            "it is for regression, and this is multiclass. Leave it out, or set dataset.task = "
            '"regression".',
        ),
        (
            {"decimal": ",", "task": "regression"},
            "a comma can't separate both decimals and cells: set dataset.delimiter too, such as "
            "';'.",
        ),
        ({"label": ()}, "name a column."),
        ({"label": ("a", "a")}, "a column is named twice."),
        (
            {"separator": "|", "task": "regression"},
            "it is for multilabel, and this is regression. Leave it out, or set dataset.task = "
            '"multilabel".',
        ),
        (
            {"separator": "|", "label": ("a", "b")},
            "it is for findings in one column, and dataset.label names several. Leave it out.",
        ),
        ({"separator": " "}, "it needs a character that is not a space."),
        (
            {"negative": ("none",)},
            "it is for findings in one cell. Set dataset.separator too.",
        ),
        (
            {"uncertain": "missing"},
            "it is for multilabel, and this is multiclass. Leave it out, or set dataset.task = "
            '"multilabel".',
        ),
        (
            {"uncertain": "missing", "separator": "|"},
            "it is for a column for each finding, and dataset.separator for one cell.",
        ),
        (
            {"blank": "negative"},
            "it is for multilabel, and this is multiclass. Leave it out, or set dataset.task = "
            '"multilabel".',
        ),
        (
            {"label_unit": "years"},
            "it is for regression, and this is multiclass. Leave it out, or set dataset.task = "
            '"regression".',
        ),
        (
            {"classes": {"a": "1", "b": "2"}, "task": "regression"},
            "a regression has no classes. Leave it out.",
        ),
        (
            {"classes": {"a": "1"}, "label": ("a", "b")},
            "it merges values of one column, and here each finding has its own.",
        ),
        ({"classes": {"a": "1"}}, "a classifier needs two or more classes, got 'a'."),
        ({"classes": {"a": "1", "b": "1.0"}}, "'1.0' is a value of both 'a' and 'b'."),
        (
            {"classes": {"\u00fc": "1", "u\u0308": "2"}},
            "two classes have the same name in Unicode form NFC.",
        ),
    ],
)
def test_parameters_that_do_not_go_together(parameters: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        Table(file=Path("t.csv"), **parameters)  # type: ignore[arg-type]
    # And with the path of the field that is wrong in a configuration.
    with pytest.raises(medpipe.ConfigError) as caught:
        medpipe.PipelineBuilder().dataset("table", file="t.csv", **parameters).build()
    [problem] = [problem for problem in caught.value.problems if problem.message == expected]
    assert problem.path.removeprefix("dataset.") in {*parameters, "task"}


def test_values_that_look_alike_or_like_a_blank_cell_are_said(tmp_path: Path) -> None:
    dataset = build(tmp_path, "label,patient", "ill,001", "Ill,1", "well,1E+05", "NA,100000",
                    "well,nan", "well,2", group="patient")  # fmt: skip
    assert dataset.task.names == ("Ill", "NA", "ill", "well")
    assert dataset.notes == (
        "Column 'patient' has groups that are numbers with a power of ten, as a spreadsheet "
        "writes long numbers: '1E+05' in row 4. Different groups may have become the same: take "
        "the ids from the table's source.",
        "Column 'patient' has groups that differ only in case or in how a number is written: "
        "'001', '1'; '100000', '1E+05'. If they are the same, write them alike.",
        "Column 'patient' has the groups 'nan'. If this stands for a blank cell, name it in "
        "dataset.missing_values.",
        "Column 'label' has classes that differ only in case or in how a number is written: "
        "'Ill', 'ill'. If they are the same, merge them in dataset.classes.",
        "Column 'label' has the classes 'NA'. If this stands for a blank cell, name it in "
        "dataset.missing_values.",
    )
    four = ["a", "A", "b", "B", "c", "C", "1", "1.0"]
    assert build(tmp_path, "label", *four).notes == (
        "Column 'label' has classes that differ only in case or in how a number is written: "
        "'1', '1.0'; 'A', 'a'; 'B', 'b'; and 1 more. If they are the same, merge them in "
        "dataset.classes.",
    )


def test_numbers_that_a_float32_cannot_hold(tmp_path: Path) -> None:
    assert message(tmp_path, "label", "3e38", "-1e39", task="regression") == (
        "t.csv can't be used:\n"
        "  row 3: '-1e39' in column 'label' is too large for a float32.\n"
        "Give the target in another unit."
    )
