"""Run the plain MONAI script and medpipe in turn, and print a table of ratios."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import files
from benchmarks.machine import machine, sentence, versions
from benchmarks.measuring import Bench, SideError
from benchmarks.rows import ROWS
from benchmarks.settings import FULL, QUICK, Settings
from benchmarks.table import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rows import Row

NOT_BY_DEFAULT = ("tutorial",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; give how many rows failed."""
    given = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="benchmarks-") as folder:
        settings = Settings(
            sizes=QUICK if given.quick else FULL,
            quick=given.quick,
            pairs=given.pairs or (1 if given.quick else 3),
            workers=given.workers,
            seeds=given.seeds or (1 if given.quick else 5),
            whole_script=given.whole_script,
            scratch=Path(folder),
            rows=tuple(given.rows),
        )
        return measure(settings, given.json)


def measure(settings: Settings, into: Path | None) -> int:
    """Measure the rows, print each line at once, and keep all figures in a file.

    Args:
        settings: What to measure.
        into: A JSON file for every raw figure, written again after each row; None: no file.

    Returns:
        How many rows failed.
    """
    bench = Bench(settings=settings)
    quick = ", quick" if settings.quick else ""
    print(f"{files.source()}{quick}; {settings.pairs} pairs, {settings.workers} workers;", end=" ")
    print(f"{sentence()}\n\n{HEADER}", flush=True)
    record: dict[str, Any] = {
        "command": ["python", "-m", "benchmarks", *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": files.source(),
        "machine": machine(),
        "versions": versions(),
        "quick": settings.quick,
        "pairs": settings.pairs,
        "workers": settings.workers,
        "rows": [],
    }
    failed = 0
    for name in settings.rows:
        row = _measured(name, ROWS[name], bench)
        failed += row["error"] is not None
        record["rows"].append(row)
        record["measured"] = bench.measured
        if into is not None:
            _write(into, record)
    return failed


def _measured(name: str, row: Row, bench: Bench) -> dict[str, Any]:
    """Measure a row; an error is told and kept, and the next row can go on."""
    quick = "about a minute" if bench.settings.quick else row.minutes
    _say(f"{name}: {quick}")
    found: dict[str, Any] = {"row": name, "lines": [], "error": None}
    started = time.perf_counter()
    try:
        for line in row.measure(bench):
            print(line.text(), flush=True)
            found["lines"].append(line.record())
    except Exception as error:  # whatever it is, the other rows can be measured
        found["error"] = f"{type(error).__name__}: {error}"
        _say(str(error) if isinstance(error, SideError) else traceback.format_exc())
        print(f"| {name}: failed, see above | — | — | — | — | — |", flush=True)
    found["seconds"] = time.perf_counter() - started
    return found


def _say(text: str) -> None:
    """To standard error, so that standard output is the table alone."""
    print(text, file=sys.stderr, flush=True)


def _write(path: Path, record: dict[str, Any]) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    unfinished.replace(path)


def _rows(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    usual = [name for name in ROWS if name not in NOT_BY_DEFAULT]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="Rows: " + "; ".join(f"{row.name} ({row.minutes})" for row in ROWS.values()) + ".",
    )
    parser.add_argument("--rows", type=_rows, default=usual, help="names, separated by commas")
    parser.add_argument("--quick", action="store_true", help="a part of the data: see README.md")
    parser.add_argument("--pairs", type=int, help="measurements of each side (3; quick: 1)")
    parser.add_argument("--workers", type=int, default=0, help="of both sides' loaders (0)")
    parser.add_argument("--seeds", type=int, help="of the row accuracy (5; quick: 1)")
    parser.add_argument(
        "--whole-script", action="store_true", help="run the script's three epochs in that row"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every raw figure there")
    parser.add_argument("--scratch", type=Path, help="where to put files and caches meanwhile")
    return parser


if __name__ == "__main__":
    sys.exit(main())
