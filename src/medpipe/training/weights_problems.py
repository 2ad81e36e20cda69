"""What is wrong between a file of weights and a network, with the setting that helps."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from medpipe.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from medpipe.settings import WeightsSettings
    from medpipe.training.layouts import Recognised

Shape = tuple[int, ...]

MANY = 8
"""Where so many modules don't fit, the file is another network's, not of one with another head."""


def listed(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    some = list(names)
    more = f" and {len(some) - most} more" if len(some) > most else ""
    return ", ".join(some[:most]) + more


@attrs.define(kw_only=True)
class Misfits:
    """Every tensor of a network that a file doesn't fit.

    Attributes:
        field: The setting that names the file.
        source: The file.
        network: The names of the network's tensors.
        settings: The `[weights]` section.
        layout: The built-in network that the file is of, where it was looked for and known.
        absent: What the file doesn't have.
        shapes: What it has in another shape: the network's and the file's.
        first: The first convolution, and its channels in the network and in the file.
        kinds: What are whole numbers in one and not in the other: both types.
        not_finite: What has NaN or infinite values.
    """

    field: str
    source: Path
    network: list[str]
    settings: WeightsSettings
    layout: Recognised | None = None
    absent: list[str] = attrs.field(factory=list)
    shapes: dict[str, tuple[Shape, Shape]] = attrs.field(factory=dict)
    first: tuple[str, int, int] | None = None
    kinds: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    not_finite: list[str] = attrs.field(factory=list)

    def problems(self, names: Collection[str]) -> list[Problem]:
        """The problems, each with its remedy.

        Args:
            names: The file's names as they are after ``weights.strip`` and ``weights.rename``.
        """
        found = []
        if self.shapes or self.absent:
            skip = self._remedy([*self.shapes, *self.absent])
        if self.shapes:
            some = (
                f"{name} is {own} in the network and {other} in the file"
                for name, (own, other) in self.shapes.items()
            )
            text = f"{_tensors(len(self.shapes))} of other shapes: {listed(some, 10)}."
            found.append(self._problem(text, skip))
        if self.absent:
            count, total = len(self.absent), len(self.network)
            text = (
                f"{self.source} lacks {count} of the network's {total} tensors: "
                f"{listed(self.absent)}."
            )
            prefix = None if self.layout else prefix_of(names, self.absent)
            remedy = _strip(self.settings, prefix) if prefix else skip
            found.append(self._problem(text, remedy))
        if self.first is not None:
            name, own, other = self.first
            text = f"{name} takes {own} channels in the network and {other} in the file."
            remedy = 'Set weights.first_layer = "mean" to fit it.'
            found.append(Problem(path="weights.first_layer", message=text, remedy=remedy))
        for name, (kind, its) in self.kinds.items():
            text = f"{name} is {kind} in the network and {its} in the file."
            found.append(self._problem(text, self._skip([name])))
        if self.not_finite:
            text = (
                f"NaN or infinite values in {_tensors(len(self.not_finite))} of {self.source}: "
                f"{listed(self.not_finite)}."
            )
            found.append(self._problem(text, "Take another file."))
        return found

    def _problem(self, message: str, remedy: str) -> Problem:
        return Problem(path=self.field, message=message, remedy=remedy)

    def _remedy(self, names: list[str]) -> str:
        """The network that the file is of where this one differs, and what to skip else."""
        if self.layout is None:
            return self._skip(names)
        rest = [name for name in names if not self.layout.covers(name)]
        if len(rest) == len(names) < MANY:
            return self._skip(names)
        advice = self.layout.advice(self.source)
        return f"{advice} {self._skip(rest)}" if 0 < len(rest) < MANY else advice

    def _skip(self, names: list[str]) -> str:
        """The setting that leaves these tensors fresh, written as it would stand."""
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
        dims = any(len(own) != len(other) for n, (own, other) in self.shapes.items() if n in names)
        if dims or len(modules) >= MANY:
            return "The file seems to be another network's: choose the network that it is of."
        patterns = [self._pattern(module, names) for module in modules]
        skip = json.dumps([*self.settings.skip, *patterns], ensure_ascii=False)
        return f"Set weights.skip = {skip} to keep their fresh values."

    def _pattern(self, module: str, names: list[str]) -> str:
        """A pattern for a module's tensors, as plain as fits them alone."""
        start = f"{module}." if module else ""
        plain = f"{start}*" if module else ""
        hit = [name for name in self.network if plain and re.search(plain, name)]
        if hit and all(name.rpartition(".")[0] == module for name in hit):
            return plain
        mine = [name.removeprefix(start) for name in names if name.rpartition(".")[0] == module]
        return f"^{re.escape(start)}({'|'.join(map(re.escape, mine))})$"


def nothing_matched(
    field: str,
    source: Path,
    settings: WeightsSettings,
    *,
    own: Collection[str],
    names: Collection[str],
    layout: Recognised | None,
) -> Problem:
    """The problem that a network and a file have no name in common."""
    if layout is not None:
        message = f"no tensor of {source} has the name of one of the network's."
        return Problem(path=field, message=message, remedy=layout.advice(source))
    prefix = prefix_of(names, own)
    message = (
        f"no tensor of {source} has the name of one of the network's. "
        f"The file: {listed(names, 3) or 'nothing'}. The network: {listed(own, 3)}."
    )
    remedy = (
        "Set weights.strip to what the file's names begin with in excess, or choose the network "
        "that the file is of."
    )
    return Problem(
        path=field, message=message, remedy=_strip(settings, prefix) if prefix else remedy
    )


def _strip(settings: WeightsSettings, prefix: str) -> str:
    return f"Set weights.strip = {json.dumps([*settings.strip, prefix], ensure_ascii=False)}."


def prefix_of(names: Collection[str], wanted: Collection[str]) -> str | None:
    """What to cut from most of a file's names to get wanted ones; None where nothing helps."""
    ends = set(wanted)
    found: Counter[str] = Counter()
    for name in names:
        for place in (i + 1 for i, letter in enumerate(name) if letter == "."):
            if name[place:] in ends:
                found[name[:place]] += 1
    return found.most_common(1)[0][0] if found else None


def _tensors(count: int) -> str:
    return f"{count} tensor{'s' * (count != 1)}"
