"""Run one side in a process of its own and keep every figure that it gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from benchmarks import drawing, files
from benchmarks.settings import Settings
from benchmarks.watching import MemoryWatch

Figures = dict[str, Any]
STARTED = "BENCHMARK_STARTED"
"""The variable that tells a side when its process was asked for, in seconds since 1970."""


class SideError(Exception):
    """A side failed; the message holds the end of what it said."""


@attrs.define(kw_only=True, eq=False)
class Bench:
    """What the rows measure with.

    Attributes:
        settings: What was asked for.
        measured: Every measurement so far, as plain data.
    """

    settings: Settings
    measured: list[dict[str, Any]] = attrs.field(factory=list)
    _known: dict[tuple[object, ...], Figures] = attrs.field(factory=dict)

    @cached_property
    def mednist(self) -> Path:
        """The folder of MedNIST's class folders, or of a part of it, or of drawn images."""
        return self.part(self.settings.sizes.per_class)

    @cached_property
    def radiographs(self) -> Path:
        """The folder of the drawn radiographs."""
        return drawing.radiographs(self._folder("radiographs"), self.settings.sizes.radiographs)

    @cached_property
    def volumes(self) -> Path:
        """The folder of the drawn volumes."""
        return drawing.volumes(self._folder("volumes"), self.settings.sizes.volumes)

    def part(self, per_class: int | None) -> Path:
        """A folder with so many images of each class; None: all there are."""
        return files.folder_of_classes(self._folder(f"part-{per_class}"), per_class)

    def repeated(self, count: int) -> Path:
        """A folder of so many images: all there are, as often as it takes."""
        return files.repeated(self.mednist, self._folder(f"repeated-{count}"), count)

    def script(self, task: str, *, repeat: int = 0, **options: object) -> Figures:
        """The script's figures for a task; what was measured before is not measured again."""
        return self._side("script", task, "none", repeat, options)

    def library(self, task: str, *, cache: str, repeat: int = 0, **options: object) -> Figures:
        """The figures of medpipe for a task.

        Args:
            task: One of those in `benchmarks.sides.library`.
            cache: The name of the cache that it finds and fills; a new name: nothing is cached.
            repeat: Tells measurements of the same apart.
            **options: Of the task; see `benchmarks.sides.arguments`.
        """
        return self._side("library", task, cache, repeat, options)

    def _side(
        self, name: str, task: str, cache: str, repeat: int, options: dict[str, object]
    ) -> Figures:
        options = {"workers": self.settings.workers, **options}
        key = (name, task, cache, repeat, tuple(sorted((k, str(v)) for k, v in options.items())))
        if key not in self._known:
            figures = _run(name, task, self._folder("caches") / cache, options)
            self._known[key] = figures
            shown = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
            about = {"side": name, "task": task, "cache": cache, "repeat": repeat}
            self.measured.append({**about, "options": shown, "figures": figures})
        return self._known[key]

    def _folder(self, name: str) -> Path:
        return self.settings.scratch / name


def _run(name: str, task: str, cache: Path, options: dict[str, object]) -> Figures:
    command = [sys.executable, "-m", f"benchmarks.sides.{name}", task]
    for option, value in options.items():
        command += [f"--{option.replace('_', '-')}", str(value)]
    environment = {**os.environ, "MEDPIPE_CACHE": str(cache), STARTED: repr(time.time())}
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        watch = MemoryWatch(process)
        try:
            output = process.communicate()[0]
        finally:
            process.kill()  # after Ctrl-C; otherwise it has ended
            watch.close()
        wall = time.perf_counter() - started
        said.seek(0)
        lines = output.strip().splitlines()
        if process.returncode or not lines:
            raise SideError(f"{' '.join(command)} failed:\n{said.read()[-2000:]}")
    figures: Figures = json.loads(lines[-1])
    return {
        **figures,
        "wall": wall,
        "memory": watch.most / 1e9,
        "own_memory": watch.most_own / 1e9,
    }
