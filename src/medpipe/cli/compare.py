"""``medpipe compare``: runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medpipe.runs.comparing import compare as compare_runs


def compare(
    *runs: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    report: Path | None = None,
    split: Literal["test", "validation"] = "test",
) -> None:
    """Compare runs that were tested on the same samples, with paired differences.

    Shows the settings that differ, the metrics, and the differences to the first, with 95 %
    intervals. Runs with other test samples are refused.

    Args:
        runs: Run directories, or folders of runs that are pooled (folds, seeds), or folders
            that medpipe evaluate has written; at least two.
        output: Where to write the comparison as JSON.
        report: Where to write the comparison as HTML.
        split: The split that the runs held out: validation if the data set has its own test split.
    """
    found = compare_runs(*runs, split=split)
    print(found)
    if output is not None:
        found.write(output)
        print(f"The comparison is in {output}")
    if report is not None:
        found.report(report)
        print(f"The report is {report}")
