"""``medpipe verify``: an export on the machine that receives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import medpipe
from medpipe.system.text import counted

if TYPE_CHECKING:
    from medpipe import VerifiedExport


def verify(
    export: Path,
    /,
    *,
    json_: bool = False,
) -> None:
    """Verify that an export gives what its run gives, without the run and its data.

    Ends with exit code 2 if it does not, or if a file was changed or is of another run.

    Args:
        export: The folder of the export.
        json_: Print JSON.
    """
    found = medpipe.verify_export(export)
    print(json.dumps(found.to_dict()) if json_ else said_of(found))


def said_of(found: VerifiedExport) -> str:
    """What was verified, in a sentence."""
    shapes = ", ".join(" x ".join(str(side) for side in shape) for shape in found.shapes)
    sizes = " and ".join(str(size) for size in found.batch_sizes)
    gaps = ", ".join(f"{name} {gap:.1e}" for name, gap in found.difference.items())
    return (
        f"{found.format}: the answers of run {found.run[:8]} on {counted(found.samples, 'sample')} "
        f"of {shapes}, in batches of {sizes}; largest difference: {gaps}"
    )
