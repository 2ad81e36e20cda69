"""Progress bars; silent without a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

Item = TypeVar("Item")


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


@contextmanager
def bar(description: str, total: float | None, *, unit: str = "") -> Iterator[Bar]:
    """Show a bar on standard error while the block runs.

    Args:
        description: The words in front of the bar.
        total: How many steps there are; None where it is not known.
        unit: What a step is: ``images``, ``batches``; ``bytes`` are shown as a size.
    """
    shown = _shown(description, total, unit) if _is_terminal(sys.stderr) else None
    if shown is None:
        yield _Silent()
        return
    try:
        yield shown
    finally:
        shown.end()


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
