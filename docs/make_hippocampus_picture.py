"""Draw docs/images/hippocampus.png: the report of a run on real volumes, without the volumes.

The set is the hippocampus of the Medical Segmentation Decathlon, which MEDPIPE_DATA has, with its
published folds. ``python docs/make_hippocampus_picture.py`` trains for some minutes and needs
Chromium on the PATH; ``--evidence`` only prints why volumes are taken for pairs of one person.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import attrs
import nibabel
import numpy as np
from PIL import Image, ImageChops

import medpipe

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "examples")]

from hippocampus import choose, find  # noqa: E402  # needs the path
from make_report_pictures import screenshot  # noqa: E402

WIDTH, HEIGHT = 1060, 1400
"""Of the window; what is below the page is cut off."""
SHOWN = ("results", "data", "task-0-0")
"""The sections of the report that are in the picture: none of them needs an image."""
STYLE = """<style>
  body { padding: 0 28px 8px }
  header { border: 0; margin: 0; padding-bottom: 0 }
  h2 { margin-top: 12px }
  td { white-space: nowrap }
  th, td { padding-right: 10px; font-size: .85rem }
  main { display: grid; grid-template-columns: 1fr 1fr; column-gap: 28px }
  #data { grid-area: 1 / 2 / 3 / 3 }
  #task-0-0 { display: contents }
  #task-0-0 > h2, #task-0-0 > .scroll { grid-column: 1; margin-bottom: 0 }
  #task-0-0 > .scroll:nth-of-type(1) { display: none }
  #task-0-0 > .drawings { grid-area: 3 / 2 }
</style>"""


def number_of(sample: str) -> int:
    """The number in a sample's id: 19 of ``imagesTr/hippocampus_019.nii.gz``."""
    found = re.search(r"_(\d+)\.", sample)
    assert found is not None, sample
    return int(found[1])


def person_of(sample: str) -> str:
    """The pair of numbers that is taken for a person: ``019+020`` for 19 and 20."""
    first = (number_of(sample) - 1) // 2 * 2 + 1
    return f"{first:03}+{first + 1:03}"


def by_person(dataset: medpipe.Dataset) -> medpipe.Dataset:
    """The data set with a group for each pair."""
    samples = [attrs.evolve(one, group=person_of(one.id)) for one in dataset.samples]
    return attrs.evolve(dataset, samples=samples, notes=())


def evidence(dataset: medpipe.Dataset) -> dict[str, tuple[int, float]]:
    """How alike in size neighbours are, in pairs and from one pair to the next.

    Args:
        dataset: Volumes with masks.

    Returns:
        How many neighbours there are, and the correlation of the voxels that are not background.
    """
    size = {  # of the hippocampus in voxels
        number_of(one.id): int(np.count_nonzero(np.asarray(nibabel.load(one.label.image).dataobj)))
        for one in dataset.samples
    }
    found = {}
    for name, odd in (("in a pair", 1), ("from one pair to the next", 0)):
        both = [(size[n], size[n + 1]) for n in size if n % 2 == odd and n + 1 in size]
        found[name] = (len(both), float(np.corrcoef(np.array(both, float).T)[0, 1]))
    return found


def shown(page: str) -> str:
    """Some of a report's tables and a figure as a page of their own, in two columns.

    Args:
        page: The report, made without images.
    """
    sections = dict(re.findall(r'<section id="(.*?)">(.*?)</section>', page, flags=re.DOTALL))
    head, _, rest = page.partition("<body>")
    title = re.sub(r"<nav.*?</nav>", "", rest[: rest.index("<main>")], flags=re.DOTALL)
    blocks = "".join(f'<section id="{key}">{sections[key]}</section>' for key in SHOWN)
    made = f"{head}{STYLE}<body>{title}<main>{blocks}</main></body></html>"
    if "<img" in made or "data:image" in made:
        raise SystemExit("The picture would show images of the data.")
    return made


def listed() -> medpipe.Dataset:
    """The volumes with their published folds, of which the first is the test."""
    root = find()
    if root is None:
        raise SystemExit("Set MEDPIPE_DATA to the folder that holds Task04_Hippocampus.")
    return medpipe.Registry.discover().datasets["decathlon"](root=root, folds="folds.csv").build()


def train(dataset: medpipe.Dataset, folder: Path) -> Path:
    """Train as examples/hippocampus.py does, but by person; the page that is shown."""
    dataset = by_person(dataset)
    print(choose().dataset(dataset).build().check())  # the published folds divide persons
    kept = attrs.evolve(dataset, on_leak="drop_train")
    run = choose().dataset(kept).settings(device="cpu").build().run(folder / "hippocampus")
    report = run.report(folder / "report.html", images=False).read_text(encoding="utf-8")
    page = folder / "shown.html"
    page.write_text(shown(report), encoding="utf-8")
    return page


def draw(page: Path, path: Path, scheme: int) -> None:
    """A screenshot without the room below the page; scheme 0 is dark, 1 is light."""
    options = [f"--blink-settings=preferredColorScheme={scheme}", "--force-device-scale-factor=1.5"]
    screenshot(page, path, WIDTH, HEIGHT, *options)
    with Image.open(path) as shot:
        seen = shot.convert("RGB")
    paper = Image.new("RGB", seen.size, seen.getpixel((0, 0)))
    box = ImageChops.difference(seen, paper).getbbox()
    assert box is not None
    cropped = seen.crop((0, 0, seen.width, box[3] + 24))
    few = cropped.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main() -> None:
    """Say why there are pairs, then train and draw."""
    dataset = listed()
    for name, (neighbours, correlation) in evidence(dataset).items():
        print(f"{neighbours} neighbours {name}: the sizes correlate by {correlation:.2f}")
    if "--evidence" in sys.argv[1:]:
        return
    with tempfile.TemporaryDirectory() as folder:
        page = train(dataset, Path(folder))
        for name, scheme in (("hippocampus.png", 1), ("hippocampus-dark.png", 0)):
            draw(page, DOCS / "images" / name, scheme)
            print(f"{name} is written")


if __name__ == "__main__":
    main()
