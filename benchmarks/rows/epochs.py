"""Whole trainings of some epochs: the tutorial's, and on drawn radiographs and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.table import Line, mean_and_spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Bench, Figures
    from benchmarks.settings import Study

LEARNING_RATE = 1e-4
"""Of the drawn data, with Adam, on both sides."""


def tutorial_script(bench: Bench) -> Figures:
    """The script's three epochs in full, and its test."""
    return bench.script("whole", **_tutorial(bench))


def _tutorial(bench: Bench) -> dict[str, Any]:
    sizes = bench.settings.sizes
    return {
        "data": bench.mednist,
        "batch_size": sizes.batch_size,
        "epochs": 1 if bench.settings.quick else 3,
    }


class Tutorial:
    """The tutorial's three epochs in full, from the command to the tested network."""

    name: ClassVar[str] = "tutorial"
    minutes: ClassVar[str] = "two hours on two cores, some minutes on a GPU; not by default"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure once: it takes long."""
        script = tutorial_script(bench)
        for precision in ("float32", "auto"):
            options = _tutorial(bench)
            run = bench.library(
                "whole", cache=f"tutorial-{precision}", precision=precision, **options
            )
            yield _line("the tutorial's epochs on MedNIST", [script], [run], precision, "5 (GPU)")


def _study_lines(bench: Bench, name: str, title: str, study: Study, aim: str) -> Iterator[Line]:
    """Both sides on drawn images: the script, float32 and auto in turn, nothing cached."""
    options = {
        "data": getattr(bench, name),
        "batch_size": study.batch_size,
        "epochs": study.epochs,
        "network": study.network,
        "learning_rate": LEARNING_RATE,
        "input_side": study.input_side or 0,
        "augment": 1,
    }
    script: list[Figures] = []
    library: dict[str, list[Figures]] = {"float32": [], "auto": []}
    for pair in range(bench.settings.pairs):
        script.append(bench.script("whole", repeat=pair, **options))
        for precision, found in library.items():
            cache = f"{name}-{precision}-{pair}"
            found.append(
                bench.library("whole", cache=cache, repeat=pair, precision=precision, **options)
            )
    for precision, found in library.items():
        yield _line(title, script, found, precision, aim)


def _line(
    title: str, script: list[Figures], library: list[Figures], precision: str, aim: str
) -> Line:
    reached = [
        mean_and_spread(tuple(one["accuracy"] for one in side)) for side in (script, library)
    ]
    used = library[0]["precision"]
    shown = precision if precision == used else f"{precision}: {used}"
    return Line(
        figure=f"{title}, {shown} (test accuracy {reached[0]}, medpipe {reached[1]}), s",
        script=[one["wall"] for one in script],
        library=[two["wall"] for two in library],
        aim=aim,
    )


def _epochs(study: Study) -> str:
    return "1 epoch" if study.epochs == 1 else f"{study.epochs} epochs"


class Radiographs:
    """Drawn radiographs, resized and augmented: from the command to a tested network."""

    name: ClassVar[str] = "radiographs"
    minutes: ClassVar[str] = "10 minutes a pair, after one of drawing"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure."""
        study = bench.settings.sizes.radiographs
        low, high = study.sides[0]
        title = (
            f"{study.images} radiographs of {low:,} to {high:,} pixels at {study.input_side}, "
            f"{_epochs(study)} of {study.network}"
        )
        yield from _study_lines(bench, self.name, title, study, "2.5")


class Volumes:
    """Small drawn volumes, augmented, in 3-D."""

    name: ClassVar[str] = "volumes"
    minutes: ClassVar[str] = "10 minutes a pair"

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure."""
        study = bench.settings.sizes.volumes
        shape = " x ".join(str(low) for low, _ in study.sides)
        title = f"{study.images} volumes of {shape}, {_epochs(study)} of {study.network}"
        yield from _study_lines(bench, self.name, title, study, "—")
