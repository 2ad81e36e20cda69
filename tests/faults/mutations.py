"""Take one check out of the code at a time, and see a test fail for each.

Example::

    python -m tests.faults.mutations --processes 2

`mutations.toml` beside this file lists them. Each is tried on a copy of the sources, in a fork of
this process, which has imported what is heavy. Needs Linux; a few minutes for each hundred.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from faults import server

HEAVY = (
    "monai.engines",
    "monai.networks.nets",
    "monai.transforms",
    "nibabel",
    "pydicom",
    "hypothesis",
    "pytest",
    "safetensors.torch",
    "scipy.stats",
    "sklearn.metrics",
    "xdist",
)


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

    def try_it(self) -> int:
        """Run the test on a changed copy of the sources; gives pytest's exit code."""
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            return self._try_in(Path(folder))

    def _try_in(self, copy: Path) -> int:
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / self.file
        path.write_text(path.read_text("utf-8").replace(self.old, self.new, 1), "utf-8")
        os.environ["PYTHONPATH"] = str(copy / "src")
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        os.chdir(ROOT)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        own = ROOT / "src"
        sys.path[:] = [str(copy / "src"), *(p for p in sys.path if Path(p).resolve() != own)]
        import pytest

        options = ["-x", "-q", "--numprocesses=0", "-p", "no:cacheprovider"]
        return int(pytest.main([*options, self.test]))


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
    parser.add_argument("--unchanged", action="store_true", help="see that without them all pass")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    those = [each for each in mutations() if given.file is None or given.file in each.file]
    if given.sample is not None:
        those = random.Random(given.seed).sample(those, given.sample)
    if given.unchanged:
        alone = {each.test: attrs.evolve(each, new=each.old) for each in those}
        those = list(alone.values())
    wanted = 0 if given.unchanged else 1  # pytest's: all passed, some failed
    for name in HEAVY:
        importlib.import_module(name)
    assert "medpipe" not in sys.modules, "the changed one is to be imported"
    started, others = time.monotonic(), list[Any]()
    outcomes = server.at_once([each.try_it for each in those], given.processes)
    for done, (number, code) in enumerate(outcomes, 1):
        if code != wanted:  # all else is no answer either, such as 4: there is no such test
            each, why = those[number], f"{those[number].test} ended with {code}"
            others.append({**attrs.asdict(each), "why": why})
            print(f"{each.file}: {each.old.strip()!r} {why}", file=sys.stderr, flush=True)
        if done % 50 == 0:
            print(f"{done} of {len(those)}", file=sys.stderr, flush=True)
    report = {
        "tried": len(those),
        "passed" if given.unchanged else "noticed": len(those) - len(others),
        "seconds": round(time.monotonic() - started, 1),
        "others": others,
    }
    print(json.dumps(report, indent=2))
    sys.exit(bool(others))


if __name__ == "__main__":
    main()
