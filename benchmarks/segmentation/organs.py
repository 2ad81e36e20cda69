"""Drawn volumes of several organs and small lesions, in the layout of the decathlon.

``python -m benchmarks.segmentation.organs FOLDER`` writes them. Voxels are three times as deep as
wide; lesions are of 2 to 5 mm radius, and have one to four ten-thousandths of the voxels.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

SIDES = (144, 144, 40)
SPACING = (1.0, 1.0, 3.0)
STRUCTURES = ("liver", "spleen", "vessel", "lesion")
VOLUMES = 56
TEST = 16


def write(root: Path, volumes: int = VOLUMES) -> Path:
    """Write the volumes; the last `TEST` of them are fold 0, the test."""
    import nibabel
    import numpy as np

    rows = []
    for number in range(volumes):
        image, mask = draw(number)
        name = f"case_{number:03}.nii.gz"
        row: dict[str, Any] = {"fold": int(number < volumes - TEST)}
        for key, values in (("image", image), ("label", mask)):
            place = root / f"{key}sTr" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            affine = np.diag([*SPACING, 1.0])
            made: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
            nibabel.save(made, place)
            row[key] = f"./{key}sTr/{name}"
        rows.append(row)
    with (root / "folds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "fold"])
        writer.writeheader()
        writer.writerows(rows)
    names = {"0": "background", **{str(n): s for n, s in enumerate(STRUCTURES, 1)}}
    about = {
        "name": "organs",
        "modality": {"0": "CT"},
        "labels": names,
        "training": [{key: row[key] for key in ("image", "label")} for row in rows],
    }
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def draw(number: int) -> tuple[Any, Any]:
    """A volume of int16, in Hounsfield units, and its mask of uint8."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(number)
    places = np.stack(np.meshgrid(*[np.arange(side) for side in SIDES], indexing="ij"))
    places = places * np.array(SPACING)[:, None, None, None]
    middle = np.array(SIDES) * SPACING / 2

    def ellipsoid(centre: Any, radii: Any) -> Any:
        away = (places - np.asarray(centre)[:, None, None, None]) / np.asarray(radii)[
            :, None, None, None
        ]
        return (away**2).sum(0) < 1

    mask = np.zeros(SIDES, np.uint8)
    shift = random.normal(0, 4, 3)
    liver = middle + shift + (22, -4, 4)
    mask[ellipsoid(liver, random.uniform((26, 30, 28), (34, 40, 38)))] = 1
    spleen = middle + shift + (-38, -14, 10)
    mask[ellipsoid(spleen, random.uniform((9, 12, 12), (14, 18, 20)))] = 2
    vessel = middle + shift + (-6, -20, 0)
    along = ((places[:2] - vessel[:2, None, None, None]) ** 2).sum(0)
    mask[along < random.uniform(4, 7) ** 2] = 3
    inside = np.argwhere(mask == 1)
    for _ in range(int(random.integers(1, 5))):
        centre = inside[random.integers(len(inside))] * SPACING
        mask[ellipsoid(centre, random.uniform(2.5, 5.5, 3)) & (mask == 1)] = 4
    levels = np.array([20.0, 85.0, 95.0, 120.0, 45.0]) + random.normal(0, 5, 5)
    clean = gaussian_filter(levels[mask], (0.7, 0.7, 0.2))
    noise = gaussian_filter(random.normal(0, 60, SIDES), (0.8, 0.8, 0.3))
    field = gaussian_filter(random.normal(0, 1500, SIDES), 12)
    return np.clip(clean + noise + field, -200, 300).astype(np.int16), mask


if __name__ == "__main__":
    write(Path(sys.argv[1]))
