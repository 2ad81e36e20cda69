"""The table: a line for each figure, with medians and spread."""

from __future__ import annotations

import statistics
from typing import Literal

import attrs

HEADER = "| figure | script | medpipe | times better | spread | aim |\n|---|---|---|---|---|---|"
NOTHING = "—"


def _numbers(values: object) -> tuple[float, ...]:
    return tuple(values)  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class Line:
    """One figure of both sides, or of medpipe alone.

    Attributes:
        figure: What it is, with its unit.
        script: The script's, in the order of the pairs; empty where it has none.
        library: medpipe's. Where there are more than the script's, or fewer, each is compared
            with the script's median.
        better: Whether ``less`` or ``more`` of it is better; ``neither``: no ratio is formed.
        aim: What is to be reached, as text.
    """

    figure: str
    script: tuple[float, ...] = attrs.field(default=(), converter=_numbers)
    library: tuple[float, ...] = attrs.field(converter=_numbers)
    better: Literal["less", "more", "neither"] = "less"
    aim: str = NOTHING

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times better medpipe was, pair by pair."""
        if not self.script or self.better == "neither":
            return ()
        script = self.script
        if len(script) != len(self.library):
            script = (statistics.median(script),) * len(self.library)
        pairs = zip(script, self.library, strict=True)
        return tuple(b / a if self.better == "more" else a / b for a, b in pairs)

    def text(self) -> str:
        """The line as Markdown. Where there is no ratio, the spread is that of the figure."""
        ratios = self.ratios
        spread = ratios or self.library
        cells = [
            self.figure,
            _shown(statistics.median(self.script)) if self.script else NOTHING,
            _shown(statistics.median(self.library)),
            f"{statistics.median(ratios):.2f}" if ratios else NOTHING,
            f"{_shown(min(spread))} to {_shown(max(spread))}" if len(spread) > 1 else NOTHING,
            self.aim,
        ]
        return f"| {' | '.join(cells)} |"

    def record(self) -> dict[str, object]:
        """The line as plain data, with the ratios."""
        return {**attrs.asdict(self), "ratios": self.ratios}


def _shown(value: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def mean_and_spread(values: tuple[float, ...]) -> str:
    """Accuracies as ``99.70 % ± 0.05``: the mean and the standard deviation."""
    text = f"{statistics.fmean(values):.2%}".replace("%", " %")
    return text if len(values) < 2 else f"{text} ± {100 * statistics.stdev(values):.2f}"
