"""Run both sides and print a table: ``python -m benchmarks.segmentation``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
    """Measure the script for some epochs, and medpipe for some, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=int, nargs="*", default=[20], help="the script's epochs")
    parser.add_argument("--medpipe", type=int, nargs="*", default=[10, 40], help="medpipe's epochs")
    parser.add_argument("--scratch", type=Path, help="where to put runs; a temporary folder")
    given = parser.parse_args()
    root = Path(os.environ.get("MEDPIPE_DATA", ".")).expanduser() / "Task04_Hippocampus"
    with tempfile.TemporaryDirectory() as temporary:
        scratch = given.scratch or Path(temporary)
        print("side, epochs: Dice of both structures; processor seconds", flush=True)
        for epochs in given.script:
            report("script", epochs, side("script", root, epochs, cache=scratch / "cache"))
        for epochs in given.medpipe:
            found = side("library", root, epochs, scratch, cache=scratch / f"cache-{epochs}")
            report("medpipe", epochs, found)


def report(name: str, epochs: int, found: dict[str, Any]) -> None:
    """Print a line."""
    dice = ", ".join(f"{value:.3f}" for value in found["dice"])
    print(f"{name}, {epochs}: {dice}; {found['total']:.0f} {found.get('timings', '')}", flush=True)


if __name__ == "__main__":
    main()
