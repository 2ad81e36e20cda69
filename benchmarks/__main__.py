"""Run the plain MONAI script and medpipe in turn, and print a table of ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.files import folder_of_classes

Figures = dict[str, float]


def side(name: str, row: str, cache: Path, *options: object) -> Figures:
    """One side's figures for one row, and the most memory that its processes held together."""
    environment = {**os.environ, "MEDPIPE_CACHE": str(cache)}
    command = [sys.executable, "-m", f"benchmarks.{name}", row, *map(str, options)]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        most = [0]
        watch = threading.Thread(target=_watch, args=(process, most))
        watch.start()
        output = process.communicate()[0]
        watch.join()
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read()[-2000:]}")
    figures: Figures = json.loads(output.strip().splitlines()[-1])
    return {**figures, "wall": time.perf_counter() - started, "memory": most[0] / 1e9}


def _watch(process: subprocess.Popen[str], most: list[int]) -> None:
    while process.poll() is None:
        most[0] = max(most[0], _resident(process.pid))
        time.sleep(0.1)


def _resident(pid: int) -> int:
    """The bytes that a process and its children hold; shared pages are divided among them."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _resident(int(child))
    except (OSError, ValueError):  # it has ended
        pass
    return total


def line(
    name: str,
    pairs: list[tuple[Figures, Figures]],
    figure: str,
    other: str | None = None,
    *,
    more_is_better: bool = False,
) -> str:
    """A row of the table: how many times better medpipe was, pair by pair."""
    script = [one[figure] for one, _ in pairs]
    library = [two[other or figure] for _, two in pairs]
    ratios = [b / a if more_is_better else a / b for a, b in zip(script, library, strict=True)]
    return (
        f"| {name} | {statistics.median(script):.3g} | {statistics.median(library):.3g} "
        f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
    )


def show(text: str) -> None:
    """Print a row as soon as it is measured: all of them take long."""
    print(text, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a part of the data: see README.md")
    parser.add_argument("--pairs", type=int, help="pairs of each row (3; quick: 1)")
    parser.add_argument("--workers", type=int, default=0, help="of both sides' loaders")
    parser.add_argument("--rows", default="first,batches,float32,bfloat16,accuracy")
    chosen = parser.parse_args()
    count = chosen.pairs or (1 if chosen.quick else 3)
    rows = chosen.rows.split(",")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data, about = folder_of_classes(scratch / "files", 100 if chosen.quick else None)
        print(
            f"{about}; {platform.machine()}, {os.cpu_count()} processors, {count} pairs;", end=" "
        )
        print(", ".join(f"{name} {version(name)}" for name in ("torch", "monai")) + "\n")
        print("| figure | script | medpipe | times better | spread |\n|---|---|---|---|---|")
        size = 64 if chosen.quick else 512
        warm = scratch / "warm"
        base = ("--data", data, "--workers", chosen.workers, "--batch-size", size)

        def pairs(row: str, *options: object) -> list[tuple[Figures, Figures]]:
            given = (*base, *options)
            return [
                (side("script", row, warm, *given), side("library", row, warm, *given))
                for _ in range(count)
            ]

        if "first" in rows:
            cold = [
                (
                    side("script", "first_batch", warm, *base),
                    side("library", "first_batch", scratch / f"cold{index}", *base),
                )
                for index in range(count)
            ]
            show(line("files to first batch, nothing cached, s", cold, "seconds"))
            side("library", "first_batch", warm, *base)
            cached = [(script, side("library", "first_batch", warm, *base)) for script, _ in cold]
            show(line("the same, cached, s", cached, "seconds"))
        if "batches" in rows:
            found = pairs("batches", "--seconds", 3 if chosen.quick else 10)
            name = f"batches of {size} a second, no training"
            show(line(name, found, "batches_per_second", more_is_better=True))
        iterations = 3 if chosen.quick else 6
        whole: list[tuple[Figures, Figures]] = []
        for precision in ("float32", "bfloat16"):
            if precision not in rows:
                continue
            found = pairs("train", "--iterations", iterations, "--precision", precision)
            whole = whole or found
            name = f"training images/s, {precision} (script: float32)"
            show(line(name, found, "images_per_second", more_is_better=True))
            show(line(f"most memory in that row at batch {size}, GB", found, "memory"))
        if "accuracy" in rows and whole:
            extra = ("--iterations", 10) if chosen.quick else ()
            runs = [
                (script, side("library", "accuracy", scratch / f"run{index}", *base, *extra))
                for index, (script, _) in enumerate(whole)
            ]
            reached = statistics.median(run["accuracy"] for _, run in runs)
            name = f"files to a tested network ({reached:.2%}), s"
            show(line(name, runs, "whole_seconds", "wall"))
    print("\nThe script's time to its end is extrapolated: cache, and iterations of 3 epochs.")


if __name__ == "__main__":
    main()
