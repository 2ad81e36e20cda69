"""Drawn radiographs and volumes of two classes, with and without a finding; of a fixed seed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from benchmarks.settings import Study

    Array = np.ndarray[Any, Any]

CLASSES = ("clear", "finding")
SEED = 20_240_511
COARSE = 8
"""A radiograph's shapes are drawn at an eighth of its size: they are smooth, and it is quick."""


def radiographs(into: Path, study: Study) -> Path:
    """Write 8-bit grey JPEG files: a chest with dark lungs, ribs and noise, and in half a blur."""
    return _written(into, study, _radiograph)


def volumes(into: Path, study: Study) -> Path:
    """Write NIfTI files of int16: a head of two tissues and noise, and in half a bright spot."""
    return _written(into, study, _volume)


def _written(
    into: Path,
    study: Study,
    draw: Callable[[np.random.Generator, Sequence[int], bool, Path], None],
) -> Path:
    """A folder for each class, of half the images; what is there already is taken."""
    import numpy as np

    if into.exists():
        return into
    unfinished = into.with_name(f"{into.name}.unfinished")
    for name in CLASSES:
        (unfinished / name).mkdir(parents=True, exist_ok=True)

    def one(number: int) -> None:
        generator = np.random.default_rng([SEED, number])
        sides = [int(generator.integers(low, high + 1)) for low, high in study.sides]
        draw(generator, sides, bool(number % 2), unfinished / CLASSES[number % 2] / f"{number:04d}")

    with ThreadPoolExecutor() as threads:
        list(threads.map(one, range(study.images)))
    return unfinished.rename(into)


def _radiograph(
    generator: np.random.Generator, sides: Sequence[int], finding: bool, path: Path
) -> None:
    import numpy as np
    from PIL import Image

    height, width = sides
    y, x = _places(max(8, height // COARSE), max(8, width // COARSE))
    chest = 150 * _soft(x / 0.85, y / 0.95) + 40 * generator.random()
    lungs = [(side * generator.uniform(0.36, 0.44), -0.05) for side in (-1, 1)]
    for over, down in lungs:
        chest -= 95 * _soft((x - over) / 0.3, (y - down) / 0.6)
    chest += 12 * np.sin(generator.uniform(16, 22) * (y + 0.3 * x * x)) * (chest > 40)
    if finding:
        over, down = lungs[int(generator.integers(2))]
        over, down = over + generator.uniform(-0.08, 0.08), down + generator.uniform(-0.25, 0.25)
        size = generator.uniform(0.1, 0.16)
        chest += 110 * np.exp(-((x - over) ** 2 + (y - down) ** 2) / size**2)
    small = Image.fromarray(chest.clip(0, 235).astype(np.uint8))
    large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    # The raw bits of a generator, ten times as quick as a normal distribution.
    noise = np.frombuffer(generator.bytes(large.size), np.uint8).reshape(large.shape) >> 4
    Image.fromarray(large + noise).save(path.with_suffix(".jpeg"), quality=90)


def _volume(
    generator: np.random.Generator, sides: Sequence[int], finding: bool, path: Path
) -> None:
    import nibabel
    import numpy as np

    make_image: Any = nibabel.Nifti1Image  # it has no types

    z, y, x = _places(*sides)
    head = 500 * _soft(x / 0.8, y / 0.85, z / 0.85) + 300 * _soft(x / 0.5, y / 0.55, z / 0.5)
    if finding:
        middle = generator.uniform(-0.35, 0.35, 3)
        distance = sum((place - at) ** 2 for place, at in zip((z, y, x), middle, strict=True))
        head += 900 * np.exp(-distance / generator.uniform(0.15, 0.22) ** 2)
    head += generator.normal(0, 40, head.shape)
    image = make_image(head.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
    nibabel.save(image, path.with_name(f"{path.name}.nii.gz"))


def _places(*sides: int) -> tuple[Array, ...]:
    """Where each pixel lies along each axis, from -1 to 1, in shapes that broadcast."""
    import numpy as np

    lines = [np.linspace(-1, 1, side, dtype=np.float32) for side in sides]
    return tuple(np.meshgrid(*lines, indexing="ij", sparse=True))


def _soft(*places: Array) -> Array:
    """How much of each pixel a ball of radius 1 covers, with a soft rim."""
    distance: Array = sum((place**2 for place in places), start=places[0] * 0)
    covered: Array = ((1.1 - distance) * 5).clip(0, 1)
    return covered
