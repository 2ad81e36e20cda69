"""Change the code at random places, one at a time, and count for how many of them a test fails.

Example::

    python -m tests.mutants --seed 0 --sample 200

A place is what one of cosmic-ray's operators can change (a number, a comparison, a condition, a
loop, a decorator, what is caught), or a statement that is taken out; one change is drawn for each.
`rooms.py` lists the files and the tests that are tried. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import chdir, suppress
from pathlib import Path
from random import Random

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))

try:
    from cosmic_ray.work_item import MutationSpec
except ModuleNotFoundError as error:
    sys.exit(f"{error}: pip install -e '.[test,mutants]'")

from mutants.figures import survivors, table
from mutants.places import drawn, places
from mutants.rooms import ROOMS, ROOT
from mutants.trying import Copy, Tried


def main() -> None:
    """Parse the arguments, try, print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sample", type=int, help="how many places; without it all, in hours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--room", choices=ROOMS, action="append", help="all, if none is named")
    parser.add_argument("--report", type=Path, help="a JSON file for all that was tried")
    parser.add_argument("--again", type=Path, help="a report whose survivors are tried, no others")
    given = parser.parse_args()
    rooms = {name: places(ROOMS[name]) for name in given.room or ROOMS}
    every = [place for found in rooms.values() for place in found]
    if given.again is None:
        changes = drawn(every, given.sample, Random(given.seed))
    else:
        changes = survivors_of(given.again, [change for place in every for change in place])
    tried: list[Tried] = []
    try:  # what was drawn is in random order: if it is stopped, a part of it is a sample too
        with (
            suppress(KeyboardInterrupt),
            tempfile.TemporaryDirectory(prefix="mutants-") as folder,
            chdir(folder),
        ):
            _try(Copy.make(Path(folder).resolve()), changes, tried)
    finally:
        if given.report is not None:
            text = json.dumps([attrs.asdict(one) for one in tried], indent=1, ensure_ascii=False)
            given.report.write_text(f"{text}\n", encoding="utf-8")
    print(table({name: len(found) for name, found in rooms.items()}, tried))
    print(f"\n{survivors(tried) or 'no survivors'}")


def survivors_of(report: Path, every: list[MutationSpec]) -> list[MutationSpec]:
    """The changes that a report says survived; the files must be those that it was made of."""
    told = json.loads(report.read_text("utf-8"))
    left = {(o["file"], o["kind"], o["occurrence"]) for o in told if o["ending"] == "survived"}
    return [
        change
        for change in every
        if (str(change.module_path.relative_to(ROOT)), change.operator_name, change.occurrence)
        in left
    ]


def _try(copy: Copy, changes: list[MutationSpec], tried: list[Tried]) -> None:
    started = time.monotonic()
    copy.measure(changes)
    print(f"all pass without a change, {time.monotonic() - started:,.0f} s", file=sys.stderr)
    for number, change in enumerate(changes, 1):
        one = copy.try_it(change)
        tried.append(one)
        seconds = f"{time.monotonic() - started:,.0f} s"
        said = f"{number} of {len(changes)}, {seconds}: {one.file}:{one.line} {one.kind}"
        print(f"{said} {one.ending}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
