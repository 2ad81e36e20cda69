"""A finished run on drawn images, which checks of handlers and exports are given.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from medpipe.builder import PipelineBuilder
from medpipe.system import files

if TYPE_CHECKING:
    from medpipe.runs.run import Run

_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Its folder, until the process ends."""


@functools.cache
def finished_run() -> Run:
    """A run of two epochs, made once in a process."""
    folder = tempfile.TemporaryDirectory(prefix="medpipe-testing-")
    _KEPT.append(folder)
    logger = logging.getLogger("medpipe")
    before, logger.disabled = logger.disabled, True
    try:
        return (
            PipelineBuilder(device="cpu")
            .dataset("phantom", samples=60, size=16)
            .network("resnet10", widen_factor=0.125, conv1_t_size=3)
            .trainer("supervised", max_epochs=2)
            .loader(batch_size=16, workers=0)
            .build()
            .run(Path(folder.name) / "run")
        )
    finally:
        logger.disabled = before


def copied_run(folder: Path) -> Path:
    """A copy of its run directory in a folder."""
    run = finished_run().path
    for path in sorted(run.rglob("*")):
        if path.is_file():
            files.write_bytes(folder / path.relative_to(run), path.read_bytes())
    return folder
