"""Images of another data set that a network has seen in training."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from medpipe.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Split

KEYS = ("sha256", "pixels")
"""What identifies an image in ``splits.csv``: the file's content and the decoded values."""


def seen_in(split: Split, splits: Path, scan: Scan) -> Mapping[str, str]:
    """Which images of a data set a run had in one of its splits.

    Args:
        split: The run's split.
        splits: The run's ``splits.csv``.
        scan: The data set's fingerprints, decoded as the run decodes.

    Returns:
        By id, in their order: the id that the same image has in the run.

    Raises:
        RunError: The file can't be read.
    """
    known = {key: _by(key, split, splits) for key in KEYS}
    seen: dict[str, str] = {}
    for id_, found in sorted(scan.fingerprints.items()):
        there = known["sha256"].get(found.sha256) or known["pixels"].get(found.pixels)
        if there is not None:
            seen[id_] = there
    return seen


def pixels_in(split: Split, splits: Path) -> dict[str, str]:
    """The hash of the pixels of each image of a split, by id; empty if the file has none.

    Args:
        split: The run's split.
        splits: The run's ``splits.csv``.

    Raises:
        RunError: The file can't be read.
    """
    return {id_: pixels for pixels, id_ in _pairs("pixels", split, splits)}


def has_groups(splits: Path) -> bool:
    """Whether a run's ``splits.csv`` names the group of a sample.

    Raises:
        RunError: The file can't be read.
    """
    return any(row.get("group") for row in _rows(splits))


def _by(key: str, split: Split, splits: Path) -> dict[str, str]:
    """The ids of a split by a column, which older runs may lack."""
    return dict(_pairs(key, split, splits))


def _pairs(key: str, split: Split, splits: Path) -> list[tuple[str, str]]:
    return [
        (row[key], row["id"]) for row in _rows(splits) if row.get("split") == split and row.get(key)
    ]


def _rows(splits: Path) -> csv.DictReader[str]:
    try:
        text = splits.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{splits} can't be read, so leaks can't be found: {error}.") from error
    return csv.DictReader(io.StringIO(text, newline=""))
