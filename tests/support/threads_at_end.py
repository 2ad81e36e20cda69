"""Run medpipe, or exchange a number, then say which threads of gloo Python's end still finds."""

from __future__ import annotations

import atexit
import runpy
import sys
from pathlib import Path


def _say() -> None:
    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    sys.stdout.write(f"threads of gloo: {sum('gloo' in name for name in threads)}\n")


if __name__ == "__main__":
    atexit.register(_say)  # before whatever is imported now: so it is called last
    if len(sys.argv) > 1:
        runpy.run_module("medpipe", run_name="__main__")
    else:
        from medpipe.distributed.processes import processes

        sys.stdout.write(f"sum: {processes().total(1.0)}\n")
