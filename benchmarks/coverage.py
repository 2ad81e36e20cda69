"""How often 95 % intervals hold the truth, and how often a comparison finds a difference.

``python -m benchmarks.coverage`` draws test sets whose truth is known: patients, a share of whom
is ill, with 1 to 7 images each, whose scores vary around the class's in two equal parts, between
patients and between the images of one. For each cell of groups (patients), prevalence and accuracy
it counts how many of the library's intervals hold the truth, how many would without groups and by
percentiles of the bootstrap, and how often `medpipe.compare` would find a difference to a network
that is equal, and to one that makes half as many errors. See ``coverage.md`` for the results.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from benchmarks.coverage_sets import LARGEST, METRICS, WITHIN, Cell, Drawn, attainable, drawn, truth
from medpipe.evaluation.comparison import difference
from medpipe.evaluation.intervals import (
    UNDEFINED,
    logit_interval,
    mean_proportion_interval,
    proportion_interval,
)
from medpipe.evaluation.resampling import bootstrap_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

    Array = np.ndarray[Any, np.dtype[Any]]
    Interval = list[float] | tuple[float, float] | None

GROUPS = (10, 20, 50, 200)
PREVALENCES = (0.1, 0.3, 0.5)
ACCURACIES = (0.7, 0.8, 0.9, 0.95, 0.99)
SETS = 2000
PERCENTILES_EVERY = 5
"""The percentiles, which take longer, see one set in five."""
KINDS = {
    "medpipe's": "own",
    "groups ignored": "ignored",
    "percentiles of the bootstrap": "percentiles",
}
"""Kinds of intervals by their titles."""
COMPARED = ("accuracy", "balanced_accuracy", "auc")


class Counts:
    """Of how many intervals there are, how many hold the truth or have it below or above."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = defaultdict(int)
        self.given: dict[str, int] = defaultdict(int)
        self.holding: dict[str, int] = defaultdict(int)
        self.below: dict[str, int] = defaultdict(int)

    def add(self, name: str, interval: Interval, true: float) -> None:
        """Count an interval; None where there is none."""
        self.asked[name] += 1
        if interval is not None:
            self.given[name] += 1
            self.holding[name] += bool(interval[0] <= true <= interval[1])
            self.below[name] += bool(true < interval[0])

    def record(self) -> dict[str, dict[str, int]]:
        """Plain data for JSON."""
        found = {}
        for name, n in self.asked.items():
            given, holding, below = self.given[name], self.holding[name], self.below[name]
            above = given - holding - below
            found[name] = {"sets": n, "given": given, "holding": holding}
            found[name] |= {"below": below, "above": above}
        return found


def measured(
    cell: Cell, sets: int, *, percentiles_every: int = PERCENTILES_EVERY
) -> dict[str, Any]:
    """Count for one cell.

    Returns:
        Plain data: ``own``, ``ignored`` and ``percentiles`` (for each metric how many sets, how
        many intervals, and how many that hold the truth, or have it below or above them),
        ``perfect`` (for each metric in how many sets it is exactly 1), ``equal`` and ``better``
        (of the difference: ``sets``, ``found``), ``difference`` (to the better one, as ``own``).
    """
    true, better = truth(cell.accuracy), truth(cell.better)
    counts = {name: Counts() for name in ("own", "ignored", "percentiles", "difference")}
    found: dict[str, dict[str, int]] = {"equal": defaultdict(int), "better": defaultdict(int)}
    perfect = dict.fromkeys(METRICS, 0)
    for number, one in enumerate(drawn(cell, sets)):
        first, equal, improved = (Network(one, scores) for scores in one.scores)
        for kind, network in (("own", first), ("ignored", first.apart())):
            for name, interval in network.intervals().items():
                counts[kind].add(name, interval, true[name])
        for name in METRICS:
            perfect[name] += first.values[name] == 1
        for name in COMPARED:
            for kind, other in (("equal", equal), ("better", improved)):
                gap = difference(
                    (first.values[name], other.values[name]),
                    (first.left_out[name], other.left_out[name]),
                ).interval
                found[kind][name] += bool(gap and not gap[0] <= 0 <= gap[1])
            counts["difference"].add(name, gap, better[name] - true[name])
        if number % percentiles_every == 0:
            for name, interval in first.percentiles().items():
                counts["percentiles"].add(name, interval, true[name])
    return {
        **attrs.asdict(cell),
        **{name: each.record() for name, each in counts.items()},
        "perfect": perfect,
        **{kind: {"sets": sets, **table} for kind, table in found.items()},
    }


class Network:
    """A network's metrics on a set, and what they are with each group left out.

    As `medpipe.evaluation.resampling.jackknife` gives them, but from sums over groups, since every
    group is of one class.

    Attributes:
        values: By metric.
        left_out: Of shape (groups,) by metric, of those in `COMPARED`.
    """

    def __init__(self, one: Drawn, scores: Array) -> None:
        self._one, self._scores = one, scores
        places, ill = one.places, one.ill
        self.right = ((scores > 0) == ill).astype(np.float64)
        groups = int(places.max()) + 1
        self.sizes = np.bincount(places, minlength=groups)
        self.hits = np.bincount(places, self.right, groups)
        self.of_ill = np.bincount(places, ill, groups) > 0
        high, low = scores[ill], scores[~ill]
        wins = (high[:, None] > low).astype(np.float32)  # without ties
        self._wins = wins
        won = np.zeros(groups)
        won[self.of_ill] = _summed(wins.sum(axis=1, dtype=np.float64), places[ill])
        won[~self.of_ill] = _summed(wins.sum(axis=0, dtype=np.float64), places[~ill])
        total = float(won[self.of_ill].sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            recalls, without = [], []
            for which in (self.of_ill, ~self.of_ill):
                hits, sizes = self.hits * which, self.sizes * which
                recalls.append(hits.sum() / sizes.sum())
                without.append((hits.sum() - hits) / (sizes.sum() - sizes))
            pairs = np.where(self.of_ill, len(low), len(high)) * (
                np.where(self.of_ill, len(high), len(low)) - self.sizes
            )
            auc = (total - won) / pairs
            accuracy = (self.hits.sum() - self.hits) / (self.sizes.sum() - self.sizes)
        self.values = {
            "accuracy": float(self.right.mean()),
            "balanced_accuracy": float(np.mean(recalls)),
            "sensitivity": float(recalls[0]),
            "specificity": float(recalls[1]),
            "auc": total / (len(high) * len(low)),
        }
        # Without its only group, a class does not occur.
        balanced = np.nanmean(without, axis=0)
        self.left_out = {"accuracy": accuracy, "balanced_accuracy": balanced, "auc": auc}

    def apart(self) -> Network:
        """The same with each image as a group of its own."""
        one = self._one
        return Network(Drawn(np.arange(len(one.ill)), one.ill, one.scores), self._scores)

    def intervals(self) -> dict[str, Interval]:
        """The library's."""
        places = self._one.places
        right = np.stack([self.right, self.right], axis=1)
        counted = np.stack([self._one.ill, ~self._one.ill], axis=1).astype(np.float64)
        return {
            "accuracy": proportion_interval(self.right, np.ones(len(right)), places),
            "balanced_accuracy": mean_proportion_interval(right, counted, places),
            "sensitivity": proportion_interval(self.right, counted[:, 0], places),
            "specificity": proportion_interval(self.right, counted[:, 1], places),
            "auc": logit_interval(self.values["auc"], self.left_out["auc"]),
        }

    def percentiles(self) -> dict[str, Interval]:
        """Of the bootstrap over groups."""
        weights = _bootstrap_weights(len(self.sizes))
        places, ill = self._one.places, self._one.ill
        ill_weights, well_weights = weights[self.of_ill], weights[~self.of_ill]
        wins = np.add.reduceat(self._wins, _starts(places[ill]), axis=0, dtype=np.float64)
        wins = np.add.reduceat(wins, _starts(places[~ill]), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            images = [self.sizes[w] @ weights[w] for w in (self.of_ill, ~self.of_ill)]
            hits = [self.hits[w] @ weights[w] for w in (self.of_ill, ~self.of_ill)]
            recalls = [one / number for one, number in zip(hits, images, strict=True)]
            auc = (ill_weights * (wins @ well_weights)).sum(axis=0) / (images[0] * images[1])
        resampled = {
            "accuracy": sum(hits) / sum(images),
            "balanced_accuracy": np.mean(recalls, axis=0),
            "sensitivity": recalls[0],
            "specificity": recalls[1],
            "auc": auc,
        }
        found: dict[str, Interval] = {}
        for name, values in resampled.items():
            known = values[np.isfinite(values)]
            undefined = len(values) - len(known) > UNDEFINED * len(values)
            found[name] = None if undefined else list(np.percentile(known, [2.5, 97.5]))
        return found


@functools.cache
def _bootstrap_weights(groups: int) -> Array:
    return np.concatenate(list(bootstrap_weights(np.arange(groups))), axis=1)


def _starts(places: Array) -> Array:
    """Where the groups begin, of places in their order."""
    return np.flatnonzero(np.diff(places, prepend=-1))


def _summed(values: Array, places: Array) -> Array:
    """Sums over groups, of places in their order."""
    return np.asarray(np.add.reduceat(values, _starts(places)))


def cells(
    groups: Iterable[int] = GROUPS,
    prevalences: Iterable[float] = PREVALENCES,
    accuracies: Iterable[float] = ACCURACIES,
) -> list[Cell]:
    """Every combination."""
    return [Cell(*each) for each in itertools.product(groups, prevalences, accuracies)]


def share(table: dict[str, Any], name: str) -> str:
    """The share of the intervals that hold the truth, in percent; how many there are if few."""
    one = table[name]
    if not one["given"]:
        return "none"
    text = f"{100 * one['holding'] / one['given']:.1f}"
    without = 100 * (1 - one["given"] / one["sets"])
    return text if without < 1 else f"{text} ({without:.0f})"


def summary(rows: list[dict[str, Any]], prevalences: Iterable[float]) -> str:
    """The lowest and the highest share over the cells of a number of groups, as Markdown.

    Where a metric has an interval in less than nine sets of ten, its cell is left out.
    """
    wanted = set(prevalences)
    lines = ["| groups | intervals | " + " | ".join(map(_words, METRICS)) + " |", "|---" * 7 + "|"]
    for groups in sorted({row["groups"] for row in rows}):
        some = [row for row in rows if row["groups"] == groups and row["prevalence"] in wanted]
        for title, kind in KINDS.items():
            ranges = []
            for name in METRICS:
                tables_ = [row[kind][name] for row in some]
                shares = [
                    100 * table["holding"] / table["given"]
                    for table in tables_
                    if table["given"] >= 0.9 * table["sets"]
                ]
                ranges.append(f"{min(shares):.0f} to {max(shares):.0f}" if shares else "-")
            lines.append(f"| {groups} | {title} | " + " | ".join(ranges) + " |")
    return "\n".join(lines) + "\n"


def outside(rows: list[dict[str, Any]]) -> str:
    """The library's figures outside of 93 to 97 %, from 50 groups on, as Markdown.

    With the standard error of each, with where the truth is instead, and with how often the metric
    is exactly 1. Where that is more than 2.5 % of the sets, an interval whose limits are each
    wrong in at most 2.5 % (at any truth, and higher for a higher metric) has its lower limit below
    the truth even at 1, and so always. What is left is an upper limit below the truth: the
    interval holds it in 97.5 % of the sets or more.
    """
    names = ("metric", "holds the truth", "truth below", "truth above", "exactly 1")
    lines = [
        "| groups | prevalence | true accuracy | " + " | ".join(names) + " |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        for name in METRICS:
            one = row["own"][name]
            given = one["given"]
            held = one["holding"] / given if given else 0.95
            if row["groups"] < 50 or 0.93 <= held <= 0.97:
                continue
            error = np.sqrt(held * (1 - held) / given)
            shares = [
                one["below"] / given,
                one["above"] / given,
                row["perfect"][name] / one["sets"],
            ]
            columns = [
                f"{row['groups']}",
                f"{row['prevalence']:g}",
                f"{row['accuracy']:g}",
                _words(name),
                f"{100 * held:.1f} ({100 * error:.1f})",
                *(f"{100 * each:.1f}" for each in shares),
            ]
            lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


def bounds() -> str:
    """What `attainable` gives, as Markdown."""
    lines = ["| samples | true accuracy | below 95 % | from 95 % on |", "|---" * 4 + "|"]
    for samples, accuracy in itertools.product(GROUPS, ACCURACIES):
        found = attainable(samples, accuracy)
        if found is not None:
            shares = " | ".join(f"{100 * each:.1f}" for each in found)
            lines.append(f"| {samples} | {accuracy:g} | {shares} |")
    return "\n".join(lines) + "\n"


def _words(name: str) -> str:
    return "AUC" if name == "auc" else name.replace("_", " ")


def tables(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown tables."""
    head = "| groups | prevalence | true accuracy | "

    def lines(columns: Iterable[str], cells_of: Any) -> list[str]:
        names = list(columns)
        found = [head + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
        for row in rows:
            first = [str(row["groups"]), f"{row['prevalence']:g}", f"{row['accuracy']:g}"]
            found.append("| " + " | ".join([*first, *cells_of(row)]) + " |")
        return found

    words = [_words(name) for name in METRICS]
    text = []
    for title, kind in KINDS.items():
        text += [f"## Intervals: {title}", ""]
        text += lines(words, lambda row, kind=kind: [share(row[kind], name) for name in METRICS])
        text.append("")
    text += ["## Differences found", ""]
    columns = [
        f"{_words(name)}, {kind}" for name in COMPARED for kind in ("equal", "half the errors")
    ]
    text += lines(
        columns,
        lambda row: [
            f"{100 * row[kind].get(name, 0) / row[kind]['sets']:.1f}"
            for name in COMPARED
            for kind in ("equal", "better")
        ],
    )
    text += ["", "## Differences to half the errors: intervals that hold them", ""]
    text += lines(
        map(_words, COMPARED), lambda row: [share(row["difference"], name) for name in COMPARED]
    )
    return "\n".join(text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--sets", type=int, default=SETS, help=f"sets for each cell ({SETS})")
    parser.add_argument("--groups", type=int, nargs="+", default=GROUPS)
    parser.add_argument("--prevalences", type=float, nargs="+", default=PREVALENCES)
    parser.add_argument("--accuracies", type=float, nargs="+", default=ACCURACIES)
    parser.add_argument("--within", type=float, default=WITHIN, help="see coverage_sets.WITHIN")
    parser.add_argument("--largest", type=int, default=LARGEST, help="most images of a patient")
    parser.add_argument("--json", type=Path, help="keep the counts there after each cell")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for cell in cells(options.groups, options.prevalences, options.accuracies):
        cell = attrs.evolve(cell, within=options.within, largest=options.largest)
        started = time.perf_counter()
        rows.append(measured(cell, options.sets))
        print(f"{cell}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"## By groups\n\n{summary(rows, options.prevalences)}")
    print(f"## Outside of 93 to 97 %, from 50 groups on\n\n{outside(rows)}")
    print(f"## What independent samples can reach\n\n{bounds()}")
    print(tables(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
