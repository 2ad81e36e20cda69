"""The files that both sides read: MedNIST, a part of it, or drawn images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpipe.plugin import Sample


def folder_of_classes(into: Path, per_class: int | None) -> tuple[Path, str]:
    """A folder with one folder of images for each class, and what it holds.

    Args:
        into: Where to write a part of the images or drawn ones.
        per_class: How many of each class; None: all there are.
    """
    named = os.environ.get("MEDPIPE_DATA")
    if named is None:
        return _drawn(into, 6 * (per_class or 1000)), "drawn images (phantom)"
    from medpipe import Registry

    samples: tuple[Sample, ...] = Registry.discover().datasets["mednist"]().build().samples
    if per_class is None:
        return Path(str(samples[0].image)).parent.parent, f"MedNIST, {len(samples)} images"
    taken: dict[str, int] = {}
    for sample in samples:
        source = Path(str(sample.image))
        kind = source.parent.name
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] <= per_class:
            (into / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, into / kind / source.name)
    return into, f"MedNIST, {per_class} images of each class"


def _drawn(into: Path, count: int) -> Path:
    import numpy as np
    from PIL import Image

    from medpipe import Registry

    dataset = Registry.discover().datasets["phantom"](samples=count, size=64).build()
    for index, sample in enumerate(dataset.samples):
        kind = into / dataset.task.names[int(sample.label)]  # type: ignore[arg-type]
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(sample.image, np.uint8)).save(kind / f"{index:06d}.png")
    return into
