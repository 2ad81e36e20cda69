"""Programs on several processes, started as a user starts them."""

from __future__ import annotations

import os
import socket
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


def two_agents(*arguments: str, timeout: float = 300) -> list[tuple[int, str]]:
    """The same as on two machines with a process each: two torchruns that find each other.

    Returns:
        The exit code of each, and what it printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=two", "-m"]
    agents = [
        subprocess.Popen(
            [*command, *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        for _ in range(2)
    ]
    printed = [agent.communicate(timeout=timeout)[0] for agent in agents]
    return [(agent.returncode, text) for agent, text in zip(agents, printed, strict=True)]


def environment(**more: str) -> dict[str, str]:
    """This environment, with the modules of the tests, and one thread for each process."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}
