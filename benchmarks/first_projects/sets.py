"""The twelve data sets: how many images, of what, and which figure is compared."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from benchmarks.first_projects import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.first_projects.drawn import Array

SEED = 20_261_129
TEST = 1000


@attrs.frozen(kw_only=True)
class ImageSet:
    """A data set, drawn or real.

    Attributes:
        name: The name of its configurations: ``NAME.toml`` and ``NAME.tuned.toml``.
        images: Images besides those of the test.
        about: What they are.
        metric: What is compared, of the test.
        write: Writes files into a folder: images, and a table where there is one.
        epochs: Where it would take too long, the epochs of both sides.
    """

    name: str
    images: int
    about: str
    metric: Literal["balanced_accuracy", "auc", "r2"] = "balanced_accuracy"
    write: Callable[[Path, int], None]
    epochs: int | None = None

    def folder(self, scratch: Path) -> Path:
        """The folder with the files; what is there already is taken."""
        into = scratch / "data" / self.name
        if not into.exists():
            unfinished = into.with_name(f"{self.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            self.write(unfinished, self.images)
            unfinished.rename(into)
        return into


def classes(
    draw: Callable[[Any, int], Array], names: Sequence[str], *, weights: Sequence[float] = ()
) -> Callable[[Path, int], None]:
    """Folders ``train`` and ``test`` with a folder for each class."""
    import numpy as np

    def write(into: Path, count: int) -> None:
        shares = np.array(weights or [1.0] * len(names)) / sum(weights or [1.0] * len(names))
        for part, number, generator in _generators(count):
            at = (number * 0.618034) % 1 if weights else number % len(names) / len(names) + 1e-9
            kind = int(np.searchsorted(np.cumsum(shares), at, side="right"))
            folder = into / part / names[kind]
            folder.mkdir(parents=True, exist_ok=True)
            _save(folder / f"{number:05d}", draw(generator, kind))

    return write


def findings_table(into: Path, count: int) -> None:
    """A table with a column for each finding; one cell in fifty is blank."""
    rows = []
    for part, number, generator in _generators(count):
        present = [int(generator.random() < 0.35) for _ in drawn.FINDINGS]
        (into / "images").mkdir(exist_ok=True)
        _save(into / f"images/{part}{number:05d}", drawn.findings(generator, present))
        told = ["" if generator.random() < 0.02 else value for value in present]
        names = zip(drawn.FINDINGS, told, strict=True)
        rows.append({"image": f"images/{part}{number:05d}.png", "split": part, **dict(names)})
    _table(into / "table.csv", rows)


def ages_table(into: Path, count: int) -> None:
    """A table with an age from 0 to 100."""
    rows = []
    for part, number, generator in _generators(count):
        age = round(generator.uniform(0, 100), 1)
        (into / "images").mkdir(exist_ok=True)
        _save(into / f"images/{part}{number:05d}", drawn.ages(generator, age))
        rows.append({"image": f"images/{part}{number:05d}.png", "split": part, "age": age})
    _table(into / "table.csv", rows)


def mednist(into: Path, count: int) -> None:
    """Real images of MedNIST, as many of each class; 1,200 more are the test."""
    root = real("MedNIST")
    kinds = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    test, training = 1200 // len(kinds), -(-count // len(kinds))
    for place, kind in enumerate(kinds):
        files = sorted((root / kind).iterdir())
        files = [files[number * 7919 % len(files)] for number in range(test + training)]
        surplus = place >= count % len(kinds) > 0
        for number, file in enumerate(files[: len(files) - surplus]):
            folder = into / ("test" if number < test else "train") / kind
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)


def nuclei(into: Path, count: int) -> None:
    """Real micrographs, and the share of the pixels that nuclei cover, in percent."""
    (into / "images").mkdir()
    rows, found = [], nuclei_rows()
    for number, (file, covered) in enumerate(found):
        shutil.copy(file, into / "images")
        trains = number * count // len(found) < (number + 1) * count // len(found)
        part = "train" if trains else "test"
        rows.append({"image": f"images/{file.name}", "split": part, "covered": covered})
    _table(into / "table.csv", rows)


def nuclei_rows() -> list[tuple[Path, float]]:
    """Each micrograph of the 2018 Data Science Bowl, and what nuclei cover, in percent."""
    import numpy as np
    from PIL import Image

    root = real("nuclei")
    masks = {file: root / "masks" / file.name for file in sorted((root / "images").iterdir())}
    return [
        (file, round(100 * float((np.asarray(Image.open(mask)) > 0).mean()), 3))
        for file, mask in masks.items()
    ]


def _generators(count: int) -> Iterator[tuple[str, int, Any]]:
    """The part, the number and the random numbers of each image."""
    import numpy as np

    for place, (part, many) in enumerate((("train", count), ("test", TEST))):
        for number in range(many):
            yield part, number, np.random.default_rng([SEED, place, number])


def _save(path: Path, image: Array) -> None:
    """As PNG; a volume as NIfTI."""
    if image.dtype == "int16":
        import nibabel
        import numpy as np

        make: Any = nibabel.Nifti1Image  # it has no types
        nibabel.save(make(image, np.eye(4)), path.with_name(f"{path.name}.nii.gz"))
        return
    from PIL import Image

    Image.fromarray(image).save(path.with_name(f"{path.name}.png"))


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def real(name: str) -> Path:
    """A folder of real images, below the one that ``MEDPIPE_DATA`` names."""
    root = Path(os.environ.get("MEDPIPE_DATA", ".")).expanduser() / name
    if not root.is_dir():
        raise FileNotFoundError(f"There is no {root}. Set MEDPIPE_DATA to the folder of {name}.")
    return root


TWO = ("clear", "finding")
SETS = (
    ImageSet(
        name="textures",
        images=60,
        about="64 px RGB, 2 textures",
        write=classes(drawn.textures, ("grains", "stripes")),
    ),
    ImageSet(
        name="volumes",
        images=60,
        about="32 voxels, a bright spot or none",
        write=classes(drawn.volumes, TWO),
    ),
    ImageSet(
        name="spots",
        images=200,
        about="64 px grey, a soft spot or none",
        write=classes(drawn.spots, TWO),
    ),
    ImageSet(name="mednist", images=60, about="64 px grey, 6 kinds, real", write=mednist),
    ImageSet(
        name="nuclei",
        images=531,
        about="RGB of 9 sizes, the share of nuclei, real",
        metric="r2",
        write=nuclei,
    ),
    ImageSet(
        name="shapes",
        images=600,
        about="32 px grey, 6 shapes",
        write=classes(drawn.shapes, drawn.SHAPES),
    ),
    ImageSet(
        name="ages",
        images=600,
        about="32 px grey, a regression",
        metric="r2",
        write=ages_table,
    ),
    ImageSet(
        name="findings",
        images=1000,
        about="32 px grey, 4 findings in a table",
        metric="auc",
        write=findings_table,
    ),
    ImageSet(
        name="rare",
        images=1000,
        about="32 px grey, a spot in 1 of 10",
        write=classes(drawn.rare, TWO, weights=(0.9, 0.1)),
    ),
    ImageSet(
        name="hard",
        images=6000,
        about="32 px grey, 2 shapes, 15 % of labels wrong",
        write=classes(drawn.hard, ("disc", "square")),
    ),
    ImageSet(
        name="digits",
        images=20_000,
        about="32 px grey, 10 digits",
        write=classes(drawn.digits, tuple("0123456789")),
        epochs=2,
    ),
    ImageSet(
        name="coloured",
        images=60_000,
        about="32 px RGB, 6 shapes before bars",
        write=classes(drawn.coloured, drawn.SHAPES),
        epochs=1,
    ),
)
