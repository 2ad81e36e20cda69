"""Take one check out of the code at a time, and see a test fail for each.

Example::

    python -m tests.faults.mutations --processes 2

`mutations.toml` beside this file lists them. Each is tried on a copy of the sources.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Mutation:
    """A change for the worse.

    Attributes:
        file: Which file is changed, from the root of the repository.
        old: What stands there; the first place counts.
        new: What takes its place.
        test: The test that fails then.
    """

    file: str
    old: str
    new: str
    test: str

    @property
    def fits(self) -> bool:
        """Whether the file still holds what is to be changed."""
        return self.old in (ROOT / self.file).read_text("utf-8")

    def is_noticed(self) -> str:
        """Try it; gives why it is not noticed, or nothing."""
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            copy = Path(folder)
            shutil.copytree(ROOT / "src", copy / "src")
            path = copy / self.file
            text = path.read_text("utf-8")
            path.write_text(text.replace(self.old, self.new, 1), "utf-8")
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "--numprocesses=0", self.test],
                capture_output=True,
                text=True,
                check=False,
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(copy / "src"),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "OMP_NUM_THREADS": "1",
                },
            )
        # 1: tests failed; all else is no answer, such as 4: there is no such test.
        return "" if done.returncode == 1 else f"pytest ended with {done.returncode}"


def mutations() -> list[Mutation]:
    """All that are listed."""
    listed = tomllib.loads((Path(__file__).with_suffix(".toml")).read_text("utf-8"))
    return [Mutation(**each) for each in listed["mutation"]]


def main() -> None:
    """Try them and print a report."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description=__doc__)
    parser.add_argument("--sample", type=int, help="try so many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", help="try those whose file has this in its name")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    tried = [each for each in mutations() if given.file is None or given.file in each.file]
    if given.sample is not None:
        tried = random.Random(given.seed).sample(tried, given.sample)
    unnoticed: list[Any] = []
    with ThreadPoolExecutor(given.processes) as threads:
        for each, why in zip(tried, threads.map(Mutation.is_noticed, tried), strict=True):
            if why:
                unnoticed.append({**attrs.asdict(each), "why": why})
                print(f"{each.file}: {each.old.strip()!r} {why}", file=sys.stderr, flush=True)
    report = {"tried": len(tried), "noticed": len(tried) - len(unnoticed), "unnoticed": unnoticed}
    print(json.dumps(report, indent=2))
    sys.exit(bool(unnoticed))


if __name__ == "__main__":
    main()
