"""``medpipe report``: the report of a run, or of several."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medpipe import Run, RunSet
from medpipe.runs.record import RECORD
from medpipe.system.file_errors import mode_of


def report(
    run: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    images: bool = True,
    paths: bool = True,
) -> None:
    """Write the report of a run, or of a folder of runs, and the model card of a run.

    The report is one HTML file that needs no network.

    Runs write it at their end; this writes it again, or in a form that can be passed on.

    Args:
        run: The run directory, or a folder of runs that differ in fold or seed alone.
        output: The file; by default report.html in that folder. The model card of a run is written
            to the same folder.
        images: Show images of the data set; --no-images leaves out all of them.
        paths: Name files, samples and groups (patients); --no-paths leaves out all names.
    """
    # Half of the time goes to imports, whose objects stay: to look for garbage among them again and
    # again takes another tenth.
    gc.set_threshold(100_000)
    found = Run.load(run) if mode_of(run / RECORD) else RunSet.load(run)
    done = found.report(output, images=images, paths=paths)
    print(f"The report is {done}")
