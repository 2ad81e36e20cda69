"""Two machines, as network namespaces that a cable joins (Linux, root)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from support.torchrun import environment

PORT = 29511


@attrs.frozen
class Machine:
    """One of them.

    Attributes:
        name: Of the namespace.
        interface: Of its network.
        address: Its address.
        first: Whether the processes meet there.
    """

    name: str
    interface: str
    address: str
    first: bool

    def start(
        self, meet_at: Machine, *arguments: str, cwd: Path, **variables: str
    ) -> subprocess.Popen[str]:
        """Start an agent of torchrun there, with one process, of two machines."""
        # No name service knows the addresses, so that torchrun must be told who is who.
        return subprocess.Popen(
            [
                *("ip", "netns", "exec", self.name),
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=1"),
                *(f"--rdzv-endpoint={meet_at.address}:{PORT}", f"--local-addr={self.address}"),
                *(f"--rdzv-conf=is_host={int(self.first)}", "-m", *arguments),
            ],
            cwd=cwd,
            env=environment(GLOO_SOCKET_IFNAME=self.interface, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Make them; skip the test where that is not allowed."""
    names = [f"mp{os.getpid()}{letter}" for letter in "ab"]
    machines = [
        Machine(name, f"v{name}", f"10.87.0.{number + 1}", number == 0)
        for number, name in enumerate(names)
    ]
    first, second = machines
    try:
        try:
            for machine in machines:
                _ip("netns", "add", machine.name)
            cable = ("type", "veth", "peer", "name", second.interface, "netns", second.name)
            _ip("link", "add", first.interface, "netns", first.name, *cable)
            for machine in machines:
                there = ("-n", machine.name)
                _ip(*there, "address", "add", f"{machine.address}/24", "dev", machine.interface)
                _ip(*there, "link", "set", "lo", "up")
                _ip(*there, "link", "set", machine.interface, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            pytest.skip(f"needs the right to make network namespaces: {said.strip()}")
        yield first, second
    finally:
        for machine in machines:
            subprocess.run(
                ["ip", "netns", "delete", machine.name], check=False, capture_output=True
            )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
