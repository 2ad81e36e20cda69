"""``medpipe predict``: the network of a run, or of several, on new files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medpipe import FilePredictions
from medpipe.cli.opened import run_or_set
from medpipe.errors import RunError
from medpipe.system.file_errors import looked_in, mode_of
from medpipe.system.output_folders import refuse_existing
from medpipe.system.place import place
from medpipe.system.text import counted

_MOST_SHOWN = 10


def predict(
    run: Path,
    /,
    *paths: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    network: Literal["best", "last"] = "best",
    device: str = "auto",
    batch_size: int | None = None,
    masks: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    dicom_ids: Annotated[bool, Parameter(negative="")] = False,
    allow_mixed: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Predict new files with the network of a run, or the mean over several, as a table.

    A file that can't be predicted has a row that says why; the exit code is then 1.

    Args:
        run: The run directory, or a folder of runs (folds or seeds).
        paths: Files, or folders that are searched at any depth: images and NIfTI files by name,
            DICOM files by content.
        output: A new CSV file; by default the table is printed.
        network: The network that is best by the monitored metric, or the last.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: Images in a batch; by default the run's.
        masks: A new folder for the masks of a segmentation, on the grids of the files: NIfTI, PNG
            or DICOM segmentations.
        resume: Go on with a prediction into the same output that was killed or stopped.
        dicom_ids: Add the identifiers of DICOM files: PatientID, StudyInstanceUID,
            SeriesInstanceUID and SOPInstanceUID. The table then names patients.
        allow_mixed: Of a folder of runs: also accept runs that differ in more than fold and seed,
            as long as their networks get and answer the same.
    """
    if not paths:
        raise RunError("Name the files or folders to predict.")
    _require(paths)
    if output is not None and not resume:
        refuse_existing(output, kind="file")
    found = run_or_set(run, allow_mixed=allow_mixed).predict(
        paths,
        which=network,
        device=device,
        batch_size=batch_size,
        masks=masks,
        output=output,
        resume=resume,
        dicom_ids=dicom_ids,
    )
    if place().leads:
        _tell(found, output, masks)
    if found.errors:
        sys.exit(1)


def _tell(found: FilePredictions, output: Path | None, masks: Path | None) -> None:
    if masks is not None:
        print(f"The masks of {counted(len(found), 'image')} are in {masks}", file=sys.stderr)
    if output is None:
        print(found.to_csv(), end="")
        return
    said = f"The predictions for {counted(len(found), 'image')} are in {output}"
    if found.errors:
        said += f", and {counted(len(found.errors), 'row')} of images that can't be predicted"
    print(said)


def _require(paths: Sequence[str]) -> None:
    """Check that all paths exist; other faults of the files are reported together later."""
    wrong = []
    for path in paths:
        if os.path.lexists(path):
            continue
        try:
            mode_of(Path(path))
        except RunError as error:
            wrong.append(str(error))
        else:
            wrong.append(f"There is no file or folder {path}{looked_in(path)}.")
    if wrong:
        more = [f"and {len(wrong) - _MOST_SHOWN:,} more"] if len(wrong) > _MOST_SHOWN else []
        raise RunError("\n".join([*wrong[:_MOST_SHOWN], *more]))
