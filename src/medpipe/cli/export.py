"""``medpipe export``: a run's network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medpipe import Run
from medpipe.cli.verify import said_of


def export(
    run: Path,
    /,
    *,
    format: Annotated[str, Parameter(name="--format")],  # noqa: A002
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    network: Literal["best", "last"] = "best",
) -> None:
    """Write the network of a run for other programs: ONNX, torch.export, MONAI bundle.

    A fresh process loads what was written and must find the run's answers for 16 real samples in
    it, which travel with it.

    Args:
        run: The run directory.
        format: onnx, torch-export, safetensors, bundle or a plugin's.
        output: A new folder; by default RUN-FORMAT beside the run directory.
        network: The network that is best by the monitored metric, or the last.
    """
    loaded = Run.load(run)
    into = run.with_name(f"{run.resolve().name}-{format}") if output is None else output
    found = loaded.export(into, format=format, which=network)
    print(said_of(found))
    print(f"The export is in {into}")
