"""The sets of the first projects: their configurations, what is drawn, and that leaks are found."""

from __future__ import annotations

import tomllib
from pathlib import Path

import attrs
import pytest
from benchmarks.first_projects import drawn
from benchmarks.first_projects.measuring import CONFIGURATIONS, measured
from benchmarks.first_projects.plans import Project, leaks
from benchmarks.first_projects.sets import SETS, ImageSet, classes
from PIL import Image

from medpipe import Registry, config


@pytest.mark.parametrize("some", SETS, ids=lambda some: some.name)
def test_both_sides_train_on_the_same_data(some: ImageSet) -> None:
    texts = [(CONFIGURATIONS / f"{some.name}{end}").read_text() for end in (".toml", ".tuned.toml")]
    registry = Registry.discover()
    default, tuned = (config.load(config.parse(text), registry=registry) for text in texts)
    assert default.dataset == tuned.dataset
    given = set(tomllib.loads(texts[0]))
    assert given - {"transform"} == {"format", "dataset"}
    assert ("transform" in given) == (some.name == "nuclei")  # of several sizes


def test_no_configuration_is_left_over() -> None:
    names = {file.name.split(".")[0] for file in CONFIGURATIONS.iterdir()}
    assert names == {some.name for some in SETS}


def test_a_set_is_drawn_as_it_was(tmp_path: Path) -> None:
    some = ImageSet(
        name="few",
        images=12,
        about="",
        write=classes(drawn.shapes, drawn.SHAPES),
    )
    first, second = (some.folder(tmp_path / name) for name in "ab")
    files = sorted(file.relative_to(first) for file in first.rglob("*.png"))
    assert len(files) == 12 + 1000
    assert sum(file.parts[0] == "train" and file.parts[1] == "ring" for file in files) == 2
    for file in files[::97]:
        assert (first / file).read_bytes() == (second / file).read_bytes()
        assert Image.open(first / file).size == (32, 32)
    shown = {(first / file).read_bytes() for file in files}
    assert len(shown) == len(files)


def test_a_share_of_rare_images(tmp_path: Path) -> None:
    write = classes(drawn.rare, ("clear", "finding"), weights=(0.9, 0.1))
    folder = ImageSet(name="rare", images=200, about="", write=write).folder(tmp_path)
    assert len(list((folder / "train" / "finding").iterdir())) == 20


def test_leaks_are_found(tmp_path: Path) -> None:
    project = Project(name="some", make=lambda root: root, patient=r"(p\d)")
    rows = ["id,split,group,sha256,pixels", "p1_a,training,,11,21", "p1_b,test,,12,22"]
    (tmp_path / "splits.csv").write_text("\n".join([*rows, "p2_a,test,,13,21\n"]))
    assert leaks(project, tmp_path) == ["1 by pixels", "1 by patient"]
    (tmp_path / "splits.csv").write_text("\n".join([*rows[:2], "p1_b,training,,12,22\n"]))
    assert leaks(project, tmp_path) == []


@pytest.mark.long
@pytest.mark.rare
def test_a_side_is_run_and_taken_again(tmp_path: Path) -> None:
    some = attrs.evolve(next(some for some in SETS if some.name == "shapes"), epochs=1)
    found = measured(some, "tuned", tmp_path, 0)
    assert (found.epochs, found.steps, found.batch_size, found.training) == (1, 17, 32, 540)
    assert found.interval is not None
    assert found.interval[0] <= found.value <= found.interval[1]
    assert measured(some, "tuned", tmp_path, 0) == found
