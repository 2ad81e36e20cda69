"""Drawn images with masks, in the layouts of segmentation data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support.blobs import save


def disc(number: int, size: tuple[int, int] = (48, 48)) -> tuple[Any, Any]:
    """A bright disc on noise, at a place of its own, and its mask of 0 and 255."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[: size[0], : size[1]]
    row, column = generator.uniform(0.25, 0.75, 2) * size
    mask = (rows - row) ** 2 + (columns - column) ** 2 < generator.uniform(5, 9) ** 2
    image = np.clip(90 + 90 * mask + generator.normal(0, 15, size), 0, 255)
    return image.astype(np.uint8), (255 * mask).astype(np.uint8)


def pictures(
    root: Path,
    count: int = 40,
    *,
    masks: str = "masks",
    ending: str = "",
    size: tuple[int, int] = (48, 48),
    two: bool = False,
    name: str = "{:03}",
) -> None:
    """PNG files in ``images`` and in a folder of masks; `two`: the right half has the value 2."""
    for number in range(count):
        image, mask = disc(number, size)
        if two:
            mask = (mask > 0).astype(np.uint8)
            mask[:, size[1] // 2 :] *= 2
        stem = name.format(number)
        for folder, file, values in (("images", stem, image), (masks, stem + ending, mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{file}.png")


def volume(
    number: int, *, side: int = 16, spacing: float = 1.0, values: tuple[int, int] = (1, 2)
) -> tuple[Any, Any, Any]:
    """A ball in a ball on noise, its mask, and the affine."""
    generator = np.random.default_rng(number)
    shape = tuple(int(n) for n in generator.integers(side - 3, side + 1, 3))
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    centre = np.array(shape) / 2 + generator.uniform(-2, 2, 3)
    distance = np.sqrt(((places - centre[:, None, None, None]) ** 2).sum(0))
    mask = np.zeros(shape, np.uint8)
    mask[distance < 5], mask[distance < 3] = values
    image = (mask > 0) + 1.0 * (mask == values[1]) + generator.normal(0, 0.2, shape)
    return image.astype(np.float32), mask, np.diag([spacing, spacing, 2.0, 1.0])


def decathlon(root: Path, count: int = 24, *, spacings: tuple[float, ...] = (1.0,)) -> None:
    """``dataset.json``, ``imagesTr`` and ``labelsTr``, and a table that lists the same files."""
    pairs = []
    for number in range(count):
        image, mask, affine = volume(number, spacing=spacings[number % len(spacings)])
        pair = {}
        for key, folder, values in (("image", "imagesTr", image), ("label", "labelsTr", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            pair[key] = f"./{folder}/ball_{number:03}.nii.gz"
            save(values, affine, root / pair[key])
        pairs.append(pair)
    about = {
        "name": "Balls",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "shell", "2": "core"},
        "numTraining": count,
        "training": pairs,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    rows = "".join(f"{p['image']},{p['label']},{n % 5}\n" for n, p in enumerate(pairs))
    (root / "folds.csv").write_text(f"image,label,fold\n{rows}", encoding="utf-8")


def nnunet(root: Path, count: int = 24, *, version: int = 2, side: int = 16) -> None:
    """Two channels of each case, and its mask."""
    pairs = []
    for number in range(count):
        image, mask, affine = volume(number, side=side)
        case = f"ball_{number:03}"
        for folder in ("imagesTr", "labelsTr"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for channel in (0, 1):
            save(image * (1 - 2 * channel), affine, root / f"imagesTr/{case}_{channel:04}.nii.gz")
        save(mask, affine, root / f"labelsTr/{case}.nii.gz")
        pairs.append({"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"})
    about: dict[str, Any] = {"numTraining": count}
    if version == 2:
        about["channel_names"] = {"0": "T1", "1": "T2"}
        about["labels"] = {"background": 0, "shell": 1, "core": 2}
        about["file_ending"] = ".nii.gz"
    else:
        about["modality"] = {"0": "T1", "1": "T2"}
        about["labels"] = {"0": "background", "1": "shell", "2": "core"}
        about["training"] = pairs
    (root / "dataset.json").write_text(json.dumps(about), encoding="utf-8")


def bids(root: Path, count: int = 24) -> None:
    """A T1w of each subject, and masks of two structures in a derivative."""
    for number in range(count):
        image, mask, affine = volume(number)
        sub = f"sub-{number:02}"
        for folder in (root / sub / "anat", root / "derivatives/manual" / sub / "anat"):
            folder.mkdir(parents=True, exist_ok=True)
        save(image, affine, root / sub / f"anat/{sub}_T1w.nii.gz")
        save(mask, affine, root / "derivatives/manual" / sub / f"anat/{sub}_space-orig_dseg.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "Balls"}', encoding="utf-8")
    (root / "derivatives/manual/dseg.tsv").write_text(
        "index\tname\n1\tshell\n2\tcore\n", encoding="utf-8"
    )


def table(root: Path, count: int = 40, *, columns: int = 1) -> None:
    """A table that names images, and one mask or several of each."""
    pictures(root, count)
    head = ["image", *[f"mask_{place}" for place in range(columns)], "patient"]
    rows = [
        [f"images/{n:03}.png", *[f"masks/{n:03}.png"] * columns, f"p{n // 2}"] for n in range(count)
    ]
    text = "\n".join(",".join(row) for row in [head, *rows])
    (root / "list.csv").write_text(text + "\n", encoding="utf-8")
