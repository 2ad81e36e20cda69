"""Small drawn images and masks, for the examples of dataset steps.

NumPy, Pillow and nibabel are imported inside functions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 12


def draw_picture(path: Path, number: int, *, mask: Path | None = None, value: int = 255) -> None:
    """Write a grey PNG of a square on noise.

    Args:
        path: The file.
        number: Another number gives another image.
        mask: Where to write the mask of the square, too.
        value: What the square has in it.
    """
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(number)
    first = 2 + number % 4
    inside = np.zeros((SIDE, SIDE + 2), bool)
    inside[first : first + 5, 3:9] = True
    values = random.integers(0, 90, inside.shape) + 120 * inside
    for file, shown in ((path, values), (mask, inside * value)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown.astype(np.uint8)).save(file)


def draw_volume(path: Path, number: int, *, mask: Path | None = None, sign: int = 1) -> None:
    """Write a NIfTI volume of a box in a box, and the mask: 1 for the shell and 2 for the core.

    Args:
        path: The file.
        number: Another number gives another volume.
        mask: Where to write the mask, too.
        sign: What the values are multiplied by: -1 for another contrast.
    """
    import nibabel as nib
    import numpy as np

    made: Any = nib.Nifti1Image  # nibabel is not typed whole
    random = np.random.default_rng(number)
    shape = (SIDE, SIDE - 2, 6 + number % 2)
    inside = np.zeros(shape, np.uint8)
    inside[2:9, 2:8, 1:5], inside[4:7, 4:6, 2:4] = 1, 2
    values = sign * (inside + random.normal(0, 0.2, shape))
    for file, shown in ((path, values.astype(np.float32)), (mask, inside)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(made(shown, np.diag([1.0, 1.0, 2.0, 1.0])), file)


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def draw_table(folder: Path) -> Path:
    """Write a table of eight pictures of four patients, with labels of each kind."""
    rows = ["image,label,one,two,age,mask,patient"]
    for number in range(8):
        image, mask = f"images/{number}.png", f"masks/{number}.png"
        draw_picture(folder / image, number, mask=folder / mask)
        findings = f"{number % 2},{'' if number == 5 else number // 4}"
        rows.append(f"{image},{'ab'[number % 2]},{findings},{40.5 + number},{mask},p{number // 2}")
    file = folder / "list.csv"
    file.write_text("\n".join(rows), encoding="utf-8")
    return file
