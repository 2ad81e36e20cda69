"""Progress bars for every wait over a second; silent where there is no terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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
    if not sys.stderr.isatty():
        yield _Silent()
        return
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
    columns = (TextColumn("{task.description}"), BarColumn(), count, TextColumn(unit))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)

        class _Shown:
            def advance(self, steps: float = 1) -> None:
                progress.advance(task, steps)

            def describe(self, description: str) -> None:
                progress.update(task, description=description)

        yield _Shown()


def track(
    items: Iterable[Item], description: str, total: float | None, *, unit: str = ""
) -> Iterator[Item]:
    """Give the items on, with a bar that advances by one for each."""
    with bar(description, total, unit=unit) as shown:
        for item in items:
            yield item
            shown.advance()
