"""The command as a user calls it, also where plugins are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

TINY = """
format = 1
[dataset]
step = "phantom"
samples = 60
size = 32
[network]
step = "resnet10"
widen_factor = 0.125
[trainer]
step = "supervised"
max_epochs = 1
[loader]
batch_size = 16
workers = 0
[run]
device = "cpu"
"""
"""A configuration of the smallest run."""

HEAD = """
from typing import ClassVar
import attrs
from medpipe.plugin import NetworkStep, hookimpl
@attrs.frozen(kw_only=True)
class Net(NetworkStep):
    name: ClassVar[str] = "net"
    def build(self, data): ...
"""
"""How the module of a plugin begins."""


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medpipe", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def exit_code(*arguments: str) -> object:
    """Run the command in this process and give its exit code."""
    from medpipe.cli import main

    try:
        main(arguments)
    except SystemExit as ended:
        return ended.code or 0
    return 0


def python(code: str, **environment: str) -> str:
    """Run a program that may import from the tests; what it prints."""
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), tests]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(site: Path, distribution: str, source: str, version: str = "1.2") -> Path:
    """Lay a distribution out as an installer does."""
    module = distribution.replace("-", "_")
    file = site / f"{module}.py"
    file.write_text(textwrap.dedent(source))
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text(f"[medpipe]\nplugin = {module}\n")
    return file


def medpipe(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "medpipe", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def listed(site: Path, **environment: str) -> dict[str, Any]:
    done = medpipe(site, "plugins", "--json", **environment)
    assert done.returncode == 0, done.stderr
    plugins = json.loads(done.stdout)["plugins"]
    return {plugin["distribution"]: plugin for plugin in plugins}
