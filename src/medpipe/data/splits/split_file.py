"""Write a split to a file, ``splits.csv``, and read it back."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import attrs

from medpipe.data.ids import portable_id
from medpipe.data.splits.leak_messages import leak_lines
from medpipe.data.splits.leak_removal import without_leaks
from medpipe.data.splits.leaks import find_leaks, predefined_splits
from medpipe.data.splits.split import Splits, require_training
from medpipe.errors import ChangedError, DataError
from medpipe.steps import SPLITS, LabelImage, Split
from medpipe.system.file_errors import looked_in, reason
from medpipe.system.files import keep_text
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medpipe.data.scanning.scan import Scan
    from medpipe.settings import SplitSettings
    from medpipe.steps import Dataset, Sample

SPLITS_FILE = "splits.csv"
"""The file's name in a run directory."""

COLUMNS = ("id", "split", "fold", "label", "group", "sha256", "pixels")
REQUIRED = ("id", "split")
NAMED = 3
"""How many ids an error names of each kind of change."""


@attrs.frozen(kw_only=True)
class _Row:
    line: int
    split: Split
    fold: int | None
    sha256: str


def write_splits(path: Path, splits: Splits, samples: Sequence[Sample], scan: Scan) -> bool:
    """Write a split, sorted by id, if it is not there yet.

    The columns are id, split, with folds the fold (blank where the data place the sample), label,
    group, SHA-256 of the file and hash of the pixels, by which other images can be compared with
    these later. A label of several numbers is written with spaces between them.

    Returns:
        Whether it had to be written.

    Raises:
        RunError: The file can't be written.
    """
    ordered = sorted(samples, key=lambda sample: sample.id)
    found = scan.of(ordered)
    rows: list[tuple[str, ...]] = [
        (s.id, splits[s.id], _fold(splits, s), _label(s), s.group or "", sha256, pixels)
        for s, sha256, pixels in zip(ordered, found.sha256, found.pixels, strict=True)
    ]
    columns: tuple[str, ...] = COLUMNS
    if not splits.folds:
        columns, rows = _without_fold(COLUMNS), [_without_fold(row) for row in rows]
    text = io.StringIO()
    # The csv module does not quote a carriage return by itself, but reads it as a line's end.
    returns = any("\r" in cell for row in rows for cell in row)
    writer = csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    )
    writer.writerow(columns)
    writer.writerows(rows)
    return keep_text(path, text.getvalue())


def read_splits(
    path: Path, dataset: Dataset, scan: Scan, settings: SplitSettings
) -> tuple[Dataset, Splits]:
    """Read a split from a file.

    The columns ``id`` and ``split`` must be there; where ``sha256`` is there and not blank, the
    sample's file must have it. With `settings.folds` the file must hold out that fold. The other
    columns are for people and for comparisons.

    Where the data set says ``on_leak = "drop_train"``, samples that it would leave out may be
    missing in the file, and what the file's own splits divide is left out as well.

    Returns:
        The data set, of the samples in the split, with notes of what was left out; and the split.

    Raises:
        ChangedError: The data are not those that the file was made with; it says what changed.
        DataError: The file can't be read or is malformed (with line and column), it divides a
            group or duplicates, it holds out another fold, or a class is not in training.
    """
    rows = _read(path)
    if dataset.on_leak == "drop_train":
        kept = without_leaks(dataset, scan, predefined_splits(dataset.samples))
        left = {sample.id for sample in dataset.samples} - {sample.id for sample in kept.samples}
        if not any(portable_id(sample_id) in rows for sample_id in left):
            dataset = kept
    by_id = {portable_id(sample.id): sample for sample in dataset.samples}
    changes = _changes(rows, by_id, scan)
    if changes:
        raise ChangedError(
            f"The data are not those that the split file {path} was made with:\n"
            + "".join(f"  {change}\n" for change in changes)
            + "Restore the data, or leave split.file out for a new split."
        )
    splits = {sample.id: rows[name].split for name, sample in by_id.items()}
    if dataset.on_leak == "drop_train":
        dataset = without_leaks(dataset, scan, splits, source="the splits of the split file")
    lines = leak_lines(find_leaks(dataset.samples, scan, splits), splits)
    if lines:
        raise DataError(
            f"The split file {path} divides groups or duplicate images:\n"
            + "".join(f"  {line}\n" for line in lines)
            + 'Correct the file, set dataset.on_leak = "drop_train" to leave the training side '
            "out, or leave split.file out for a new split."
        )
    require_training(dataset.samples, splits, dataset.task)
    if settings.folds is not None:
        _require_fold(path, rows, settings.folds, settings.fold or 0)
    kept_ids = {sample.id for sample in dataset.samples}
    numbers = {sample.id: rows[name].fold for name, sample in by_id.items()}
    return dataset, Splits(
        by_id={i: split for i, split in splits.items() if i in kept_ids},
        folds={i: fold for i, fold in numbers.items() if fold is not None and i in kept_ids},
    )


def _require_fold(path: Path, rows: dict[str, _Row], count: int, fold: int) -> None:
    """Require that the file has so many folds and holds out this one."""
    folds = sorted({row.fold for row in rows.values() if row.fold is not None})
    remedy = "Take the file of that fold's run, or leave split.file out."
    if folds != list(range(count)):
        have = counted(len(folds), "fold") if folds else "no folds"
        raise DataError(f"The split file {path} has {have}, but split.folds is {count}. {remedy}")
    held = {row.split for row in rows.values() if row.fold == fold}
    others = {row.split for row in rows.values() if row.fold not in (None, fold)}
    if len(held) > 1 or held & others:
        raise DataError(f"The split file {path} does not hold out split.fold = {fold}. {remedy}")


def _changes(rows: dict[str, _Row], by_id: dict[str, Sample], scan: Scan) -> list[str]:
    both = sorted(rows.keys() & by_id.keys())
    contents = [
        name
        for name in both
        if rows[name].sha256 not in ("", scan.fingerprints[by_id[name].id].sha256)
    ]
    moved = [name for name in both if by_id[name].split not in (None, "training", rows[name].split)]
    return [
        *_change(sorted(rows.keys() - by_id.keys()), "of the file's samples", "not in the data"),
        *_change(sorted(by_id.keys() - rows.keys()), "of the data's samples", "not in the file"),
        *_change(contents, "of the samples", "another image (its SHA-256 differs)"),
        *_change(moved, "of the samples", "in another split in the data set"),
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
        why = reason(error)
        if isinstance(error, FileNotFoundError):
            why += looked_in(path)
        raise DataError(f"The split file {path} can't be read: {why}.") from error
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
                    f"{path}, line {reader.line_num}, column id: {name!r} is already in line "
                    f"{rows[name].line}."
                )
            rows[name] = row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}.") from error
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
        raise DataError(
            f"{path}, line 1: the column {unknown[0]!r} is unknown. {expected} Remove it, or use "
            "the medpipe that wrote the file."
        )
    if twice:
        raise DataError(f"{path}, line 1: the column {twice[0]} occurs twice. {expected}")


def _parse(path: Path, line: int, row: dict[str, str]) -> _Row:
    split = row.get("split", "")
    if split not in SPLITS:
        raise DataError(
            f"{path}, line {line}, column split: {split!r} is not a split. "
            f"The splits are {', '.join(SPLITS)}."
        )
    sha256 = row.get("sha256", "").strip().lower()
    if sha256 and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        raise DataError(
            f"{path}, line {line}, column sha256: {sha256!r} is not 64 hexadecimal digits."
        )
    fold = row.get("fold", "").strip()
    if fold and not (fold.isascii() and fold.isdigit() and len(fold) < 10):
        raise DataError(f"{path}, line {line}, column fold: {fold!r} is not a whole number from 0.")
    return _Row(line=line, split=split, fold=int(fold) if fold else None, sha256=sha256)


def _fold(splits: Splits, sample: Sample) -> str:
    return str(splits.folds[sample.id]) if sample.id in splits.folds else ""


def _without_fold(row: tuple[str, ...]) -> tuple[str, ...]:
    place = COLUMNS.index("fold")
    return row[:place] + row[place + 1 :]


def _label(sample: Sample) -> str:
    label = sample.label
    if isinstance(label, LabelImage):
        return ""
    values = label if isinstance(label, tuple) else (label,)
    return " ".join(repr(value) for value in values)
