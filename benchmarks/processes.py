"""Several processes against one: ``python -m benchmarks.processes``.

The default network, DenseNet121, on MedNIST (``MEDPIPE_DATA``), without validation: one process
with a thread for each core, and as many processes with a thread each, in turn. Images a second are
of the last epoch, from ``history.csv``.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from medpipe.system.hardware import available_cpus

BATCH = 64
EPOCHS = 2


def rate(output: Path, *, processes: int, threads: int, iterations: int) -> float:
    """Images a second of the last epoch."""
    settings = {
        "trainer.epoch_length": iterations,
        "trainer.max_epochs": EPOCHS,
        "split.validation": 0,
        "split.test": 0,
        "loader.batch_size": BATCH,
        "run.threads": threads,
    }
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["medpipe", "run", "mednist", "--output", str(output)]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    with (output / "history.csv").open(encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    return iterations * BATCH / float(last["seconds"])


def main() -> None:
    """Measure pairs and print each, and their median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--processes", type=int, default=available_cpus())
    given = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(given.pairs):
            one, several = (
                rate(
                    Path(folder, f"{pair}-{count}"),
                    processes=count,
                    threads=given.processes // count,
                    iterations=given.iterations,
                )
                for count in (1, given.processes)
            )
            ratios.append(several / one)
            print(f"one {one:.1f}, {given.processes} processes {several:.1f} images/s", flush=True)
    low, high = min(ratios), max(ratios)
    print(f"ratio {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
