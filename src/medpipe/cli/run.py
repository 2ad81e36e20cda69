"""``medpipe run``: train and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medpipe.cli.source import builder_of


def run(
    configuration: str = "mednist",
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> None:
    """Check, train and evaluate a pipeline, and write a run directory.

    Args:
        configuration: A file that ends in .toml, or the name of a recipe.
        output: The run directory; by default runs/DATASET-TIME.
        set_: PATH=VALUE, as often as needed: --set trainer.max_epochs=5.
    """
    done = builder_of(configuration, set_ or []).build().run(output)
    for part, metrics in done.metrics.items():
        print(f"{part} on {metrics['images']} images:")
        intervals = metrics.get("intervals", {})
        for name, value in metrics.items():
            if isinstance(value, float):
                low_high = intervals.get(name)
                spread = (
                    f" (95 % interval {low_high[0]:.4f} to {low_high[1]:.4f})" if low_high else ""
                )
                print(f"  {name:20} {value:.4f}{spread}")
    print(f"The run is in {done.path}")
