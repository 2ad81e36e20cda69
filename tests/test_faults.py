"""A sample of the fault suite; `python -m tests.faults` runs as much of it as is wanted.

Each case is a real run in a process of its own, which is killed or hindered and then goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and kills as Linux does")


@pytest.mark.long
def test_runs_come_through_a_sample_of_all_faults(tmp_path: Path, repository: Path) -> None:
    counts = {"kills": 6, "failures": 6, "power_losses": 6, "flips": 6}
    arguments = [f"--{name.replace('_', '-')}={count}" for name, count in counts.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *arguments, "--processes=2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert all(count > 100 for count in report["points"].values())
    for name, count in counts.items():
        assert report[name]["cases"] >= count
        assert report[name]["survived"] == report[name]["cases"]
    left = {entry.name for entry in tmp_path.iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor_")}  # torch's cache
