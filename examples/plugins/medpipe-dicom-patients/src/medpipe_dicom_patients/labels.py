"""The table of the patients' classes."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from medpipe.plugin import DataError, visible

if TYPE_CHECKING:
    from pathlib import Path

NAMED = 10
"""How many rows an error names."""


def classes_of_patients(path: Path, *, patient_column: str, label_column: str) -> dict[str, str]:
    """The class of each patient in a CSV file, by PatientID.

    Raises:
        DataError: The file can't be read, lacks a column or a cell, or gives a patient two classes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"dataset.labels: {path} can't be read: {error}.") from error
    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or []
    for field, column in (("patient_column", patient_column), ("label_column", label_column)):
        if column not in columns:
            raise DataError(
                f"{path} has no column {column!r}; its columns are {', '.join(columns)}. Name the "
                f"column by dataset.{field}."
            )
    found: dict[str, str] = {}
    wrong: list[str] = []
    for row in reader:
        patient, name = visible(row[patient_column] or ""), visible(row[label_column] or "")
        if not patient or not name:
            wrong.append(f"{path}, line {reader.line_num}: a patient or a class is missing.")
        elif found.setdefault(patient, name) != name:
            wrong.append(
                f"{path}, line {reader.line_num}: the patient {patient!r} has the class {name!r} "
                f"here and {found[patient]!r} before."
            )
    if wrong:
        raise DataError("\n".join(wrong[:NAMED]))
    return found
