"""Draw where the time goes, script and medpipe: ``python -m benchmarks.picture FILE.json OUT.svg``.

From the row `accuracy` of a file that ``--json`` wrote. The picture has its own background and
follows the reader's choice of light or dark.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.rows.accuracy import PHASES, phases
from benchmarks.table import mean_and_spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 860, 400
LEFT, RIGHT = 100, 28
BAR = 30
COLOURS = {"start-up": "#8a8a8a", "files": "#d98c00", "training": "#2f7fbf", "test": "#1f9e78"}
WORDS = {
    "start-up": "start-up and imports",
    "files": "files to batches",
    "training": "training, validation",
    "test": "test",
}
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1c1c1c }
.title { font-size: 17px; font-weight: 600 }
.small { font-size: 12.5px; fill: #555 }
.paper { fill: #fcfcfc; stroke: #d5d5d5 }
@media (prefers-color-scheme: dark) {
  text { fill: #ececec }
  .small { fill: #b5b5b5 }
  .paper { fill: #1d1f21; stroke: #3c3f41 }
}
"""


@attrs.frozen(kw_only=True)
class Side:
    """One side's run.

    Attributes:
        seconds: What its time went to, by `PHASES`.
        reached: Its test accuracy, in words.
    """

    seconds: Mapping[str, float]
    reached: str

    @property
    def total(self) -> float:
        """All of its seconds."""
        return sum(self.seconds.values())


def sides(record: Mapping[str, Any]) -> tuple[Side, Side]:
    """The script and medpipe in the row `accuracy`; of several seeds each phase's median.

    Raises:
        ValueError: The row was not measured.
    """
    measured: Sequence[Mapping[str, Any]] = record.get("measured", ())
    recipes = [one for one in measured if (one["side"], one["task"]) == ("library", "recipe")]
    data = {one["options"]["data"] for one in recipes}
    scripts = [
        one["figures"]
        for one in measured
        if one["side"] == "script"
        and one["options"]["data"] in data
        and (one["task"] == "whole" or one["figures"].get("extrapolated"))
    ]
    if not scripts or not recipes:
        raise ValueError("it holds no row accuracy; measure it with --rows accuracy --json FILE")
    # A script that came to its end says more than one that was extrapolated.
    script = max(scripts, key=lambda figures: "accuracy" in figures)
    runs = [one["figures"] for one in recipes]
    split = [phases(run) for run in runs]
    medians = {name: statistics.median(one[name] for one in split) for name in PHASES}
    accuracies = tuple(run["accuracy"] for run in runs)
    ended = (script["accuracy"],) if "accuracy" in script else ()
    return (
        Side(
            seconds=phases(script),
            reached=f"accuracy {mean_and_spread((script['accuracy'],))}"
            if ended
            else "extrapolated",
        ),
        Side(seconds=medians, reached=f"accuracy {mean_and_spread(accuracies)}"),
    )


def picture(script: Side, library: Side) -> str:
    """An SVG of two panels: both sides on one scale, and medpipe's bar alone, magnified."""
    room = WIDTH - LEFT - RIGHT
    scale = room / max(script.total, library.total)
    alone = room / library.total
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        'aria-label="Seconds from files to a tested network">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        _text(20, 34, "From files to a tested network: where the time goes", "title"),
    ]
    for top, name, side in ((56, "script", script), (122, "medpipe", library)):
        parts += [_text(20, top + 20, name), *_bar(top, side, scale)]
        parts.append(_text(LEFT, top + BAR + 17, f"{_time(side.total)}, {side.reached}", "small"))
    zoom = f"medpipe's bar again, {alone / scale:.0f} times as long"
    parts += [_text(LEFT, 214, zoom, "small"), *_bar(224, library, alone)]
    column = (WIDTH - 40) / len(PHASES)
    for index, name in enumerate(PHASES):
        over = round(20 + index * column)
        theirs = _time(script.seconds[name]) if name in script.seconds else "not counted"
        parts += [
            f'<rect x="{over}" y="290" width="13" height="13" rx="2" fill="{COLOURS[name]}"/>',
            _text(over + 20, 302, WORDS[name]),
            _text(over + 20, 324, f"script: {theirs}", "small"),
            _text(over + 20, 343, f"medpipe: {_time(library.seconds[name])}", "small"),
        ]
    note = "Files to batches: list, look through, decode, check and keep."
    return "\n".join([*parts, _text(20, 380, note, "small"), "</svg>"]) + "\n"


def _bar(top: int, side: Side, scale: float) -> list[str]:
    shapes, over = [], float(LEFT)
    for name in PHASES:
        width = max(0.0, side.seconds.get(name, 0.0)) * scale
        shapes.append(
            f'<rect x="{over:.2f}" y="{top}" width="{width:.2f}" height="{BAR}" '
            f'fill="{COLOURS[name]}"><title>{WORDS[name]}: '
            f"{_time(side.seconds.get(name, 0.0))}</title></rect>"
        )
        over += width
    return shapes


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{named}>{escape(words)}</text>'


def _time(seconds: float) -> str:
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description=__doc__)
    parser.add_argument("measured", type=Path, metavar="FILE.json")
    parser.add_argument("output", type=Path, metavar="OUT.svg")
    given = parser.parse_args(arguments)
    if given.output.suffix != ".svg":
        parser.error(f"{given.output}: the picture is an SVG; give a name that ends in .svg")
    try:
        found = sides(json.loads(given.measured.read_text("utf-8")))
    except ValueError as error:
        parser.error(f"{given.measured}: {error}")
    given.output.write_text(picture(*found), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
