"""Commands as a page shows them: its files, and what it starts by torchrun."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.torchrun import environment

RUNNABLE = ("$ medpipe ", "$ torchrun ")
"""How the lines begin that are run."""
_SCRIPT = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXTERNAL = re.compile(r"^```toml\n(\[dataset\]\n.*?)^```$", re.MULTILINE | re.DOTALL)


def lay_out(text: str, folder: Path) -> None:
    """Write the scripts that a page names in their first line, and its external set."""
    for name, script in _SCRIPT.findall(text):
        (folder / name).write_text(script, encoding="utf-8")
    for described in _EXTERNAL.findall(text):
        (folder / "external.toml").write_text(described, encoding="utf-8")


def start_as_shown(arguments: Sequence[str], limit: float = 240) -> None:
    """Start torchrun in this folder, once for each machine that the command is for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = [re.sub(r"node1:\d+", f"127.0.0.1:{port}", argument) for argument in arguments]
    machines = int(here[here.index("--nnodes") + 1]) if "--nnodes" in here else 1
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *here],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(machines)
    ]
    try:
        printed = [agent.communicate(timeout=limit)[0] for agent in started]
    finally:
        for agent in started:
            agent.terminate()  # then it ends its processes
    assert not any(agent.returncode for agent in started), (arguments, printed)
