"""Run both sides and print a table: ``python -m benchmarks.segmentation``."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.segmentation.organs import write

REPOSITORY = Path(__file__).parents[2]


def side(module: str, *arguments: object, cache: Path) -> dict[str, Any]:
    """The figures of a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    environment = {
        "OMP_NUM_THREADS": "1",
        "MEDPIPE_REPORT": "0",
        **os.environ,
        "PYTHONPATH": paths,
        "MEDPIPE_CACHE": str(cache),
    }
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.segmentation.{module}", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure the script for some epochs, and medpipe for some, in turn, for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=int, nargs="*", default=[20], help="the script's epochs")
    parser.add_argument("--medpipe", type=int, nargs="*", default=[8, 36], help="medpipe's epochs")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--scratch", type=Path, help="where to put runs; a temporary folder")
    parser.add_argument("--organs", action="store_true", help="drawn organs, in place of Task04")
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = given.scratch or Path(temporary)
        name = "organs" if given.organs else "hippocampus"
        root = Path(os.environ.get("MEDPIPE_DATA", ".")).expanduser() / "Task04_Hippocampus"
        if given.organs:
            root = scratch / "organs"
            if not root.is_dir():
                write(root)
        for seed in range(given.seeds):
            for epochs in given.script:
                one = side("script", name, root, epochs, seed, cache=scratch / "cache")
                found.setdefault(f"script, {epochs}", []).append(one)
                report(f"script, {epochs}, seed {seed}", one)
            for epochs in given.medpipe:
                cache = scratch / f"cache-{epochs}-{seed}"
                one = side("library", name, root, epochs, seed, scratch, cache=cache)
                found.setdefault(f"medpipe, {epochs}", []).append(one)
                report(f"medpipe, {epochs}, seed {seed}", one)
    print("medians:")
    for name, some in found.items():
        dice = statistics.median(statistics.mean(one["dice"]) for one in some)
        print(f"{name}: Dice {dice:.4f}; {statistics.median(one['total'] for one in some):.0f} s")


def report(name: str, found: dict[str, Any]) -> None:
    """Print the epochs, the Dice of each structure and their mean, and the processor seconds."""
    dice = ", ".join(f"{value:.3f}" for value in found["dice"])
    mean = statistics.mean(found["dice"])
    print(f"{name}: {dice}, mean {mean:.4f}; {found['total']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
