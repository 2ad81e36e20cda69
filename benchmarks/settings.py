"""How much each row measures: the full setting, and a quick one that ends in about a minute."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Study:
    """Drawn images of two classes that both sides train on, from files to a tested network.

    Attributes:
        images: How many.
        sides: The least and the most pixels or voxels of each side of an image.
        input_side: To which side they are resized; None: they are as they are.
        network: By medpipe's name.
        batch_size: Samples in a batch.
        epochs: Passes of the training split.
    """

    images: int
    sides: tuple[tuple[int, int], ...]
    input_side: int | None = None
    network: str = "densenet121"
    batch_size: int = 16
    epochs: int = 3


@attrs.frozen(kw_only=True)
class Sizes:
    """What the rows measure.

    Attributes:
        per_class: Images of each class of MedNIST; None: all.
        batch_size: Of all rows on MedNIST but those of recipes.
        seconds: How long batches are counted.
        iterations: Iterations that are timed, after as many that are not.
        blocks: Pairs of blocks of the row of overhead.
        recipe_iterations: Of the recipe; None: its own.
        radiographs: The row of that name.
        volumes: The row of that name.
        growth: Numbers of images.
    """

    per_class: int | None = None
    batch_size: int = 512
    seconds: float = 10.0
    iterations: int = 4
    blocks: int = 16
    recipe_iterations: int | None = None
    radiographs: Study = Study(
        images=500, sides=((1000, 3000), (1000, 3000)), input_side=224, batch_size=16
    )
    volumes: Study = Study(images=60, sides=((48, 48), (64, 64), (64, 64)), batch_size=4)
    growth: tuple[int, ...] = (10_000, 58_954, 500_000)


FULL = Sizes()
QUICK = Sizes(
    per_class=100,
    batch_size=64,
    seconds=2.0,
    iterations=2,
    blocks=3,
    recipe_iterations=10,
    radiographs=Study(
        images=60,
        sides=((500, 1000), (500, 1000)),
        input_side=64,
        network="resnet10",
        batch_size=16,
        epochs=1,
    ),
    volumes=Study(
        images=20, sides=((24, 24), (32, 32), (32, 32)), network="resnet10", batch_size=4, epochs=1
    ),
    growth=(300, 600),
)


@attrs.frozen(kw_only=True)
class Settings:
    """What was asked for on the command line.

    Attributes:
        sizes: How much each row measures.
        quick: Whether these are the quick ones.
        pairs: How often each side is measured, in turn.
        workers: Worker processes of both sides' loaders.
        seeds: Seeds of the row of accuracy.
        whole_script: Whether the script is run to its end there, rather than extrapolated.
        scratch: A folder for files and caches, empty at the start.
        rows: The names of the rows.
    """

    sizes: Sizes = FULL
    quick: bool = False
    pairs: int = 3
    workers: int = 0
    seeds: int = 5
    whole_script: bool = False
    scratch: Path
    rows: tuple[str, ...]
