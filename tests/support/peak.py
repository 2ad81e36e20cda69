"""Predict with a run, or with a folder of runs, in a process of its own, and say what it took."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def peak(runs: Path, images: Path) -> int:
    """The most bytes that a process held that predicts the images; needs Linux."""
    paths = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", "support.peak", str(runs), str(images)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def most_bytes() -> int:
    """The most that this process held.

    As ``ru_maxrss`` says it, a process begins with what the one held that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    from medpipe.cli.opened import run_or_set
    from support.blobs import REGISTRY

    run_or_set(Path(sys.argv[1])).predict(sys.argv[2], device="cpu", registry=REGISTRY)
    sys.stdout.write(str(most_bytes()))
