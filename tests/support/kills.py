"""Runs on several processes of which a random one is killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.torchrun import environment


def run_through(
    given: str,
    *,
    kills: int,
    seed: int,
    longest: float,
    processes: int = 2,
    limit: float = 600,
    log: Path | None = None,
) -> tuple[int, int]:
    """Start ``support.several`` by torchrun, which starts it anew after each kill.

    Returns:
        The exit code of torchrun, and how many processes were killed.
    """
    draws = random.Random(seed)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={kills}", "-m"]
    agent = subprocess.Popen(
        [*command, "support.several", given],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=None if log is None else log.open("a"),
        start_new_session=True,
    )
    end, done = time.monotonic() + limit, 0
    try:
        for _ in range(kills):
            before = wait_for_workers(agent, processes, end)
            if before is None:
                break
            moment = time.monotonic() + draws.uniform(0, longest)
            while time.monotonic() < moment and agent.poll() is None:
                time.sleep(0.05)
            if agent.poll() is not None:
                break
            victim = draws.choice(before)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            done += 1
            wait_until_gone(before, end)
        return agent.wait(max(1, end - time.monotonic())), done
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)


def wait_for_workers(agent: subprocess.Popen[bytes], count: int, end: float) -> list[int] | None:
    """The processes of the run, once all are there; None where torchrun has ended."""
    while time.monotonic() < end and agent.poll() is None:
        found = workers_of(agent.pid)
        if len(found) == count:
            return found
        time.sleep(0.05)
    return None


def workers_of(agent: int) -> list[int]:
    """The children of torchrun that run the module."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "stat").read_text() if entry.name.isdigit() else ""
            if status and int(status.rpartition(")")[2].split()[1]) == agent:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                found += [int(entry.name)] if b"support.several" in words else []
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    return sorted(found)


def wait_until_gone(processes: list[int], end: float) -> None:
    """Wait until torchrun has ended all of them."""
    while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.05)
