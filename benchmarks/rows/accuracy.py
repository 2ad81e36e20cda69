"""Files to a tested network: the recipe `mednist_fast` beside the script's three epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmarks.rows.epochs import tutorial_script
from benchmarks.rows.training import on_all_data
from benchmarks.table import Line, mean_and_spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Bench, Figures

PHASES = ("start-up", "files", "training", "test")
"""What a run's time goes to, in its order."""


class Accuracy:
    """Wall time from the command to a tested network, start-up included, with its accuracy."""

    name: ClassVar[str] = "accuracy"
    minutes: ClassVar[str] = (
        "3 minutes, and 2 for each seed; with --whole-script three quarters of an hour more"
    )

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure the script once, and medpipe with each seed, nothing cached."""
        settings = bench.settings
        whole = settings.whole_script
        script = tutorial_script(bench) if whole else on_all_data(bench, 0)
        runs = [
            bench.library(
                "recipe",
                cache=f"recipe-{seed}",
                data=bench.mednist,
                seed=seed,
                iterations=settings.sizes.recipe_iterations or 0,
            )
            for seed in range(settings.seeds)
        ]
        reached = mean_and_spread(tuple(run["accuracy"] for run in runs))
        least = mean_and_spread((min(run["accuracy"] for run in runs),))
        theirs = mean_and_spread((script["accuracy"],)) if whole else "extrapolated"
        yield Line(
            figure=f"files to a tested network (script: {theirs}; medpipe: test accuracy "
            f"{reached}, least {least}, {_seeds(len(runs))}), s",
            script=[sum(phases(script).values())],
            library=[sum(phases(run).values()) for run in runs],
            aim="40",
        )


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def phases(figures: Figures) -> dict[str, float]:
    """What the seconds of a process went to, by `PHASES`.

    Start-up is what is left of the wall time: interpreter, imports and end. Where the script was
    extrapolated it is the imports.
    """
    given = figures["phases"]
    if figures.get("extrapolated"):
        start = figures["imports"]
    else:
        start = figures["wall"] - sum(given.values())
    return {"start-up": start, **{name: given[name] for name in PHASES[1:] if name in given}}
