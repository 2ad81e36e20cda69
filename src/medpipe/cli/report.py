"""``medpipe report``: the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medpipe import Run


def report(
    run: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    images: bool = True,
    paths: bool = True,
) -> None:
    """Write the report of a run: one HTML file that needs no network, and its model card.

    Runs write it at their end; this writes it again, or in a form that can be passed on.

    Args:
        run: The run directory.
        output: The file; by default report.html in the run directory. The model card is written to
            the same folder.
        images: Show images of the data set; --no-images leaves out all of them.
        paths: Name files, samples and groups (patients); --no-paths leaves out all names.
    """
    done = Run.load(run).report(output, images=images, paths=paths)
    print(f"The report is {done}")
