"""``medpipe check-plugin``: try all steps of a plugin."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from cyclopts import Parameter


def check_plugin(
    distribution: str,
    /,
    *,
    checks: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    json_: bool = False,
) -> None:
    """Try all steps of a plugin; exit code 1 if one fails a check.

    Args:
        distribution: An installed distribution, or a module in the working folder.
        checks: Names of the checks to try; by default all.
        json_: Print JSON.
    """
    from medpipe.testing import check_plugin as check

    report = check(distribution, checks=checks or ())
    print(json.dumps(report.to_dict(), indent=2) if json_ else report)
    if not report.passed:
        sys.exit(1)
