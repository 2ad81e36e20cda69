"""``medpipe plan``: look at data and write a configuration."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from medpipe.errors import RunError
from medpipe.planning.plan import plan as make_plan
from medpipe.system.output_folders import refuse_existing

_UNITS = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0}


def plan(
    data: Path, /, *, out: Path | None = None, time: str = "30m", label: str | None = None
) -> None:
    """Look at images and write the configuration that an expert would begin with.

    Each choice stands there with its reason. Every image is read once. What a person should look
    at is printed.

    Args:
        data: A folder with a folder of images for each class, or with images and masks (also of
            the decathlon, nnU-Net or BIDS), or a CSV or TSV table that names images, or a folder
            with one.
        out: The file to write; without it the configuration is printed.
        time: How long training may take on this machine: 30m, 2h.
        label: The column of a table to learn, if several may be the label.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", time)
    if found is None or not float(found[1]):
        raise RunError(f"--time must be a number with s, m, h or d, such as 30m, got {time!r}.")
    if out is not None:
        refuse_existing(out, kind="file", parameter="out")
    made = make_plan(data, minutes=float(found[1]) * _UNITS[found[2]], label=label)
    for question in made.questions:
        print(f"Look at this: {question}", file=sys.stderr)
    if out is None:
        print(made, end="")
        return
    made.save(out)
    print(f"{out} is written. Next: medpipe check {out}; medpipe run {out}")
