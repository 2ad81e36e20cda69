"""Short HTML for notebooks: all text is escaped, and what is long is cut."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST = 4000
"""Characters of a table: a notebook keeps each output in its file."""
_CELL = 200


def table(rows: Iterable[Sequence[object]], *, title: str, head: Sequence[str] = ()) -> str:
    """Format a table as HTML.

    Args:
        rows: Cells of any type, as ``str`` writes them; None is an empty cell.
        title: What stands above it.
        head: The names of the columns; empty: none.

    Returns:
        At most `LONGEST` characters or so; the last line says how many rows were left out.
    """
    rows = list(rows)
    begin = f"<p><b>{_escaped(title)}</b></p><table>{_row('th', head) if head else ''}"
    lines: list[str] = []
    left = LONGEST - len(begin)
    for place, row in enumerate(rows):
        line = _row("td", row)
        left -= len(line)
        if left < 0:
            lines.append(f"<tr><td>and {len(rows) - place:,} more</td></tr>")
            break
        lines.append(line)
    return f"{begin}{''.join(lines)}</table>"


def preformatted(text: str) -> str:
    """Format text as it stands, with its lines; what is longer than `LONGEST` is cut."""
    lines, left = text.splitlines(), LONGEST
    for place, line in enumerate(lines):
        left -= len(line) + 1
        if left < 0:
            lines[place:] = [f"and {len(lines) - place:,} more lines"]
            break
    style = "font-family:monospace;white-space:pre-wrap"
    return f'<pre style="{style}">{html.escape(chr(10).join(lines))}</pre>'


def _row(tag: str, row: Sequence[object]) -> str:
    # Notebooks align cells to the right, with a style sheet that only a style overrules.
    cells = (f'<{tag} style="text-align:left">{_escaped(cell)}</{tag}>' for cell in row)
    return f"<tr>{''.join(cells)}</tr>"


def _escaped(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return html.escape(text if len(text) <= _CELL else f"{text[: _CELL - 3]}...")
