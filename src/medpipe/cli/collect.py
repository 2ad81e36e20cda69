"""``medpipe collect``: several runs taken together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medpipe.evaluation.lines import metric_lines, result_lines
from medpipe.runs.run_set import RunSet
from medpipe.system.text import counted


def collect(
    directory: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    split: Literal["test", "validation"] = "test",
    allow_mixed: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show the runs below a folder: metrics, mean and spread, and those of all together.

    Of runs that held out the same samples, as seeds do, these are the metrics of an ensemble: of
    the mean of their scores. Over folds the predictions are pooled: each is of the fold that held
    the sample out. Where they can't be pooled, as of runs on other samples, the table is shown
    without. Ends with exit code 2 if no run is finished.

    Args:
        directory: The folder of the runs, at any depth.
        output: Where to write collection.json and predictions_pooled.csv.
        split: The split that the runs held out: validation if the data set has its own test split.
        allow_mixed: Also accept runs that differ in more than fold and seed.
    """
    runs = RunSet.load(directory, allow_mixed=allow_mixed)
    found = runs.collection(split) if output is None else runs.write(output, split)
    pooled, ensemble = found["pooled"], found["ensemble"]
    print(runs.table(split))
    if ensemble is not None:
        images = counted(ensemble["images"], "image")
        print(f"The mean of {counted(len(runs.runs), 'run')} (an ensemble), {split} on {images}:")
        print("\n".join(result_lines(ensemble)))
    elif pooled is None:
        print(f"The predictions are not pooled. {found['not_pooled']}", file=sys.stderr)
    else:
        images = counted(pooled["images"], "image")
        print(f"{counted(len(runs.runs), 'run')} pooled, {split} on {images}:")
        print("\n".join(metric_lines(pooled)))
        if len(runs.runs) > 1:
            print(f"There are no metrics of an ensemble. {found['no_ensemble']}")
    if output is not None:
        print(f"The collection is in {output}")
