"""The page "Your first plugin": its commands as they are written, in their own environment."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import medpipe
from support.folders import image_folder

WRITTEN = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A new environment that has what this one has, and medpipe."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = [*(path for path in sys.path if path.endswith("site-packages"))]
    paths.append(str(Path(medpipe.__file__).parents[1]))
    (site / "there.pth").write_text("\n".join(paths) + "\n")
    return folder / "bin" / "python"


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="the environment is laid out as on Linux")
def test_every_command_of_the_page_works(python: Path, tmp_path: Path, repository: Path) -> None:
    text = (repository / "docs" / "first-plugin.md").read_text(encoding="utf-8")
    work = tmp_path / "work"
    image_folder(work / "data" / "xray", samples=48)
    for picture in (work / "data").rglob("*.png"):  # named as in part 2
        picture.rename(picture.with_name(picture.name.replace("p", "patient", 1)))
    commands = [
        shlex.split(line[2:]) for block in CONSOLE.findall(text) for line in block.splitlines()
    ]
    assert 5 <= len(commands) <= 10
    written = dict(WRITTEN.findall(text))
    without = ("PYTHONPATH", "PYTEST_ADDOPTS", "MEDPIPE_PLUGINS")
    environment = {key: value for key, value in os.environ.items() if key not in without}
    for program, *arguments in commands:
        more = OFFLINE if program == "pip" else ["-p", "no:cacheprovider"]
        arguments += more if program in ("pip", "pytest") else []
        done = subprocess.run(
            [str(python), "-m", program, *arguments],
            cwd=work,
            env={**environment, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (program, arguments, done.stdout, done.stderr)
        if program == "medpipe" and arguments == ["plugins"]:
            assert "heart_network" in done.stdout
            for name, source in written.items():
                assert (work / name).is_file()
                (work / name).write_text(source, encoding="utf-8")
        if program == "pytest":
            assert " passed" in done.stdout
    assert medpipe.Run.load(work / "runs" / "heart").metrics["test"]["accuracy"] > 0.5
    with (work / "runs" / "xray" / "splits.csv").open() as table:
        splits = {(row["group"], row["split"]) for row in csv.DictReader(table)}
    assert len(splits) == len({group for group, _ in splits}) == 24
    used = medpipe.Run.load(work / "runs" / "xray").record["plugins"]
    heart = {
        "distribution": "medpipe-heart",
        "version": "0.1.0",
        "steps": ["network:heart_network"],
    }
    assert heart in used
