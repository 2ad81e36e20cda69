"""``medpipe check``: everything that can be tried before any long work."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from medpipe.cli.source import builder_of


def check(
    configuration: str = "mednist",
    /,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> None:
    """Check a pipeline against its data and this machine, without training.

    Args:
        configuration: A file that ends in .toml, or the name of a recipe.
        set_: PATH=VALUE, as often as needed.
    """
    pipeline = builder_of(configuration, set_ or []).build()
    print(pipeline.describe())
    print()
    report = pipeline.check()
    print(report)
    if not report.ok:
        sys.exit(2)
