"""The training step: images a second, and the most memory."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Bench, Figures

WAYS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "float32, recompute": {"precision": "float32", "recompute": 1},
    "bfloat16": {"precision": "bfloat16"},
}
"""How medpipe trains; the script: float32."""
COMPILED: dict[str, Any] = {"precision": "float32", "compile": 1}
AIMS = {
    "float32": "1.35",
    "float32, recompute": "1.35",
    "float32, compiled": "2.7",
    "bfloat16": "2.7",
}
"""Of the rate."""
CLASSES = 6
"""MedNIST's."""


class TrainingRate:
    """Images a second of the same network, batch and optimizer, on a part of the data."""

    name: ClassVar[str] = "training"
    minutes: ClassVar[str] = "8 minutes a pair"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure the script and medpipe's ways in turn; all train on the whole part.

        To compile takes minutes, and is not counted: it is in the first epoch.
        """
        ways = {**WAYS, "float32, compiled": COMPILED} if shutil.which("g++") else WAYS
        sizes = bench.settings.sizes
        images = 2 * sizes.iterations * sizes.batch_size
        options = {
            "data": bench.part(-(-images // CLASSES)),
            "batch_size": sizes.batch_size,
            "iterations": sizes.iterations,
            "held_out": 0,
        }
        script: list[Figures] = []
        library: dict[str, list[Figures]] = {way: [] for way in ways}
        for pair in range(bench.settings.pairs):
            script.append(bench.script("training", repeat=pair, **options))
            for way, found in library.items():
                found.append(
                    bench.library("training", cache="part", repeat=pair, **ways[way], **options)
                )
        for way, found in library.items():
            yield Line(
                figure=f"training images/s at batch {sizes.batch_size}, {way} (script: float32)",
                script=[one["images_per_second"] for one in script],
                library=[two["images_per_second"] for two in found],
                better="more",
                aim=AIMS[way],
            )


def on_all_data(bench: Bench, pair: int) -> Figures:
    """The script on all of the data: its cache, some iterations, and what three epochs take."""
    sizes = bench.settings.sizes
    return bench.script(
        "training",
        repeat=pair,
        data=bench.mednist,
        batch_size=sizes.batch_size,
        iterations=sizes.iterations,
        epochs=3,
    )


class Memory:
    """The most memory of a process and its workers, training on all of the data."""

    name: ClassVar[str] = "memory"
    minutes: ClassVar[str] = "10 minutes a pair"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure with nothing cached; medpipe's run also packs, validates, tests and writes."""
        sizes, pairs = bench.settings.sizes, range(bench.settings.pairs)
        script = [on_all_data(bench, pair) for pair in pairs]
        for way, chosen in WAYS.items():
            found = [
                bench.library(
                    "training",
                    cache=f"memory-{way}-{pair}",
                    repeat=pair,
                    **chosen,
                    data=bench.mednist,
                    batch_size=sizes.batch_size,
                    iterations=sizes.iterations,
                )
                for pair in pairs
            ]
            for figure, key in (("most memory", "memory"), ("most GPU memory", "device_memory")):
                if key in script[0]:
                    yield Line(
                        figure=f"{figure} in training at batch {sizes.batch_size}, {way} "
                        "(script: float32), GB",
                        script=[one[key] for one in script],
                        library=[two[key] for two in found],
                        aim="2" if key == "memory" else "—",
                    )
