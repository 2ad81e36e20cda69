"""The files that both sides read: MedNIST, a part of it, drawn images, or the set repeated."""

from __future__ import annotations

import os
import shutil
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medpipe.plugin import Sample

SUFFIXES = (".jpeg", ".jpg", ".png", ".nii.gz")


def source() -> str:
    """What the images are, for people."""
    return "MedNIST" if "MEDPIPE_DATA" in os.environ else "drawn images (phantom)"


def folder_of_classes(into: Path, per_class: int | None) -> Path:
    """A folder with one folder of images for each class.

    Args:
        into: Where to write a part of the images or drawn ones; what is there already is taken.
        per_class: How many of each class; None: all there are, of drawn ones 1,000.
    """
    if into.exists():
        return into
    unfinished = into.with_name(f"{into.name}.unfinished")
    if "MEDPIPE_DATA" not in os.environ:
        return _drawn(unfinished, 6 * (per_class or 1000)).rename(into)
    from medpipe import Registry

    samples: tuple[Sample, ...] = Registry.discover().datasets["mednist"]().build().samples
    if per_class is None:
        return Path(str(samples[0].image)).parent.parent
    taken: dict[str, int] = {}
    for sample in samples:
        file = Path(str(sample.image))
        kind = file.parent.name
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] <= per_class:
            (unfinished / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, unfinished / kind / file.name)
    return unfinished.rename(into)


def repeated(folder: Path, into: Path, count: int) -> Path:
    """A folder of so many images: those of `folder`, as often as it takes.

    Each file lies in `into` once and is linked to as often as it is repeated, so that the disk
    holds the set once; to a program that reads them they are files like others.
    """
    if into.exists():
        return into
    found = [
        file
        for kind in sorted(item for item in folder.iterdir() if item.is_dir())
        for file in sorted(kind.iterdir())
        if file.name.lower().endswith(SUFFIXES)
    ]
    if count < len(found):  # files from all of the set, so that every class is there
        found = [found[number * len(found) // count] for number in range(count)]
    unfinished = into.with_name(f"{into.name}.unfinished")
    copies: dict[Path, Path] = {}
    for number, file in enumerate(islice(cycle(found), count)):
        target = unfinished / file.parent.name / f"{number:07d}-{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if file in copies:
            os.link(copies[file], target)
        else:
            shutil.copyfile(file, target)
            copies[file] = target
    return unfinished.rename(into)


def _drawn(into: Path, count: int) -> Path:
    import numpy as np
    from PIL import Image

    from medpipe import Registry

    phantom: Any = Registry.discover().datasets["phantom"]
    dataset = phantom(samples=count, size=64).build()
    for index, sample in enumerate(dataset.samples):
        kind = into / dataset.task.names[int(sample.label)]
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(sample.image, np.uint8)).save(kind / f"{index:06d}.png")
    return into
