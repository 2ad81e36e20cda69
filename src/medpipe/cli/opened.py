"""Open what a command is given: a run, or a folder of runs."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from medpipe import Run, RunSet
from medpipe.runs.one_kind import run_directories
from medpipe.runs.record import RECORD
from medpipe.system.file_errors import mode_of

if TYPE_CHECKING:
    from pathlib import Path


def run_or_set(folder: Path, *, allow_mixed: bool = False) -> Run | RunSet:
    """Open a run directory, or a folder of runs.

    Args:
        folder: Either.
        allow_mixed: See `RunSet.load`.

    Raises:
        RunError: It is neither, or can't be read.
    """
    several = not mode_of(folder / RECORD) and stat.S_ISDIR(mode_of(folder))
    if several and any(run_directories(folder)):
        return RunSet.load(folder, allow_mixed=allow_mixed)
    return Run.load(folder)
