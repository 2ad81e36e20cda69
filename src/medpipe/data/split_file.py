"""``splits.csv``: a split as a file, with the hash of every image, and back."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, cast

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
NAMED = 3
"""How many samples an error names."""


def write_split(path: Path, split: Split, samples: Sequence[Sample], scan: Scan) -> None:
    """Write a split, sorted by id, whole or not at all.

    The columns are ``id``, ``part``, ``label``, ``group`` and the ``sha256`` of the image file.

    Raises:
        RunError: The file can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample in sorted(samples, key=lambda sample: sample.id):
        sha256 = scan.fingerprints[sample.id].sha256
        writer.writerow([sample.id, split[sample.id], sample.label, sample.group or "", sha256])
    write_text(path, text.getvalue())


def read_split(path: Path, samples: Sequence[Sample], scan: Scan) -> Split:
    """Take a split back, if the data are those that it was made with.

    A blank ``sha256`` is not compared; ``label`` and ``group`` are for people.

    Raises:
        ChangedError: Samples were added, are gone or have other content; it names some of each.
        DataError: The file can't be read, is no split, or divides a group or duplicates.
    """
    rows = _rows(path)
    ids = {sample.id for sample in samples}
    added, gone = sorted(ids - rows.keys()), sorted(rows.keys() - ids)
    other = sorted(
        id_
        for id_, (_, sha256) in rows.items()
        if id_ in ids and sha256 and sha256 != scan.fingerprints[id_].sha256
    )
    changes = [
        f"  {len(some)} {what}: {_some(some)}."
        for some, what in (
            (added, "samples of the data are not in the file"),
            (gone, "samples of the file are not in the data"),
            (other, "images have another content"),
        )
        if some
    ]
    if changes:
        raise ChangedError(
            f"The data are not those that {path} was made with:\n"
            + "\n".join(changes)
            + "\nRestore the data, or leave split.file out to divide them anew."
        )
    parts = {id_: part for id_, (part, _) in rows.items()}
    lines = divided(samples, scan, parts)
    if lines:
        raise DataError(
            f"{path} divides what must stay in one part:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "Correct the file, or leave split.file out to divide the data anew."
        )
    return Split(parts=parts)


def _rows(path: Path) -> dict[str, tuple[Part, str]]:
    """The part and the hash by id."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [
                name for name in ("id", "part", "sha256") if name not in (reader.fieldnames or ())
            ]
            if missing:
                raise DataError(
                    f"{path} is no split file: it has no column {missing[0]!r}. "
                    f"The columns are {', '.join(COLUMNS)}."
                )
            rows: dict[str, tuple[Part, str]] = {}
            for row in reader:
                line = reader.line_num
                if row["part"] not in PARTS:
                    raise DataError(
                        f"{path}, line {line}: the part {row['part']!r} is none of "
                        f"{', '.join(PARTS)}."
                    )
                if row["id"] in rows:
                    raise DataError(f"{path}, line {line}: the id {row['id']!r} stands twice.")
                rows[row["id"]] = (cast("Part", row["part"]), row["sha256"] or "")
            return rows
    except FileNotFoundError as error:
        raise DataError(f"The split file {path} is not there. Correct split.file.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The split file {path} can't be read: {error}.") from error


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(repr(id_) for id_ in ids[:NAMED]) + more
