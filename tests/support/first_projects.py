"""A first project without a mistake, in which each test of the catalogue makes one."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from medpipe import PipelineBuilder
from medpipe.errors import MedpipeError
from medpipe.plugin import DrawnStep, TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from medpipe.plugin import DataInfo


def draw(path: Path, seed: int, *, light: bool, size: int = 16, mode: str = "L") -> Path:
    """Draw a disk on noise, light or dark, and save it."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng(seed)
    picture = Image.fromarray(random.integers(40, 90, (size, size), np.uint8)).convert(mode)
    x, y = (int(place) for place in random.integers(1, size // 2, 2))
    fill = 230 if light else 130
    ImageDraw.Draw(picture).ellipse(
        (x, y, x + size // 3, y + size // 3), fill if mode == "L" else (fill, 90, 90)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def pictures(root: Path, *, dark: int = 60, light: int = 60, **drawn: Any) -> Path:
    """Two folders of images, one for each class."""
    for seed in range(dark + light):
        name = "dark" if seed < dark else "light"
        draw(root / name / f"{seed:03}.png", seed, light=name == "light", **drawn)
    return root


def rows(here: Path, *labels: Any, count: int = 120, **columns: Sequence[Any]) -> Path:
    """A table with an image in each row; the labels are repeated."""
    lines = []
    for seed in range(count):
        label = labels[seed % len(labels)]
        draw(here / "images" / f"{seed:03}.png", seed, light=bool(seed % 2))
        lines.append([f"images/{seed:03}.png", label, *(c[seed] for c in columns.values())])
    with (here / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label", *columns], *lines])
    return here / "table.csv"


def flat_network(data: DataInfo) -> Any:
    """One linear layer."""
    from torch import nn

    pool: Any = nn.AdaptiveAvgPool2d(4) if data.spatial_dims == 2 else nn.AdaptiveAvgPool3d(2)
    values = (16 if data.spatial_dims == 2 else 8) * data.channels
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(values, data.outputs))


def project(dataset: Any, **parameters: Any) -> PipelineBuilder:
    """A pipeline with everything else as it should be."""
    return (
        PipelineBuilder(device="cpu")
        .dataset(dataset, **parameters)
        .network(flat_network)
        .trainer("supervised", max_epochs=20)
        .loader(batch_size=8, workers=0)
    )


def folder(root: Path, **parameters: Any) -> PipelineBuilder:
    """Such a pipeline on a folder of classes."""
    return project("image_folder", root=root, **parameters)


def table(file: Path, **parameters: Any) -> PipelineBuilder:
    """Such a pipeline on a table."""
    return project("table", file=file, **{"image": "{image}", "label": "label", **parameters})


def said_of(make: Callable[[Path], PipelineBuilder], here: Path) -> dict[str, list[str]]:
    """What `build` refuses, or else the problems, warnings and notes of `check`."""
    try:
        report = make(here).build().check()
    except MedpipeError as error:
        return {"refusal": [str(error).replace(str(here), "HERE")]}
    said: dict[str, list[Any]] = {
        "problem": report.problems,
        "warning": report.warnings,
        "note": report.notes,
    }
    return {
        kind: [str(one).replace(str(here), "HERE") for one in some] for kind, some in said.items()
    }


@attrs.frozen(kw_only=True)
class Doubled(TransformStep):
    """Doubles an image, and does something else to a batch."""

    name: ClassVar[str] = "doubled"
    random: ClassVar[bool] = False
    loses: bool

    def build(self) -> Any:
        """Double the image of one sample."""
        return lambda sample: {**sample, "image": 2 * sample["image"]}

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Make the images black, or lose the ids."""
        if self.loses:
            return {"image": 2 * batch["image"], "label": batch["label"]}
        return {**batch, "image": 0 * batch["image"]}


@attrs.frozen(kw_only=True)
class Numbered(DrawnStep):
    """Adds an image's place in its batch to it."""

    name: ClassVar[str] = "numbered"
    prob: float

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw something."""
        return {"any": 1.0}

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Add the places."""
        import torch

        return images + torch.arange(float(len(images))).reshape(-1, 1, 1, 1)
