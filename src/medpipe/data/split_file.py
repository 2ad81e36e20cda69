"""A split as a file, ``splits.csv``: what a run writes and another run takes back."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import attrs

from medpipe.data.scan import portable_id
from medpipe.data.splits import Split, divided
from medpipe.errors import ChangedError, DataError
from medpipe.files import write_text
from medpipe.steps import PARTS, Part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medpipe.data.scan import Scan
    from medpipe.steps import Sample

COLUMNS = ("id", "part", "label", "group", "sha256")
REQUIRED = ("id", "part")
NAMED = 3
"""How many ids an error names of each kind of change."""


@attrs.frozen(kw_only=True)
class _Row:
    line: int
    part: Part
    sha256: str


def write_split(path: Path, split: Split, samples: Sequence[Sample], scan: Scan) -> None:
    """Write a split: id, part, label, group and SHA-256 of each sample, sorted by id.

    A label of several numbers is written with spaces between them.

    Raises:
        RunError: The file can't be written.
    """
    rows = [
        (s.id, split[s.id], _label(s), s.group or "", scan.fingerprints[s.id].sha256)
        for s in sorted(samples, key=lambda sample: sample.id)
    ]
    text = io.StringIO()
    # The csv module does not quote a carriage return of its own accord, but reads it as a line's
    # end.
    returns = any("\r" in row[0] + row[3] for row in rows)
    writer = csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    )
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_split(path: Path, samples: Sequence[Sample], scan: Scan) -> Split:
    """Take a split back.

    The columns ``id`` and ``part`` must be there; where ``sha256`` is there and not blank, the
    sample's file must have it. ``label`` and ``group`` are for people.

    Raises:
        ChangedError: The data are not those that the file was made with; it says what changed.
        DataError: The file can't be read or is malformed (with line and column), or it divides a
            group or duplicates.
    """
    rows = _read(path)
    by_id = {portable_id(sample.id): sample for sample in samples}
    changes = _changes(rows, by_id, scan)
    if changes:
        raise ChangedError(
            f"The data are not those that the split file {path} was made with:\n"
            + "".join(f"  {change}\n" for change in changes)
            + "Bring the data back as they were, or leave split.file out for a new split."
        )
    split = Split(parts={sample.id: rows[name].part for name, sample in by_id.items()})
    lines = divided(samples, scan, split)
    if lines:
        raise DataError(
            f"The split file {path} divides what must stay in one part:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "Correct the file, or leave split.file out for a new split."
        )
    return split


def _changes(rows: dict[str, _Row], by_id: dict[str, Sample], scan: Scan) -> list[str]:
    both = sorted(rows.keys() & by_id.keys())
    contents = [
        name
        for name in both
        if rows[name].sha256 not in ("", scan.fingerprints[by_id[name].id].sha256)
    ]
    moved = [name for name in both if by_id[name].split not in (None, "training", rows[name].part)]
    return [
        *_change(sorted(rows.keys() - by_id.keys()), "of the file's samples", "not in the data"),
        *_change(sorted(by_id.keys() - rows.keys()), "of the data's samples", "not in the file"),
        *_change(contents, "of the samples", "another image (its SHA-256 differs)"),
        *_change(moved, "of the samples", "in another part by the data"),
    ]


def _change(names: Sequence[str], whose: str, what: str) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    verb = "is" if len(names) == 1 else "are"
    named = ", ".join(repr(name) for name in names[:NAMED])
    return [f"{len(names)} {whose} {verb} {what}: {named}{more}."]


def _read(path: Path) -> dict[str, _Row]:
    """The rows by portable id."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"The split file {path} can't be read: {reason}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The split file {path} is not UTF-8 text: {error}.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[str, _Row] = {}
    try:
        header = next(reader, [])
        _check_header(path, header)
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(values)} values for "
                    f"{len(header)} columns."
                )
            row = _parse(path, reader.line_num, dict(zip(header, values, strict=True)))
            name = portable_id(values[header.index("id")])
            if name in rows:
                raise DataError(
                    f"{path}, line {reader.line_num}, column id: {name!r} is in line "
                    f"{rows[name].line} already."
                )
            rows[name] = row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV: {error}.") from error
    if not rows:
        raise DataError(f"The split file {path} has no rows.")
    return rows


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [column for column in REQUIRED if column not in header]
    unknown = [column for column in header if column not in COLUMNS]
    twice = sorted({column for column in header if header.count(column) > 1})
    expected = f"The columns are {', '.join(COLUMNS)}."
    if missing:
        raise DataError(f"{path}, line 1: there is no column {missing[0]}. {expected}")
    if unknown:
        raise DataError(f"{path}, line 1: the column {unknown[0]!r} is unknown. {expected}")
    if twice:
        raise DataError(f"{path}, line 1: the column {twice[0]} occurs twice. {expected}")


def _parse(path: Path, line: int, row: dict[str, str]) -> _Row:
    part = row.get("part", "")
    if part not in PARTS:
        raise DataError(
            f"{path}, line {line}, column part: {part!r} is not a part. "
            f"The parts are {', '.join(PARTS)}."
        )
    sha256 = row.get("sha256", "").strip().lower()
    if sha256 and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        raise DataError(
            f"{path}, line {line}, column sha256: {sha256!r} is not 64 hexadecimal digits."
        )
    return _Row(line=line, part=part, sha256=sha256)


def _label(sample: Sample) -> str:
    label = sample.label
    values = label if isinstance(label, tuple) else (label,)
    return " ".join(repr(value) for value in values)
