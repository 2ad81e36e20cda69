"""Train on each set with the defaults and with its tuned configuration, and print a table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks.first_projects.measuring import SUFFIXES, Measured, measured
from benchmarks.first_projects.sets import SETS
from benchmarks.machine import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

BEHIND = 0.03
"""How far the defaults may lie behind."""
FEWEST_STEPS = 100
HEADER = """\
| set | trained on | what | metric | defaults (95 % interval) | tuned | behind | steps | minutes |
|---|---|---|---|---|---|---|---|---|"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; give how many sets failed or fall short."""
    given = _parser().parse_args(arguments)
    names = given.sets or [some.name for some in SETS]
    where = tempfile.TemporaryDirectory(prefix="first-projects-")
    with nullcontext(given.scratch) if given.scratch else where as folder:
        scratch = Path(folder).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        print(f"{sentence()}\n\n{HEADER}", flush=True)
        found: list[Measured] = []
        short = 0
        for some in SETS:
            if some.name not in names:
                continue
            try:
                pair = [measured(some, side, scratch, given.seed) for side in SUFFIXES]
            except (RuntimeError, OSError) as error:
                print(f"| {some.name}: failed |", flush=True)
                print(error, file=sys.stderr)
                short += 1
                continue
            found += pair
            short += _is_short(*pair)
            print(_line(some.about, *pair), flush=True)
            if given.json is not None:
                text = json.dumps([attrs.asdict(one) for one in found], indent=1)
                given.json.write_text(text + "\n", "utf-8")
    return short


def _is_short(default: Measured, tuned: Measured) -> bool:
    return tuned.value - default.value > BEHIND or default.steps < FEWEST_STEPS


def _line(about: str, default: Measured, tuned: Measured) -> str:
    low, high = default.interval or (float("nan"),) * 2
    cells = [
        default.name,
        f"{default.training:,}",
        about,
        default.metric,
        f"{default.value:.3f} ({low:.3f} to {high:.3f})",
        f"{tuned.value:.3f}",
        f"{tuned.value - default.value:+.3f}" + " (short)" * _is_short(default, tuned),
        f"{default.steps:,}; {tuned.steps:,}",
        f"{default.seconds / 60:.1f}; {tuned.seconds / 60:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_projects", description=__doc__
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help="names of sets; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of both sides' runs")
    parser.add_argument(
        "--scratch", type=Path, help="where images and runs are kept; runs that are there are taken"
    )
    parser.add_argument("--json", type=Path, help="a file for all figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
