"""Runs on several processes of which a random one is killed at random moments.

In the folder of the tests: ``python -m support.kills --kills 200``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.torchrun import environment, torchrun

LONG = {
    "network": {"normal": True},  # batch norm and dropout
    "trainer": {"max_epochs": 25, "schedule": {"step": "one_cycle"}},
    "minutes": 0,
}
"""A run that saves after each iteration, and takes longer than most processes live."""


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


def main() -> None:
    """Kill so many processes, ten in each run, and compare each run with one left in peace."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    done = same = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        torchrun("support.several", json.dumps({**LONG, "output": str(whole)})).check_returncode()
        for seed in itertools.count(given.seed):
            output = Path(folder, f"killed-{seed}")
            again = json.dumps({**LONG, "output": str(output), "resume": True})
            code, kills = run_through(again, kills=10, seed=seed, longest=18, limit=900)
            equal = code == 0 and are_equal(weights(output), weights(whole))
            done, same = done + kills, same + kills * equal
            sys.stdout.write(f"{done} killed, {same} in runs that ended as the whole one\n")
            sys.stdout.flush()
            if done >= given.kills:
                break


def weights(run: Path) -> dict[str, Any]:
    """The network of a run at its end."""
    from medpipe.training.checkpoint import load_checkpoint

    states, _ = load_checkpoint(run / "checkpoints/last.safetensors")
    network: dict[str, Any] = states["network"]
    return network


def are_equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two networks have the same bits."""
    return all((one[name] == other[name]).all() for name in one)


if __name__ == "__main__":
    main()
