"""``medpipe check``: check a pipeline before training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medpipe.cli.source import QUARANTINED, builder_of
from medpipe.errors import RunError
from medpipe.system.files import write_json


def check(
    configuration: str = "mednist",
    /,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    unset: Annotated[list[str] | None, Parameter(negative="")] = None,
    data: Annotated[bool, Parameter(negative="")] = False,
    json: Path | None = None,
    deep: Annotated[bool, Parameter(negative="")] = False,
    describe: Annotated[bool, Parameter(negative="")] = False,
    quarantine: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check a pipeline against its data and this machine, before training.

    Ends with exit code 0 where it can run, and 2 where it can't; with --data 0 where no faults
    were found, and 2 where there are some.

    Args:
        configuration: A file that ends in .toml, or the name of a recipe.
        set_: PATH=VALUE, as often as needed: --set trainer.max_epochs=5.
        unset: PATH, as often as needed: its default takes the place of its value.
        data: Read every file once and list all that is wrong with the data.
        json: With --data, also write the report to this file.
        deep: Also train on eight samples until the loss falls, half a minute at most.
        describe: Also show every step with its parameters and its plugin.
        quarantine: Leave faulty samples out: short for --set run.bad_data=quarantine.
    """
    settings = [*(set_ or []), *([QUARANTINED] if quarantine else [])]
    pipeline = builder_of(configuration, settings, unset).build()
    if json is not None and not data:
        raise RunError("--json needs --data. Give both.")
    if data:
        found = pipeline.check_data()
        if json is not None:
            write_json(json, found.to_dict())
        print(found)
        if not found.ok:
            sys.exit(2)
        return
    if describe:
        print(pipeline.describe())
        print()
    report = pipeline.check(deep=deep)
    print(report)
    if not report.ok:
        sys.exit(2)
