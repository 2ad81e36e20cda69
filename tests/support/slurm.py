"""SLURM's commands on one machine: each node of a job is an agent of torchrun on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from support.torchrun import environment

COMMANDS = {
    "srun": """#!/bin/bash
for ((node = 0; node < SLURM_NNODES; node++)); do "$@" & tasks+=($!); done
trap 'kill -TERM "${tasks[@]}"' TERM
code=0
for task in "${tasks[@]}"; do
    while kill -0 "$task" 2>/dev/null; do wait "$task"; ended=$?; done
    ((ended > code)) && code=$ended
done
exit "$code"
""",
    "scontrol": """#!/bin/bash
case "$1" in
    show) for node in ${3//,/ }; do echo 127.0.0.1; done ;;
    requeue) echo "$2" >> requeued ;;
esac
""",
}
"""`srun` forwards a signal to its tasks, as SLURM's does; `scontrol` writes down what it queues."""


class Cluster:
    """Runs job scripts; `requeued` has the numbers of the jobs that queued themselves again.

    Args:
        folder: Where jobs run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = folder / "commands"
        self.commands.mkdir()
        for name, text in COMMANDS.items():
            (self.commands / name).write_text(text)
            (self.commands / name).chmod(0o755)

    @property
    def requeued(self) -> list[str]:
        file = self.folder / "requeued"
        return file.read_text().split() if file.exists() else []

    def run(
        self,
        script: Path,
        *arguments: str,
        job: int,
        warn_when: Callable[[], bool] | None = None,
        limit: float = 240,
        **variables: str,
    ) -> tuple[int, str]:
        """Run a job to its end.

        Args:
            script: The job script.
            arguments: The script's.
            job: The job's number.
            warn_when: When to send the signal that the script asks for before its time is over.
            limit: Seconds after which the test fails.
            variables: Further ones of the environment.

        Returns:
            The exit code, and what was printed.
        """
        asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", script.read_text(), re.MULTILINE))
        nodes = int(asked["nodes"])
        path = [str(self.commands), str(Path(sys.executable).parent), os.environ["PATH"]]
        settings = {
            "PATH": os.pathsep.join(path),
            "SLURM_JOB_ID": str(job),
            "SLURM_NNODES": str(nodes),
            "SLURM_JOB_NODELIST": ",".join(f"node{number}" for number in range(nodes)),
            **variables,
        }
        end = time.monotonic() + limit
        printed = self.folder / f"job-{job}.txt"
        with printed.open("a") as out:
            process = subprocess.Popen(
                ["bash", str(script), *arguments],
                cwd=self.folder,
                env=environment(**settings),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if warn_when is not None:
                while not warn_when() and process.poll() is None and time.monotonic() < end:
                    time.sleep(0.05)
                shell_alone, name = re.fullmatch(r"(B:)?(\w+)@\d+", asked["signal"]).groups()  # type: ignore[union-attr]
                assert shell_alone  # the others would need to be told too
                process.send_signal(signal.Signals[f"SIG{name}"])
            code = process.wait(max(1, end - time.monotonic()))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        return code, printed.read_text()
