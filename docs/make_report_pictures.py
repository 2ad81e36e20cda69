"""Draw docs/images/report.png: the report of a run on drawn images, as Chromium shows it.

Beside it segmentation.png: the best, the median and the worst case of a segmentation of drawn
volumes. Run it from anywhere: ``python docs/make_report_pictures.py [PICTURE...]``. It trains for
some minutes, and needs Chromium on the PATH.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import medpipe

WIDTHS = {
    "report.png": (1280, 2250),
    "report-narrow.png": (390, 1600),
    "segmentation.png": (1280, 1240),
}
"""The pictures with the width and the height of the window."""
SMALL, WIDEST = {"segmentation.png"}, 880
"""Pictures that are made smaller, and to what width."""


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


def segment(folder: Path) -> Path:
    """The cases of a segmentation of drawn volumes, as a page of their own."""
    run = (
        medpipe.PipelineBuilder(device="cpu", seed=0)
        .dataset("phantom_masks", dims=3, samples=80, size=32)
        .transforms("load_image", "ensure_channel_first", "normalize_intensity", "to_tensor")
        .transform("augment", rotate_range=0.25, scale_range=0.15, translate_range=0.06)
        .network("unet", channels=(8, 16, 32), strides=(2, 2))
        .trainer("supervised", max_epochs=60, learning_rate=8e-3)
        .loader(batch_size=4, workers=0)
        .split(validation=0.2, test=0.3)
        .build()
        .run(folder / "phantom_masks")
    )
    content = run.report().read_text(encoding="utf-8")
    cases = re.search(r'<section id="cases">.*?</section>', content, flags=re.DOTALL)
    assert cases is not None
    head = content[: content.index("<body>")]
    style = "<style>body { padding: 0 16px } h2 { border: 0; margin: 0 }</style>"
    page = folder / "cases.html"
    page.write_text(f"{head}{style}<body>{cases[0]}</body></html>", encoding="utf-8")
    return page


def screenshot(page: Path, path: Path, width: int, height: int, *options: str) -> None:
    """What a browser shows of a page in a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("Chromium is needed to draw the pictures. Install it.")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},{height}", f"--screenshot={path}", *options]
    subprocess.run([*command, page.as_uri()], check=True, capture_output=True)


def picture(page: Path, path: Path, width: int, height: int) -> None:
    """A screenshot with fewer colours."""
    screenshot(page, path, width, height)
    with Image.open(path) as shot:
        # Noise takes room: with all its pixels a page of images is half a megabyte.
        size = (WIDEST, height * WIDEST // width) if path.name in SMALL else shot.size
        shown = shot.convert("RGB").resize(size)
        if path.name in SMALL:  # the most frequent colours are greys, and thin lines lose theirs
            few = shown.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        else:
            few = shown.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    few.save(path, optimize=True)


def main() -> None:
    """Write the pictures beside this script."""
    asked = sys.argv[1:] or [*WIDTHS]
    with tempfile.TemporaryDirectory() as folder:
        pages: dict[str, Path] = {}
        for name in asked:
            width, height = WIDTHS[name]
            make = segment if name == "segmentation.png" else train
            if make.__name__ not in pages:
                pages[make.__name__] = make(Path(folder))
            path = Path(__file__).parent / "images" / name
            picture(pages[make.__name__], path, width, height)
            print(f"{path} is written")


if __name__ == "__main__":
    main()
