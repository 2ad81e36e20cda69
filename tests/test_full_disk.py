"""A disk that really fills up: a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from faults.runs import digest
from medpipe import Run
from support.marks import rare
from support.programs import TINY

LONGER = TINY.replace("max_epochs = 1", "max_epochs = 4")

SCRIPT = """
set -u
mount -t tmpfs -o size=$1 none small || exit 77
$2 -m medpipe run tiny.toml --output small/run 2>said
echo $? >code
mount -o remount,size=64m small
$2 -m medpipe run tiny.toml --output small/run --resume || exit 1
cp -r small/run run
"""


def _namespace() -> list[str] | None:
    """What gives a mount namespace of its own, if anything does."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        test = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        try:
            if subprocess.run(test, capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            return None
    return None


@pytest.mark.long
@pytest.mark.parametrize("size", ["600k", rare("2000k")])
def test_a_run_whose_disk_is_full_says_so_and_goes_on_with_room(tmp_path: Path, size: str) -> None:
    namespace = _namespace()
    if namespace is None:
        pytest.skip("needs the right to mount a tmpfs")
    (tmp_path / "small").mkdir()
    (tmp_path / "tiny.toml").write_text(LONGER)
    done = subprocess.run(
        [*namespace, "sh", "-c", SCRIPT, "sh", size, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "said").read_text()
    assert (tmp_path / "code").read_text() == "2\n", said
    assert "can't be written: no space left on device. Make room on that disk" in said
    assert "Traceback" not in said
    whole = [sys.executable, "-m", "medpipe", "run", "tiny.toml", "--output", "whole"]
    subprocess.run(whole, capture_output=True, check=True, cwd=tmp_path)
    assert digest(Run.load(tmp_path / "run")) == digest(Run.load(tmp_path / "whole"))
