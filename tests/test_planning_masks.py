"""Plans of segmentations: what is found, what is chosen, and that it trains as it is written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

import medpipe
from medpipe.checks.sides import all_mirrored
from medpipe.errors import DataError
from medpipe.planning.dense import Sides
from medpipe.planning.layout import layout_of
from medpipe.planning.plan import plan
from support import mask_layouts
from support.blobs import save
from support.marks import long, rare


def nnunet_1(root: Path) -> None:
    mask_layouts.nnunet(root, version=1)


def suffixes(root: Path) -> None:
    mask_layouts.pictures(
        root / "cells", masks="labels", ending="_mask", name="patient{0:03}_a", two=True
    )


LAYOUTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "decathlon": (mask_layouts.decathlon, "", {"step": "decathlon"}),
    "nnU-Net 2": (mask_layouts.nnunet, "", {"step": "nnunet"}),
    "nnU-Net 1": (nnunet_1, "", {"step": "nnunet"}),
    "BIDS": (
        mask_layouts.bids,
        "",
        {
            "step": "bids",
            "derivative": "derivatives/manual",
            "image": "T1w",
            "mask": "dseg",
            "without_mask": "drop",
        },
    ),
    "names that end in _mask": (
        suffixes,
        "cells",
        {
            "step": "image_masks",
            "masks": "labels",
            "mask_suffix": "_mask",
            "labels": {"structure_1": 1, "structure_2": 2},
        },
    ),
    "table": (
        mask_layouts.table,
        "",
        {
            "step": "table",
            "image": "image",
            "mask": "mask_0",
            "labels": {"mask_0": 255},
            "group": "patient",
        },
    ),
}


@pytest.mark.parametrize(
    "name", [(rare if name in ("nnU-Net 1", "table") else long)(name) for name in LAYOUTS]
)
def test_what_is_found_and_that_it_can_run(name: str, tmp_path: Path) -> None:
    make, below, expected = LAYOUTS[name]
    make(tmp_path)
    made = plan(tmp_path / below, minutes=0.1)
    document = tomllib.loads(made.text)
    dataset = {k: v for k, v in document["dataset"].items() if k not in ("root", "file")}
    assert dataset == expected
    assert "segmentation: " in made.text
    report = medpipe.PipelineBuilder.from_toml(made.text).build().check()
    assert report.ok, report


def test_small_volumes_are_trained_on_as_a_whole(tmp_path: Path) -> None:
    mask_layouts.decathlon(tmp_path)
    document = tomllib.loads(plan(tmp_path, minutes=0.1).text)
    assert document["transform"] == [
        {"step": "load_image"},
        {"step": "ensure_channel_first"},
        {"step": "orientation", "axcodes": "RAS"},
        {"step": "normalize_intensity"},
        {"step": "spatial_pad", "spatial_size": [16, 16, 16]},
        {"step": "to_tensor"},
        {"step": "augment", "scale_range": 0.1},
    ]
    assert document["inferer"] == {"step": "sliding_window", "roi_size": [16, 16, 16]}
    assert document["network"]["strides"] == [2, 2]


@pytest.mark.long
def test_new_volumes_may_have_any_size(tmp_path: Path) -> None:
    """Larger and smaller ones than all of the training, of sides that no network can halve."""
    mask_layouts.decathlon(tmp_path / "balls")
    made = plan(tmp_path / "balls", minutes=0.02)
    run = medpipe.PipelineBuilder.from_toml(made.text).build().run(tmp_path / "run")
    (tmp_path / "new").mkdir()
    shapes = [(37, 29, 11), (5, 7, 3)]
    for shape in shapes:
        values = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        save(values, np.eye(4), tmp_path / "new" / f"{shape[0]}.nii.gz")
    found = run.predict([tmp_path / "new"], masks=tmp_path / "masks")
    for shape in shapes:
        (path,) = found.masks[f"{shape[0]}.nii.gz"]
        assert nibabel.load(path).shape == shape


def test_spacings_that_differ_are_made_the_same(tmp_path: Path) -> None:
    mask_layouts.decathlon(tmp_path, spacings=(1.0, 1.0, 1.5))
    made = plan(tmp_path, minutes=0.1)
    chain = tomllib.loads(made.text)["transform"]
    assert chain[3] == {"step": "spacing", "pixdim": [1.0, 1.0, 2.0]}
    assert "# Spacings differ (1 to 1.5, 1 to 1.5, 2 to 2 mm)" in made.text
    assert chain[5] == {"step": "spatial_pad", "spatial_size": [24, 24, 16]}
    report = medpipe.PipelineBuilder.from_toml(made.text).build().check()
    assert report.ok, report


@pytest.mark.long
def test_a_spacing_that_would_lose_a_structure_is_not_chosen(tmp_path: Path) -> None:
    mask_layouts.decathlon(tmp_path, spacings=(1.0, 3.0, 3.0))
    made = plan(tmp_path, minutes=0.1)
    chain = tomllib.loads(made.text)["transform"]
    assert chain[3] == {"step": "spacing", "pixdim": [1.0, 1.0, 2.0]}
    assert (
        "the lower quartile becomes that of all, and on it a perfect answer reaches a Dice of 1.00"
        in made.text
    )


@pytest.mark.long
def test_large_images_are_trained_on_in_patches(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path / "discs", 24, size=(200, 400))
    made = plan(tmp_path / "discs", minutes=60)
    document = tomllib.loads(made.text)
    chain = {step.pop("step"): step for step in document["transform"]}
    patch = [256, 208]  # 400 wide
    assert chain["spatial_pad"] == {"spatial_size": patch}
    assert chain["rand_crop_by_label_classes"] == {"spatial_size": patch}
    assert document["inferer"] == {"step": "sliding_window", "roi_size": patch}
    assert chain["augment"]["flip_axes"] == [0]
    short = tomllib.loads(plan(tmp_path / "discs", minutes=0.01).text)
    assert short["inferer"]["roi_size"] == [128, 128]
    report = medpipe.PipelineBuilder.from_toml(made.text).build().check()
    assert report.ok, report


def test_255_beside_other_values_is_asked_for(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path, 4, two=True)
    path = tmp_path / "masks/000.png"
    values = np.array(Image.open(path))
    values[0, 0] = 255
    Image.fromarray(values).save(path)
    layout = layout_of(tmp_path)
    assert layout.table["ignore"] == [255]
    assert layout.table["labels"] == {"structure_1": 1, "structure_2": 2}
    assert any("255" in question for question in layout.questions)


def test_one_structure_is_called_as_the_folder_is(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path / "Cell nuclei", 4)
    layout = layout_of(tmp_path / "Cell nuclei")
    assert layout.table["labels"] == {"cell_nuclei": 255}
    assert layout.questions[0] == ("Is 'cell_nuclei' the right name of the structure in the masks?")


def test_patients_in_names_stay_together(tmp_path: Path) -> None:
    for number in range(20):
        mask_layouts.pictures(tmp_path, 2, name=f"patient{number:02}_{{}}")
    assert "patient" in layout_of(tmp_path).table["group_pattern"]


def test_masks_of_photographs_are_refused(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path, 4)
    shades = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) % 256
    Image.fromarray(shades.astype(np.uint8)).save(tmp_path / "masks/000.png")
    with pytest.raises(DataError, match=r"more than 64 values, such as .*000\.png"):
        layout_of(tmp_path)


def test_masks_without_images_of_their_names_are_refused(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path, 4, ending="_of_someone")
    with pytest.raises(DataError, match="no name in masks is that of an image"):
        layout_of(tmp_path)


def test_flips_are_left_out_where_structures_have_sides(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path / "lungs", 40, name="{:03}_left")
    for path in sorted((tmp_path / "lungs").rglob("*_left.png"))[::2]:
        path.rename(path.with_name(path.name.replace("left", "right")))
    images = {path.name for path in (tmp_path / "lungs/images").iterdir()}
    assert images == {path.name for path in (tmp_path / "lungs/masks").iterdir()}
    *_, augment = tomllib.loads(plan(tmp_path / "lungs", minutes=0.1).text)["transform"]
    assert augment == {"step": "augment", "scale_range": 0.1}


def test_flips_swap_structures_that_are_each_other_s_other_side(tmp_path: Path) -> None:
    mask_layouts.decathlon(tmp_path)
    path = tmp_path / "dataset.json"
    about = json.loads(path.read_text())
    about["labels"] = {"0": "background", "1": "Kidney_R", "2": "kidney-l"}
    path.write_text(json.dumps(about))
    made = plan(tmp_path, minutes=0.1)
    *_, augment = tomllib.loads(made.text)["transform"]
    assert (augment["flip_axes"], augment["swap_labels"]) == ([0], [[1, 2]])
    assert "flips that swap structures which are each other's other side" in made.text
    warnings = medpipe.PipelineBuilder.from_toml(made.text).build().check().warnings
    assert not [text for text in warnings if "left" in text]


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_kidney", "right_kidney"), [[1, 2]]),
        (("lung-L", "kidney.right", "lung-R", "kidney.left"), [[1, 3], [2, 4]]),
        (("left upper left", "left upper right"), [[1, 2]]),
        (("left_kidney", "right_kidney", "liver"), None),
        (("left_kidney", "right_lung"), None),
        (("left_kidney", "R_kidney"), None),
        (("left_kidney", "right_kidney", "Right_Kidney", "l"), None),
        (("leftover", "rightover"), None),
        (("anterior", "posterior"), None),
        ((), None),
    ],
    ids=str,
)
def test_structures_are_swapped_only_if_each_has_its_other_side(
    names: tuple[str, ...], pairs: list[list[int]] | None
) -> None:
    assert all_mirrored(names) == pairs
    assert Sides.of(None, names).swapped == (pairs or [])
    assert Sides.of(("a_left.png", "a_right.png"), names).swapped == []


@pytest.mark.long
def test_what_it_writes_learns(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path / "discs", 60)
    made = plan(tmp_path / "discs", minutes=0.5)
    run = medpipe.PipelineBuilder.from_toml(made.text).build().run(tmp_path / "run")
    splits = {name: run.predictions(name).ids for name in ("validation", "test")}
    held_out = {id_ for ids in splits.values() for id_ in ids}
    masks = {
        path.name: np.array(Image.open(path)) > 0
        for path in sorted((tmp_path / "discs/masks").iterdir())
    }
    mean = np.mean([mask for name, mask in masks.items() if name not in held_out], axis=0)
    shapes = [mean > share for share in (0.1, 0.2, 0.3, 0.5)]

    def dice(shape: Any) -> float:
        scores = [
            2 * (shape & masks[id_]).sum() / (shape.sum() + masks[id_].sum())
            for id_ in splits["test"]
        ]
        return float(np.mean(scores))

    assert run.metrics["test"]["dice"] > max(map(dice, shapes)) + 0.1
