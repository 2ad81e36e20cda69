"""Splits that were made before, for data sets so large that dividing them takes a moment."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import attrs

from medpipe.data.splits import Split, make_split
from medpipe.errors import MedpipeError
from medpipe.files import cache_directory, sha256_of, write_text
from medpipe.steps import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medpipe.data.scan import Scan
    from medpipe.settings import SplitSettings
    from medpipe.steps import Sample, Task

logger = logging.getLogger("medpipe")

FORMAT = 1
"""To be raised with every change of how samples are divided."""
WORTH = 2000
"""From how many samples on a split is remembered: fewer are divided in less time."""


def remembered_split(
    samples: Sequence[Sample], scan: Scan, settings: SplitSettings, task: Task
) -> Split:
    """As `make_split`, which is a function of its arguments and of nothing else.

    Raises:
        DataError: As `make_split`.
    """
    if len(samples) < WORTH:
        return make_split(samples, scan, settings, task)
    ordered = sorted(samples, key=lambda sample: sample.id)
    path = _path(ordered, scan, settings, task)
    found = _load(path, ordered)
    if found is None:
        found = make_split(samples, scan, settings, task)
        _save(path, found, ordered)
    return found


def _path(ordered: Sequence[Sample], scan: Scan, settings: SplitSettings, task: Task) -> Path:
    prints = scan.fingerprints
    words = [FORMAT, attrs.asdict(settings), attrs.asdict(task)]
    lines = [
        f"{sample.id}\0{sample.label}\0{sample.group}\0{sample.split}\0{prints[sample.id].pixels}"
        for sample in ordered
    ]
    text = "\n".join([json.dumps(words, default=str), *lines])
    key = sha256_of(text.encode("utf-8", "surrogatepass"))
    return cache_directory() / "splits" / f"{key[:32]}.json"


def _load(path: Path, ordered: Sequence[Sample]) -> Split | None:
    """The split; None where there is none, or it is not what was written."""
    try:
        written, _, text = path.read_text("ascii").partition("\n")
        if written != sha256_of(text.encode("ascii")):
            return None
    except (OSError, ValueError):
        return None
    kept = json.loads(text)
    parts = {s.id: PARTS[int(digit)] for s, digit in zip(ordered, kept["parts"], strict=True)}
    folds = {s.id: f for s, f in zip(ordered, kept["folds"], strict=False) if f is not None}
    return Split(parts=parts, folds=folds)


def _save(path: Path, split: Split, ordered: Sequence[Sample]) -> None:
    kept = {
        "parts": "".join(str(PARTS.index(split.parts[sample.id])) for sample in ordered),
        "folds": [split.folds.get(sample.id) for sample in ordered] if split.folds else [],
    }
    text = json.dumps(kept, separators=(",", ":"))
    try:
        write_text(path, f"{sha256_of(text.encode('ascii'))}\n{text}")
    except MedpipeError as error:
        logger.debug("The split can't be remembered: %s", error)
