"""From files to batches: the first one, and how many a second after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.machine import cores
from benchmarks.table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Bench, Figures


def _options(bench: Bench) -> dict[str, Any]:
    sizes = bench.settings.sizes
    return {"data": bench.mednist, "batch_size": sizes.batch_size, "seconds": sizes.seconds}


def measured(bench: Bench) -> list[tuple[Figures, Figures, Figures]]:
    """The script; medpipe with nothing cached; medpipe with what that left. In turn."""
    options = _options(bench)
    return [
        (
            bench.script("loading", repeat=pair, **options),
            bench.library("loading", cache=f"loading-{pair}", repeat=2 * pair, **options),
            bench.library("loading", cache=f"loading-{pair}", repeat=2 * pair + 1, **options),
        )
        for pair in range(bench.settings.pairs)
    ]


class First:
    """Files to the first batch in hand; for the script that is its cache build."""

    name: ClassVar[str] = "first"
    minutes: ClassVar[str] = "2 minutes a pair on all of MedNIST"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure, with the imports and without."""
        found = measured(bench)
        script = [one["seconds"] for one, _, _ in found]
        command = [one["from_command"] for one, _, _ in found]
        for index, cached, aim in ((1, "nothing cached", "8"), (2, "cached", "100")):
            library = [triple[index] for triple in found]
            yield Line(
                figure=f"files to first batch, {cached}, s",
                script=script,
                library=[one["seconds"] for one in library],
                aim=aim,
            )
            yield Line(
                figure=f"the same from the command, imports included, {cached}, s",
                script=command,
                library=[one["from_command"] for one in library],
            )


class Batches:
    """Batches a second without training, after the first."""

    name: ClassVar[str] = "batches"
    minutes: ClassVar[str] = "4 minutes a pair on all of MedNIST; with the row first 2"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure with what an earlier run left: it is the later passes that count.

        The tutorial asks for 30 workers. With those that the machine has cores for, the script's
        batches come later than without, so both are measured.
        """
        found = measured(bench)
        yield _rate(
            f"batches of {bench.settings.sizes.batch_size} a second, no training",
            [one for one, _, _ in found],
            [three for _, _, three in found],
        )
        if bench.settings.workers:
            return
        options = {**_options(bench), "workers": cores()}
        pairs = [
            (
                bench.script("loading", repeat=pair, **options),
                bench.library("loading", cache=f"loading-{pair}", repeat=pair, **options),
            )
            for pair in range(bench.settings.pairs)
        ]
        yield _rate(
            f"the same with {cores()} workers on both sides",
            [one for one, _ in pairs],
            [two for _, two in pairs],
        )


def _rate(figure: str, script: list[Figures], library: list[Figures]) -> Line:
    return Line(
        figure=figure,
        script=[one["batches_per_second"] for one in script],
        library=[two["batches_per_second"] for two in library],
        better="more",
        aim="10",
    )
