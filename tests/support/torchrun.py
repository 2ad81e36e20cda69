"""Programs on several processes, started as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def torchrun(
    *arguments: str,
    processes: int = 2,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 300,
    restarts: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Start ``python -m MODULE ...`` so many times by torchrun, on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "-m", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=timeout,
    )


def environment(**more: str) -> dict[str, str]:
    """This environment, with the modules of the tests, and one thread for each process."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}
