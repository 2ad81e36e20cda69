"""The recipes that ship with medpipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe import PipelineBuilder, config, recipes
from support.folders import image_folder
from support.trained import write_png


def recipe(root: Path, **values: Any) -> PipelineBuilder:
    """`classification_fast` on a folder, with values set as on the command line."""
    document = config.parse(recipes.text("classification_fast"))
    config.set_value(document, "dataset.root", str(root))
    for path, value in values.items():
        config.set_value(document, path.replace("__", "."), value)
    return PipelineBuilder.from_document(document)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Images of several sizes."""
    root = image_folder(tmp_path / "images", samples=48)
    generator = np.random.default_rng(0)
    for place, size in enumerate([(40, 30), (300, 200), (224, 224)]):
        for folder in sorted(root.iterdir()):
            write_png(folder / f"other{place}.png", generator.integers(0, 256, size, np.uint8))
    return root


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_can_be_built_and_written(name: str) -> None:
    builder = PipelineBuilder.from_recipe(name)
    builder.build()
    assert PipelineBuilder.from_toml(builder.to_toml()) == builder


def test_classification_fast_asks_for_its_folder() -> None:
    report = PipelineBuilder.from_recipe("classification_fast").build().check()
    assert [str(problem) for problem in report.problems] == [
        f"dataset: dataset.root: there is no folder data in the working directory {Path.cwd()}. "
        "Name the folder that holds one folder for each class."
    ]


@pytest.mark.long
def test_classification_fast_takes_images_of_any_size_grey_or_in_colour(
    mixed: Path, tmp_path: Path
) -> None:
    report = recipe(mixed).build().check()
    assert report.ok, report
    assert report.data is not None
    assert (report.data.channels, report.data.spatial_shape) == (1, (224, 224))
    for place in range(6):
        colours = np.full((50, 60, 3), 40 * place, np.uint8)
        colours[::2, :, 1] = 255
        write_png(tmp_path / f"colour/{'ab'[place % 2]}/{place}.png", colours)
    coloured = recipe(tmp_path / "colour").split(validation=0, test=0).build().check()
    assert coloured.data is not None
    assert coloured.data.channels == 3


def test_classification_fast_trains(mixed: Path, tmp_path: Path) -> None:
    builder = recipe(mixed, **{"transform[2]__spatial_size": [32, 32], "trainer__max_epochs": 1})
    run = (
        builder.network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .loader(workers=0)
        .split(validation=0.2, test=0.2)
        .build()
        .run(tmp_path / "run")
    )
    assert run.status == "finished"
    assert run.metrics["test"]["images"] > 0
