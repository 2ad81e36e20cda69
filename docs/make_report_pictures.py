"""Draw docs/images/report.png: the report of a run on drawn images, as Chromium shows it.

Run it from anywhere: ``python docs/make_report_pictures.py``. It trains for a minute, and needs
Chromium on the PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

import medpipe

WIDTHS = {"report.png": (1280, 2250), "report-narrow.png": (390, 1600)}
"""The pictures with the width and the height of the window."""


def train(folder: Path) -> Path:
    """A run on drawn images; its report."""
    run = (
        medpipe.PipelineBuilder(device="cpu", seed=0)
        .dataset("phantom", samples=1200, size=48)
        .network("resnet10", widen_factor=0.25, conv1_t_size=3)
        .trainer("supervised", max_epochs=4, learning_rate=1e-3)
        .loader(batch_size=32, workers=0)
        .split(validation=0.2, test=0.4)
        .build()
        .run(folder / "phantom")
    )
    return run.report()


def picture(page: Path, path: Path, width: int, height: int) -> None:
    """What a browser shows of a page in a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("Chromium is needed to draw the pictures. Install it.")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},{height}", f"--screenshot={path}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(path) as shot:
        few = shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    few.save(path, optimize=True)


def main() -> None:
    """Write the pictures beside this script."""
    with tempfile.TemporaryDirectory() as folder:
        page = train(Path(folder))
        for name, (width, height) in WIDTHS.items():
            path = Path(__file__).parent / "images" / name
            picture(page, path, width, height)
            print(f"{path} is written")


if __name__ == "__main__":
    main()
