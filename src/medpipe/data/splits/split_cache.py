"""Cached splits of data sets so large that dividing them takes long."""

from __future__ import annotations

import json
import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.splits.split import Splits, make_splits
from medpipe.errors import MedpipeError
from medpipe.steps import SPLITS, LabelImage
from medpipe.system.cache_folder import cache_directory
from medpipe.system.files import sha256_of, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medpipe.data.scanning.scan import Scan
    from medpipe.settings import SplitSettings
    from medpipe.steps import Sample, Task

logger = logging.getLogger("medpipe")

FORMAT = 4
"""The version; to be raised with every change of how samples are divided."""
WORTH = 2000
"""From how many samples on a split is remembered: fewer are divided in less time."""


def remembered_splits(
    samples: Sequence[Sample], scan: Scan, settings: SplitSettings, task: Task
) -> Splits:
    """As `make_splits`, which is a function of its arguments and of nothing else.

    Raises:
        DataError: As `make_splits`.
    """
    if len(samples) < WORTH:
        return make_splits(samples, scan, settings, task)
    ordered = sorted(samples, key=attrgetter("id"))
    ids = [sample.id for sample in ordered]
    path = _path(ordered, scan, settings, task)
    found = _load(path, ids)
    if found is None:
        found = make_splits(samples, scan, settings, task)
        _save(path, found, ids)
    return found


def _path(ordered: Sequence[Sample], scan: Scan, settings: SplitSettings, task: Task) -> Path:
    columns: list[list[Any]] = [
        [None if isinstance(s.label, LabelImage) else s.label for s in ordered],
        [sample.group for sample in ordered],
        [sample.split for sample in ordered],
    ]
    seen = [FORMAT, attrs.asdict(settings), attrs.asdict(task), len(ordered)]
    seen += [_once(column) for column in columns]
    found = scan.of(ordered)
    text = "\0".join([json.dumps(seen, default=str), *found.ids])
    key = sha256_of(text.encode("utf-8", "surrogatepass") + found.pixels.as_bytes())
    return cache_directory() / "splits" / f"{key[:32]}.json"


def _once(column: list[Any]) -> list[Any]:
    """A column, or its value where there is but one."""
    return column[:1] if column.count(column[0]) == len(column) else column


def _load(path: Path, ids: Sequence[str]) -> Splits | None:
    """The split of these samples; None where there is none, or it is not what was written."""
    try:
        written, _, text = path.read_text("ascii").partition("\n")
        if written != sha256_of(text.encode("ascii")):
            return None
    except (OSError, ValueError):
        return None
    kept = json.loads(text)
    named = {str(number): split for number, split in enumerate(SPLITS)}
    splits = dict(zip(ids, map(named.__getitem__, kept["splits"]), strict=True))
    folds = {i: fold for i, fold in zip(ids, kept["folds"], strict=False) if fold is not None}
    return Splits(by_id=splits, folds=folds)


def _save(path: Path, splits: Splits, ids: Sequence[str]) -> None:
    number = {split: str(n) for n, split in enumerate(SPLITS)}
    kept = {
        "splits": "".join([number[splits.by_id[sample_id]] for sample_id in ids]),
        "folds": [splits.folds.get(sample_id) for sample_id in ids] if splits.folds else [],
    }
    text = json.dumps(kept, separators=(",", ":"))
    try:
        write_text(path, f"{sha256_of(text.encode('ascii'))}\n{text}")
    except MedpipeError as error:
        logger.debug("The split can't be remembered: %s", error)
