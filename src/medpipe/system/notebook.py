"""Progress in a notebook: a bar and a log, each one output that is replaced as it changes."""

from __future__ import annotations

import html
import importlib
import logging
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

KEPT = 30
"""Lines of the log that stay on the screen: the newest."""
LONGEST = 3500
"""Characters of them."""


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook; IPython is not imported to find out."""
    shell = sys.modules.get("IPython")
    with suppress(Exception):
        return getattr(shell.get_ipython(), "kernel", None) is not None  # type: ignore[union-attr]
    return False


class NotebookBar:
    """A progress bar below the cell; its own errors never stop the work.

    Args:
        description: The words in front of it.
        total: How many steps there are; None where it is not known.
        unit: What a step is; ``bytes`` are shown as a size.
    """

    PAUSE = 0.5

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done = 0.0
        self._started = self._drawn = time.monotonic()
        self._shown = _Shown()

    def advance(self, steps: float = 1) -> None:
        """Move on by `steps`."""
        self._done += steps
        self._draw()

    def describe(self, description: str) -> None:
        """Change the words in front of the bar."""
        self._description = description
        self._draw()

    def end(self) -> None:
        """Leave nothing on the screen."""
        self._shown.clear()

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn < self.PAUSE:  # what takes no longer needs no bar
            return
        self._drawn = now
        words = f"{self._description}: {self._count()}, {_clock(now - self._started)}"
        if self._total and self._done:
            left = (now - self._started) * (self._total / self._done - 1)
            words += f", {_clock(max(left, 0))} left"
        size = f' value="{self._done:g}" max="{self._total:g}"' if self._total else ""
        self._shown.show(words, f"<progress{size}></progress> {html.escape(words)}")

    def _count(self) -> str:
        if self._unit == "bytes":
            total = f"/{self._total / 1e6:,.1f}" if self._total else ""
            return f"{self._done / 1e6:,.1f}{total} MB"
        total = f"/{self._total:,.0f}" if self._total else ""
        return f"{self._done:,.0f}{total} {self._unit}".rstrip()


class NotebookLog(logging.Handler):
    """Shows the newest lines of a log below the cell."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._gone = 0
        self._shown = _Shown()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, and drop what was long ago."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._lines.append(text if len(text) <= LONGEST // 2 else f"{text[: LONGEST // 2]}...")
        while len(self._lines) > KEPT or sum(len(line) + 1 for line in self._lines) > LONGEST:
            self._lines.popleft()
            self._gone += 1
        before = [f"({self._gone:,} lines before)"] if self._gone else []
        self._shown.show("\n".join([*before, *self._lines]))


class _Text:
    """Text as a notebook shows it: as it is, without quotes."""

    def __init__(self, text: str, markup: str) -> None:
        self._text, self._markup = text, markup

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str | None:
        return self._markup or None


class _Shown:
    """One output of a cell, which is replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, markup: str = "") -> None:
        with suppress(Exception):
            if self._handle is None:
                module: Any = importlib.import_module("IPython.display")
                self._handle = module.display(_Text(text, markup), display_id=True)
            else:
                self._handle.update(_Text(text, markup))

    def clear(self) -> None:
        if self._handle is not None:
            self.show("")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
