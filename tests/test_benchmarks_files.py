"""What the benchmark measures on: drawn images, the set repeated, and the picture of the time."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
from benchmarks import drawing, files, picture
from benchmarks.picture import COLOURS, Side
from benchmarks.settings import Study
from PIL import Image

FILMS = Study(images=6, sides=((100, 160), (120, 200)))


def test_radiographs_are_grey_jpeg_of_two_classes_and_always_the_same(tmp_path: Path) -> None:
    first, second = (drawing.radiographs(tmp_path / name, FILMS) for name in "ab")
    found = sorted(first.glob("*/*"))
    assert [file.relative_to(first).as_posix() for file in found] == [
        "clear/0000.jpeg",
        "clear/0002.jpeg",
        "clear/0004.jpeg",
        "finding/0001.jpeg",
        "finding/0003.jpeg",
        "finding/0005.jpeg",
    ]
    for file in found:
        with Image.open(file) as image:
            assert (image.format, image.mode) == ("JPEG", "L")
            assert 120 <= image.width <= 200
            assert 100 <= image.height <= 160
        assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()
    assert len({file.read_bytes() for file in found}) == 6


def test_volumes_are_nifti_whose_findings_are_brighter(tmp_path: Path) -> None:
    study = Study(images=8, sides=((20, 20), (24, 24), (26, 26)))
    folder = drawing.volumes(tmp_path / "volumes", study)
    most: dict[str, list[float]] = {"clear": [], "finding": []}
    for file in sorted(folder.glob("*/*.nii.gz")):
        image: Any = nibabel.load(file)
        assert image.shape == (20, 24, 26)
        assert image.get_data_dtype() == np.int16
        most[file.parent.name].append(float(image.get_fdata().max()))
    assert len(most["clear"]) == len(most["finding"]) == 4
    assert max(most["clear"]) < min(most["finding"])


def test_a_drawing_that_fails_leaves_no_folder_that_is_taken_for_whole(tmp_path: Path) -> None:
    broken = Study(images=2, sides=((100, 50), (100, 120)))
    with pytest.raises(ValueError, match="low >= high"):
        drawing.radiographs(tmp_path / "films", broken)
    assert not (tmp_path / "films").exists()
    assert len(list(drawing.radiographs(tmp_path / "films", FILMS).glob("*/*"))) == 6


@pytest.mark.parametrize("count", [2, 3, 6, 20])
def test_a_set_is_repeated_by_links(tmp_path: Path, count: int) -> None:
    source = drawing.radiographs(tmp_path / "films", FILMS)
    (source / "clear" / "Thumbs.db").write_bytes(b"no image")
    into = files.repeated(source, tmp_path / "many", count)
    found = list(into.glob("*/*"))
    assert len(found) == count
    assert {file.parent.name for file in found} == {"clear", "finding"}
    assert len({file.stat().st_ino for file in found}) == min(count, 6)
    contents = {file.read_bytes() for file in source.glob("*/*.jpeg")}
    assert {file.read_bytes() for file in found} <= contents
    # The source is not touched: no link leads to it.
    assert all(file.stat().st_nlink == 1 for file in source.glob("*/*"))


def test_a_part_has_so_many_images_of_each_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDPIPE_DATA", raising=False)
    folder = files.folder_of_classes(tmp_path / "part", 4)
    counts = {kind.name: len(list(kind.iterdir())) for kind in folder.iterdir()}
    assert len(counts) == 6
    assert set(counts.values()) == {4}


SCRIPT = Side(seconds={"start-up": 5, "files": 75, "training": 2320}, reached="extrapolated")
LIBRARY = Side(
    seconds={"start-up": 6, "files": 12, "training": 36, "test": 6}, reached="accuracy 99.70 %"
)


def test_the_pictures_bars_are_as_long_as_the_seconds() -> None:
    drawn = ElementTree.fromstring(picture.picture(SCRIPT, LIBRARY))
    bars: dict[str, list[tuple[str, float]]] = {}
    for shape in drawn.iter("{http://www.w3.org/2000/svg}rect"):
        if shape.get("height") == str(picture.BAR):
            bars.setdefault(str(shape.get("y")), []).append(
                (str(shape.get("fill")), float(str(shape.get("width"))))
            )
    script, library, magnified = bars.values()
    room = picture.WIDTH - picture.LEFT - picture.RIGHT
    for bar, side, scale in (
        (script, SCRIPT, room / 2400),
        (library, LIBRARY, room / 2400),
        (magnified, LIBRARY, room / 60),
    ):
        expected = [(c, side.seconds.get(name, 0) * scale) for name, c in COLOURS.items()]
        assert [fill for fill, _ in bar] == [fill for fill, _ in expected]
        assert [w for _, w in bar] == pytest.approx([w for _, w in expected], abs=0.01)
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "40 min, extrapolated" in words
    assert "60 s, accuracy 99.70 %" in words
    assert "medpipe's bar again, 40 times as long" in words
    assert "script: not counted" in words


def _measured(side: str, task: str, data: str = "all", **figures: object) -> dict[str, Any]:
    return {"side": side, "task": task, "options": {"data": data}, "figures": figures}


RECORD: dict[str, Any] = {
    "measured": [
        _measured(
            "script",
            "training",
            data="a part",
            imports=4.0,
            extrapolated=True,
            phases={"files": 1.0, "training": 2.0},
        ),
        _measured(
            "script",
            "training",
            imports=4.0,
            wall=150.0,
            extrapolated=True,
            phases={"files": 75.0, "training": 2300.0},
        ),
        *(
            _measured(
                "library",
                "recipe",
                wall=60.0 + seed,
                accuracy=0.996 + 0.001 * seed,
                phases={"files": 12.0, "training": 36.0 + seed, "test": 6.0},
            )
            for seed in range(3)
        ),
    ]
}


def test_the_pictures_sides_are_the_row_of_accuracy() -> None:
    script, library = picture.sides(RECORD)
    # Extrapolated, the script's start is its imports: its wall time is that of some iterations.
    assert script.seconds == {"start-up": 4.0, "files": 75.0, "training": 2300.0}
    assert script.reached == "extrapolated"
    assert library.seconds == {"start-up": 6.0, "files": 12.0, "training": 37.0, "test": 6.0}
    assert library.reached == "accuracy 99.70 % ± 0.10"


def test_a_script_that_came_to_its_end_is_preferred() -> None:
    record = copy.deepcopy(RECORD)
    phases = {"files": 75.0, "training": 2400.0, "test": 20.0}
    record["measured"].insert(
        0, _measured("script", "whole", wall=2500.0, accuracy=0.988, phases=phases)
    )
    script, _ = picture.sides(record)
    assert script.seconds == {"start-up": 5.0, **phases}
    assert script.reached == "accuracy 98.80 %"


def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"measured": []}')
    for output, message in (
        ("x.png", f"{tmp_path / 'x.png'}: the picture is an SVG; give a name that ends in .svg"),
        (
            "x.svg",
            f"{empty}: it holds no row accuracy; measure it with --rows accuracy --json FILE",
        ),
    ):
        with pytest.raises(SystemExit):
            picture.main([str(empty), str(tmp_path / output)])
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == f"python -m benchmarks.picture: error: {message}"
        assert not (tmp_path / output).exists()
