"""Progress: bars in a terminal and in a notebook, elsewhere a line of the log every minute."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, cast, get_args

from medpipe.errors import RunError
from medpipe.system.notebook import NotebookBar, in_notebook
from medpipe.system.place import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

VARIABLE = "MEDPIPE_PROGRESS"
"""The environment variable that says how progress is shown."""

ProgressMode = Literal["auto", "lines", "off"]

logger = logging.getLogger("medpipe")


def progress_mode() -> ProgressMode:
    """How progress is shown: ``auto``, ``lines`` without bars, or ``off``.

    Raises:
        RunError: The environment variable has another value.
    """
    if not place().leads:
        return "off"  # one of several processes tells
    given = os.environ.get(VARIABLE) or "auto"
    if given not in get_args(ProgressMode):
        raise RunError(
            f"The environment variable {VARIABLE} must be auto, lines or off, got {given!r}."
        )
    return cast("ProgressMode", given)


class Bar(Protocol):
    """A progress bar that is on the screen, or not."""

    def advance(self, steps: float = 1) -> None:
        """Move on by `steps`."""

    def describe(self, description: str) -> None:
        """Change the words in front of the bar."""


class _Silent:
    def advance(self, steps: float = 1) -> None:
        pass

    def describe(self, description: str) -> None:
        pass

    def end(self) -> None:
        pass


class _Lines:
    """A line of the log for each minute that a wait lasts."""

    PAUSE = 60.0

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done = 0.0
        self._said = time.monotonic()

    def advance(self, steps: float = 1) -> None:
        self._done += steps
        self._say()

    def describe(self, description: str) -> None:
        self._description = description
        self._say()

    def end(self) -> None:
        pass

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said < self.PAUSE:
            return
        self._said = now
        share = f" ({self._done / self._total:.0%})" if self._total else ""
        count = "" if self._unit == "bytes" else f"{self._done:,.0f} {self._unit}"
        logger.info("%s: %s", self._description, f"{count}{share}".strip())


@contextmanager
def bar(description: str, total: float | None, *, unit: str = "") -> Iterator[Bar]:
    """Show a bar on standard error, or below a notebook's cell, while the block runs.

    Without a terminal the log says once a minute how far it has come. The environment variable
    ``MEDPIPE_PROGRESS`` switches bars (``lines``) or all of it (``off``) off.

    Args:
        description: The words in front of the bar.
        total: How many steps there are; None where it is not known.
        unit: What a step is: ``images``, ``batches``; ``bytes`` are shown as a size.
    """
    shown = _made(description, total, unit)
    try:
        yield shown
    finally:
        shown.end()


def _made(
    description: str, total: float | None, unit: str
) -> _Silent | _Lines | NotebookBar | _Shown:
    mode = progress_mode()
    if mode == "off":
        return _Silent()
    if mode == "auto" and in_notebook():
        return NotebookBar(description, total, unit)
    if mode == "auto" and _is_terminal(sys.stderr):
        return _shown(description, total, unit) or _Silent()
    return _Lines(description, total, unit)


def _is_terminal(stream: object) -> bool:
    """Whether a stream is a terminal; it may be None (pythonw, ``2>&-``), closed or replaced."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except Exception:
        return False


class _Shown:
    """A bar on the screen, whose own errors never stop the work."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: float = 1) -> None:
        with suppress(Exception, SystemExit):
            self._progress.advance(self._task, steps)

    def describe(self, description: str) -> None:
        with suppress(Exception, SystemExit):
            self._progress.update(self._task, description=description)

    def end(self) -> None:
        with suppress(Exception, SystemExit):
            self._progress.stop()


def _shown(description: str, total: float | None, unit: str) -> _Shown | None:
    """A bar that is on the screen; None where the terminal can't have one."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    count: ProgressColumn = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TextColumn(unit))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    try:
        progress = Progress(*columns, *times, console=Console(stderr=True), transient=True)
        task = progress.add_task(description, total=total)
        progress.start()
    except (
        Exception,
        SystemExit,
    ):  # a terminal, or what passes for one, that takes no such text; two at once
        return None
    return _Shown(progress, task)


def track(
    items: Iterable[Item], description: str, total: float | None, *, unit: str = ""
) -> Iterator[Item]:
    """Yield the items, with a bar that advances by one for each."""
    with bar(description, total, unit=unit) as shown:
        for item in items:
            yield item
            shown.advance()
