"""Draw docs/images/phantom.png: drawn images of the six classes, with their names.

Run it from anywhere: ``python docs/make_pictures.py``. It needs medpipe and Pillow alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import medpipe

ROWS, SIDE, GAP, HEADING = 3, 104, 6, 30


def draw() -> Image.Image:
    """A sheet with a column of images for each class."""
    step = medpipe.Registry.discover().datasets["phantom"]
    dataset = step(samples=ROWS * 6, size=SIDE).build()  # type: ignore[call-arg]
    names = dataset.task.names
    width = len(names) * (SIDE + GAP) + GAP
    sheet = Image.new("L", (width, HEADING + ROWS * (SIDE + GAP)), 255)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    rows = dict.fromkeys(names, 0)
    for sample in dataset.samples:
        name = names[int(sample.label)]  # type: ignore[arg-type]
        left = GAP + names.index(name) * (SIDE + GAP)
        top = HEADING + rows[name] * (SIDE + GAP)
        if rows[name] == 0:
            pen.text((left + SIDE / 2, HEADING / 2), name, fill=40, font=font, anchor="mm")
        sheet.paste(Image.fromarray(np.asarray(sample.image)), (left, top))
        rows[name] += 1
    return sheet


def main() -> None:
    """Write the picture beside this script."""
    path = Path(__file__).parent / "images" / "phantom.png"
    path.parent.mkdir(exist_ok=True)
    draw().save(path, optimize=True)
    print(f"{path} is written")


if __name__ == "__main__":
    main()
