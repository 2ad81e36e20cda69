"""What the library costs over a hand-written loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmarks.table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Bench

BATCH = 64
BLOCK = 2
"""Iterations of a block."""


class Overhead:
    """Builder, engine, handlers and loader over a hand-written loop of the same step."""

    name: ClassVar[str] = "overhead"
    minutes: ClassVar[str] = "2 minutes"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure in one process, in blocks in turn; the spread is over the pairs of blocks."""
        found = bench.library(
            "overhead",
            cache="overhead",
            data=bench.part(100),
            batch_size=BATCH,
            iterations=BLOCK,
            blocks=bench.settings.sizes.blocks,
            held_out=0,
        )
        for key, clock in (("overhead", "wall time"), ("processor_overhead", "processor time")):
            yield Line(
                figure=f"overhead over a hand-written loop, {clock}, %",
                library=[100 * share for share in found[key]],
                better="neither",
                aim="under 2",
            )
