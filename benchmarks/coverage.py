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
import itertools
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from scipy.stats import norm

from medpipe.evaluation.comparison import difference
from medpipe.evaluation.intervals import (
    logit_interval,
    mean_proportion_interval,
    proportion_interval,
)
from medpipe.evaluation.resampling import bootstrap, jackknife
from medpipe.registry.registry import Registry
from medpipe.steps import MetricStep, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Array = np.ndarray[Any, np.dtype[Any]]
    Interval = list[float] | tuple[float, float] | None

GROUPS = (10, 20, 50, 200)
PREVALENCES = (0.1, 0.3, 0.5)
ACCURACIES = (0.7, 0.8, 0.9, 0.95, 0.99)
SETS = 2000
LARGEST = 7
"""A patient has 1 to 7 images, as many of each."""
WITHIN = 0.5
"""The share of the scores' variance that images of one patient have in common."""
COMMON = 0.6
"""The share of the scores' variance that two networks have in common."""
OTHERS_EVERY = 5
"""The other methods, which take longer, see one set in five."""
METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc")
COMPARED = ("accuracy", "balanced_accuracy", "auc")

_REGISTRY = Registry.discover()
# As a finding, so that there is one ranking rather than two of the same.
_FINDING = Task(kind="multilabel", names=("ill",))
_AUC = _REGISTRY.create(MetricStep, "auc")


@attrs.frozen
class Cell:
    """What sets are drawn from."""

    groups: int
    prevalence: float
    accuracy: float

    @property
    def better(self) -> float:
        """The accuracy of a network that makes half as many errors."""
        return 1 - (1 - self.accuracy) / 2


@attrs.frozen(eq=False)
class Drawn:
    """A test set: arrays of shape (images,), and scores of three networks, (3, images).

    The first network and the second are equally good, the third makes half as many errors. A score
    above 0 says ill.
    """

    places: Array
    ill: Array
    scores: Array


def truth(accuracy: float) -> dict[str, float]:
    """The true metrics of a network with this accuracy in both classes."""
    auc = float(norm.cdf(np.sqrt(2) * norm.ppf(accuracy)))
    return {**dict.fromkeys(METRICS, accuracy), "auc": auc}


def drawn(cell: Cell, sets: int, *, seed: int = 0) -> Iterator[Drawn]:
    """Draw test sets; those without both classes are drawn again."""
    numbers = (cell.groups, round(1000 * cell.prevalence), round(1000 * cell.accuracy))
    rng = np.random.default_rng([seed, *numbers])
    means = norm.ppf([cell.accuracy, cell.accuracy, cell.better])
    while sets:
        sizes = rng.integers(1, LARGEST + 1, size=cell.groups)
        ill_groups = rng.random(cell.groups) < cell.prevalence
        if ill_groups.all() or not ill_groups.any():
            continue
        places = np.repeat(np.arange(cell.groups), sizes)
        ill = ill_groups[places]
        of_groups = _correlated(rng, cell.groups)[:, places]
        noise = np.sqrt(WITHIN) * of_groups + np.sqrt(1 - WITHIN) * _correlated(rng, len(places))
        yield Drawn(places, ill, np.where(ill, 1, -1) * means[:, None] + noise)
        sets -= 1


def _correlated(rng: np.random.Generator, count: int) -> Array:
    """Standard normal numbers of three networks, (3, count)."""
    common, own = rng.normal(size=count), rng.normal(size=(3, count))
    return np.asarray(np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own)


class Counts:
    """Of how many intervals there are, how many hold the truth, by name."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = defaultdict(int)
        self.given: dict[str, int] = defaultdict(int)
        self.holding: dict[str, int] = defaultdict(int)

    def add(self, name: str, interval: Interval, true: float) -> None:
        """Count an interval; None where there is none."""
        self.asked[name] += 1
        if interval is not None:
            self.given[name] += 1
            self.holding[name] += bool(interval[0] <= true <= interval[1])

    def record(self) -> dict[str, dict[str, int]]:
        """Plain data for JSON."""
        return {
            name: {"sets": n, "given": self.given[name], "holding": self.holding[name]}
            for name, n in self.asked.items()
        }


def measured(cell: Cell, sets: int, *, others_every: int = OTHERS_EVERY) -> dict[str, Any]:
    """Count for one cell.

    Returns:
        Plain data: ``own``, ``ignored`` and ``percentiles`` (for each metric how many sets, how
        many intervals and how many that hold the truth), ``equal`` and ``better`` (of the
        difference: ``sets``, ``found``).
    """
    true, better = truth(cell.accuracy), truth(cell.better)
    counts = {name: Counts() for name in ("own", "ignored", "percentiles", "difference")}
    found: dict[str, dict[str, int]] = {"equal": defaultdict(int), "better": defaultdict(int)}
    for number, one in enumerate(drawn(cell, sets)):
        networks = networks_on(one)
        for name, interval in networks[0].intervals().items():
            counts["own"].add(name, interval, true[name])
        for name in COMPARED:
            for kind, other, target in (("equal", 1, true), ("better", 2, better)):
                gap = difference(
                    (networks[0].values[name], networks[other].values[name]),
                    (networks[0].left_out[name], networks[other].left_out[name]),
                ).interval
                found[kind][name] += bool(gap and not gap[0] <= 0 <= gap[1])
                if kind == "better":
                    counts["difference"].add(name, gap, target[name] - true[name])
        if number % others_every == 0:
            (apart,) = networks_on(Drawn(np.arange(len(one.ill)), one.ill, one.scores[:1]))
            for name, interval in apart.intervals().items():
                counts["ignored"].add(name, interval, true[name])
            for name, interval in networks[0].percentiles().items():
                counts["percentiles"].add(name, interval, true[name])
    return {
        **attrs.asdict(cell),
        **{name: each.record() for name, each in counts.items()},
        **{kind: {"sets": sets, **table} for kind, table in found.items()},
    }


class _Network:
    """The library's figures of one network on a set."""

    left_out: dict[str, Array]

    def __init__(self, one: Drawn, scores: Array) -> None:
        self.places = one.places
        right = ((scores > 0) == one.ill).astype(np.float64)
        ill = one.ill.astype(np.float64)
        self.right = np.stack([right, right], axis=1)
        self.counted = np.stack([ill, 1 - ill], axis=1)
        probabilities = norm.cdf(scores)[:, None]
        rows = _AUC.rows(probabilities, ill[:, None], _FINDING)
        hits, images = self.right * self.counted, self.counted

        def recalls(weights: Array) -> Array:
            totals = images.T @ weights
            shares = np.full(totals.shape, np.nan)
            np.divide(hits.T @ weights, totals, out=shares, where=totals > 0)
            return shares

        self.statistics: dict[str, Callable[[Array], Array]] = {
            "accuracy": lambda weights: right @ weights / weights.sum(axis=0),
            "balanced_accuracy": lambda weights: recalls(weights).mean(axis=0),
            "auc": _AUC.statistic(rows, _FINDING),
            "sensitivity": lambda weights: recalls(weights)[0],
            "specificity": lambda weights: recalls(weights)[1],
        }
        whole = np.ones((len(right), 1))
        self.values = {name: float(each(whole)[0]) for name, each in self.statistics.items()}

    def intervals(self) -> dict[str, Interval]:
        right, counted, places = self.right, self.counted, self.places
        return {
            "accuracy": proportion_interval(right[:, 0], np.ones(len(right)), places),
            "balanced_accuracy": mean_proportion_interval(right, counted, places),
            "sensitivity": proportion_interval(right[:, 0], counted[:, 0], places),
            "specificity": proportion_interval(right[:, 1], counted[:, 1], places),
            "auc": logit_interval(self.values["auc"], self.left_out["auc"]),
        }

    def percentiles(self) -> dict[str, Interval]:
        resampled = bootstrap(self.places, self.statistics)
        found: dict[str, Interval] = {}
        for name, values in resampled.items():
            known = values[np.isfinite(values)]
            undefined = len(values) - len(known) > 0.05 * len(values)
            found[name] = None if undefined else tuple(np.percentile(known, [2.5, 97.5]))
        return found


def networks_on(one: Drawn) -> list[_Network]:
    """The figures of each network, with each group left out of all in turn."""
    networks = [_Network(one, scores) for scores in one.scores]
    left_out = jackknife(
        one.places,
        {
            (place, name): network.statistics[name]
            for place, network in enumerate(networks)
            for name in COMPARED
        },
    )
    for place, network in enumerate(networks):
        network.left_out = {name: left_out[place, name] for name in COMPARED}
    return networks


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


def tables(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown tables."""
    head = "| groups | prevalence | accuracy | "

    def lines(columns: Iterable[str], cells_of: Any) -> list[str]:
        names = list(columns)
        found = [head + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
        for row in rows:
            first = [str(row["groups"]), f"{row['prevalence']:g}", f"{row['accuracy']:g}"]
            found.append("| " + " | ".join([*first, *cells_of(row)]) + " |")
        return found

    words = [name.replace("_", " ") for name in METRICS]
    text = []
    for title, kind in (
        ("The library's intervals", "own"),
        ("With groups ignored", "ignored"),
        ("Percentiles of the bootstrap over groups", "percentiles"),
    ):
        text += [f"## {title}", ""]
        text += lines(words, lambda row, kind=kind: [share(row[kind], name) for name in METRICS])
        text.append("")
    text += ["## Differences found", ""]
    columns = [
        f"{name.replace('_', ' ')}, {kind}"
        for name in COMPARED
        for kind in ("equal", "half the errors")
    ]
    text += lines(
        columns,
        lambda row: [
            f"{100 * row[kind].get(name, 0) / row[kind]['sets']:.1f}"
            for name in COMPARED
            for kind in ("equal", "better")
        ],
    )
    return "\n".join(text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--sets", type=int, default=SETS, help=f"sets for each cell ({SETS})")
    parser.add_argument("--groups", type=int, nargs="+", default=GROUPS)
    parser.add_argument("--prevalences", type=float, nargs="+", default=PREVALENCES)
    parser.add_argument("--accuracies", type=float, nargs="+", default=ACCURACIES)
    parser.add_argument("--json", type=Path, help="keep the counts there after each cell")
    options = parser.parse_args()
    rows = []
    for cell in cells(options.groups, options.prevalences, options.accuracies):
        started = time.perf_counter()
        rows.append(measured(cell, options.sets))
        print(f"{cell}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(tables(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
