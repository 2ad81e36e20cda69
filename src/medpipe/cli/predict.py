"""``medpipe predict``: a run's network on new files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medpipe import Run
from medpipe.claims import refuse_existing
from medpipe.errors import RunError


def predict(
    run: Path,
    /,
    *paths: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    network: Literal["best", "last"] = "best",
    device: str = "auto",
    batch_size: int | None = None,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Predict new files with the network of a run; the answers are a CSV table.

    Args:
        run: The run directory.
        paths: Files, or folders that are searched at any depth: images and NIfTI files by name,
            DICOM files by content.
        output: A new CSV file; by default the table is printed.
        network: The best by the monitored metric, or the last.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: Images in a batch; by default the run's.
        skip_unreadable: Leave out files that can't be read or are not finite, rather than refuse.
    """
    if not paths:
        raise RunError("Name the files or folders to predict.")
    for path in paths:
        if not Path(path).exists():
            raise RunError(f"There is no file or folder {path}.")
    if output is not None:
        refuse_existing(output, kind="file")
    found = Run.load(run).predict(
        paths,
        which=network,
        device=device,
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
    )
    if output is None:
        print(found.to_csv(), end="")
        return
    found.write(output)
    print(f"The predictions for {len(found)} images are in {output}")
