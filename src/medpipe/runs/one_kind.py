"""Which runs are below a folder, and whether they are of one kind."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpipe.config import changed_lines, read_text
from medpipe.errors import RunError
from medpipe.runs.record import CONFIGURATION, RECORD
from medpipe.system import file_errors
from medpipe.system.options import option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medpipe.runs.run import Run

MAY_DIFFER = ("run.", "weights.", "loader.workers", "split.fold:", "split.file:")
"""What may differ between the runs of a set: seeds and folds, and where they ran."""
NAMED = 3


def run_directories(folder: Path) -> Iterator[Path]:
    """The run directories, in natural order; what is inside one is not looked at.

    Raises:
        RunError: A folder can't be read.
    """
    if stat.S_ISREG(file_errors.mode_of(folder / RECORD)):
        yield folder
        return
    try:
        inner = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise RunError(f"{folder} can't be read: {file_errors.reason(error)}.") from error
    for directory in sorted(inner, key=lambda path: _natural(path.name)):
        if not directory.name.startswith("."):
            yield from run_directories(directory)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    pieces = re.split(r"([0-9]+)", name)
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p) for p in pieces]


def split_of(run: Run) -> Mapping[str, Any]:
    """How a run divided its samples; runs of medpipe 0.1 had no folds."""
    split: Mapping[str, Any] | None = run.record.get("split")
    if split is not None:
        return split
    return {"seed": run.record["seeds"]["split"], "folds": None, "fold": None}


def refuse_mixed(folder: Path, runs: Sequence[Run]) -> None:
    """See that runs differ in nothing but fold and seed.

    Raises:
        RunError: Two differ in more; it names them and says in what.
    """
    first: dict[Any, Run] = {}
    for run in runs:
        lines = _differences(runs[0], run)
        # Runs with the same fold must have the same split; other folds have other digests.
        other = first.setdefault(split_of(run)["fold"], run)
        if not lines and split_of(other).get("digest") != split_of(run).get("digest"):
            lines = [f"the samples are in other splits than in {other.path}"]
        if lines:
            more = f" and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
            raise RunError(
                f"The runs in {folder} are not of one kind. {run.path} differs from "
                f"{runs[0].path}: {'; '.join(lines[:NAMED])}{more}. Keep each kind in a folder of "
                f"its own, or combine them nevertheless with {option('allow_mixed', True)}."
            )


def _differences(one: Run, other: Run) -> list[str]:
    lines = []
    if one.record["data"]["digest"] != other.record["data"]["digest"]:
        lines.append("the data differ (by their digests)")
    if one.data.task != other.data.task:
        lines.append("the tasks differ")
    for key in ("seed", "folds"):
        before, now = split_of(one)[key], split_of(other)[key]
        if before != now:
            lines.append(f"split.{key}: {before}, now {now}")
    changed = changed_settings(one, other)
    return [*lines, *(c for c in changed if not c.startswith(MAY_DIFFER) and c not in lines)]


def changed_settings(one: Run, other: Run) -> list[str]:
    """What differs between two configurations, a line each; nothing where one is not known."""
    texts = [run.path / CONFIGURATION for run in (one, other)]
    if not all(path.is_file() for path in texts):
        return []
    return changed_lines(read_text(texts[0]), read_text(texts[1]))
