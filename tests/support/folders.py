"""Folders of real image files for the tests, drawn by the phantom data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe import Registry

if TYPE_CHECKING:
    from pathlib import Path


def phantom(samples: int, size: int = 64) -> Any:
    """A phantom data set."""
    return Registry.discover().datasets["phantom"](samples=samples, size=size).build()


def image_folder(root: Path, *, samples: int = 60, size: int = 32, suffix: str = "png") -> Path:
    """A folder of classes; a file's name begins with its patient: ``p03_...``."""
    from PIL import Image

    dataset = phantom(samples, size)
    for index, sample in enumerate(dataset.samples):
        folder = root / dataset.task.names[sample.label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.image).save(folder / f"p{index // 2:03d}_{index:05d}.{suffix}")
    return root
