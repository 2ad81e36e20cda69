"""How cost grows with the number of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmarks.table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Bench

FIGURES = (
    ("cache build, images/s", "built", "within 15 %"),
    ("loading, images/s", "loaded", "within 15 %"),
    ("most memory, GB", "memory", "flat"),
    ("most memory without pages of files, GB", "own_memory", "flat"),
)


class Growth:
    """Images a second of cache build and loading, and memory, at several sizes of the set."""

    name: ClassVar[str] = "growth"
    minutes: ClassVar[str] = "10 minutes"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure medpipe alone; what grows is compared with the smallest size."""
        sizes = bench.settings.sizes
        first: dict[str, float] = {}
        for count in sizes.growth:
            found = bench.library(
                "loading",
                cache=f"growth-{count}",
                data=bench.repeated(count),
                batch_size=sizes.batch_size,
                seconds=sizes.seconds,
            )
            # The list, the look at every file, the check and the packing.
            found["built"] = count / found["build_seconds"]
            found["loaded"] = found["batches_per_second"] * sizes.batch_size
            for title, key, aim in FIGURES:
                value = found[key]
                more = value / first.setdefault(key, value)
                than = "" if count == sizes.growth[0] else f" ({more:.2f} of the smallest)"
                figure = f"{count:,} images: {title}{than}"
                yield Line(figure=figure, library=[value], better="neither", aim=aim)
