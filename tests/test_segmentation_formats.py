"""Masks in other forms than numbers in a picture or a NIfTI file: contours, colours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import RTStructureSetStorage

from medpipe import ConfigError, PipelineBuilder, Run
from medpipe.builtin.datasets.image_masks import ImageMasks
from medpipe.builtin.datasets.table import Table
from medpipe.data.readers.file_grid import FileGrid
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.plugin import DataError, LabelImage, Reading, read_image, read_label
from medpipe.prediction.masks import MaskWriter
from support import mask_layouts
from support.drawn_dicom import OF_PIXELS, write_dicom

# Contours


def contours(path: Path) -> Path:
    absent: dict[str, Any] = dict.fromkeys(OF_PIXELS)
    return write_dicom(
        path, np.zeros((4, 4), np.uint8), SOPClassUID=RTStructureSetStorage, **absent
    )


def test_contours_are_refused_with_the_way_to_a_mask(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    path = contours(tmp_path / "a.dcm")
    said = (
        f"The image {path} holds contours (RT Structure Set) and no pixels. Convert them to a mask "
        "on the grid of their image: dcmrtstruct2nii convert -r FILE -d SERIES -o FOLDER writes a "
        "NIfTI file for each structure; plastimatch and 3D Slicer do it too."
    )
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value) == said
    (tmp_path / "list.csv").write_text("image,mask\na.png,a.dcm\n")
    data = Table(file=tmp_path / "list.csv", mask="mask", labels={"lesion": 1}).build()
    _, faults = scan_labels(data, workers=1)
    assert [fault.message for fault in faults] == [said]


def test_contours_among_masks_are_told_from_a_mask_that_is_missing(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    contours(tmp_path / "masks" / "a.dcm")
    (tmp_path / "masks" / "b.png").write_bytes((tmp_path / "images" / "b.png").read_bytes())
    with pytest.raises(DataError) as caught:
        ImageMasks(root=tmp_path, labels={"lesion": 1}).build()
    assert "masks/a.dcm holds contours (RT Structure Set) and no pixels" in str(caught.value)


# Colours

RED, GREEN, BLUE, WHITE, BLACK = "#ff0000", "#00ff00", "#0000ff", "#ffffff", "#000000"
LABELS = {"tumour": RED, "stroma": (GREEN, "#0000FF")}


def rgb(*rows: tuple[str, ...]) -> np.ndarray[Any, Any]:
    return np.array([[list(bytes.fromhex(one[1:])) for one in row] for row in rows], np.uint8)


MASK = rgb((BLACK, RED, GREEN), (BLUE, RED, BLACK))


def coloured(root: Path, mask: Image.Image, name: str = "a.png", **parameters: Any) -> ImageMasks:
    for folder in ("images", "masks"):
        (root / folder).mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, mask.size[::-1], np.uint8)
    Image.fromarray(noise).save(root / "images" / "a.png")
    mask.save(root / "masks" / name)
    return ImageMasks(root=root, **{"labels": LABELS, **parameters})


def found_in(step: ImageMasks) -> list[list[int]]:
    (sample,) = step.build().samples
    assert isinstance(sample.label, LabelImage)
    return read_label(sample.label, None, Reading()).values.tolist()


def fault_of(step: ImageMasks) -> str:
    _, faults = scan_labels(step.build(), workers=1)
    (fault,) = faults
    return fault.message


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_structures_are_told_by_their_colours(tmp_path: Path, mode: str) -> None:
    step = coloured(tmp_path, Image.fromarray(MASK).convert(mode))
    assert found_in(step) == [[0, 1, 2], [2, 1, 0]]


def test_a_palette_is_read_by_its_colours_only_where_labels_are_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 0, 255, 0, 255, 0, 0])
    assert found_in(coloured(tmp_path, picture)) == [[0, 2, 1], [1, 2, 0]]
    numbers = coloured(tmp_path, picture, labels={"tumour": 1, "stroma": 2})
    assert found_in(numbers) == [[0, 1, 2], [2, 1, 0]]


def test_the_background_may_have_a_colour_and_some_may_count_nowhere(tmp_path: Path) -> None:
    mask = Image.fromarray(rgb((WHITE, RED), (BLACK, BLUE)))
    named = {"background": WHITE, "a": RED, "b": BLACK}
    step = coloured(tmp_path, mask, labels=named, ignore=("#0000FF",))
    assert found_in(step) == [[0, 1], [2, 255]]
    assert step.build().task.step.written_values(("a", "b")) == (WHITE, RED, BLACK)


def test_colours_of_several_structures_let_them_overlap(tmp_path: Path) -> None:
    labels = {"whole": (RED, GREEN), "core": GREEN}
    step = coloured(tmp_path, Image.fromarray(rgb((BLACK, RED, GREEN))), labels=labels)
    assert found_in(step) == [[[0, 0], [1, 0], [1, 1]]]


def test_grey_may_be_named_as_colours(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[0, 255]], np.uint8))
    for mask in (grey, grey.convert("1"), grey.convert("LA")):
        assert found_in(coloured(tmp_path, mask, labels={"nuclei": WHITE})) == [[0, 1]]


def test_a_colour_without_a_name_is_refused(tmp_path: Path) -> None:
    step = coloured(tmp_path, Image.fromarray(rgb((BLACK, "#ff0001", "#123456"))))
    assert fault_of(step) == (
        f"The mask {tmp_path}/masks/a.png has the colours #123456, #ff0001, which no label names. "
        "Named are #000000, #ff0000, #00ff00, #0000ff. Add to dataset.labels, or to dataset.ignore "
        "what is to count nowhere."
    )


def test_masks_that_were_smoothed_or_saved_as_jpeg_are_told(tmp_path: Path) -> None:
    smooth = Image.fromarray(MASK).resize((30, 20), Image.Resampling.BICUBIC)
    said = fault_of(coloured(tmp_path, smooth))
    assert "colours that no label names, such as #" in said
    assert said.endswith(
        "it is an image, or a mask that was saved as JPEG or was interpolated, or was drawn with "
        "smooth edges. Save labels as PNG."
    )
    (tmp_path / "masks" / "a.png").unlink()
    said = fault_of(coloured(tmp_path, smooth, "a.jpg"))
    assert said.endswith("it was saved as JPEG, which changes colours. Save labels as PNG.")


def test_colours_of_16_bits_are_refused() -> None:
    label = LabelImage(image=np.zeros((2, 2, 3), np.uint16), values=((RED, (0,)),))
    with pytest.raises(DataError, match="values of the type uint16, and dataset"):
        read_label(label, None, Reading())


@pytest.mark.parametrize(
    ("said", "labels", "ignore"),
    [
        ("'#f00' is no value of a mask", {"a": "#f00"}, []),
        ("'255' is no value of a mask", {"a": "255"}, []),
        ("1 is no colour, and '#ff0000' is one", {"a": RED, "b": 1}, []),
        ("1 is no colour, and '#ff0000' is one", {"a": RED}, [1]),
        ("'red' is no colour, and '#ff0000' is one", {"a": RED, "b": "red"}, []),
    ],
)
def test_labels_are_colours_or_numbers(said: str, labels: Any, ignore: Any) -> None:
    builder = PipelineBuilder().dataset("image_masks", root="x", labels=labels, ignore=ignore)
    with pytest.raises(ConfigError, match=said):
        builder.network("unet").trainer("supervised").build()


def test_words_are_no_values_of_a_picture(tmp_path: Path) -> None:
    said = fault_of(coloured(tmp_path, Image.fromarray(MASK), labels={"tumour": "red"}))
    assert said == (
        f"The mask {tmp_path}/masks/a.png has numbers, and dataset.labels names segments ('red'), "
        "which DICOM segmentations alone have. Give the number of each structure, or its colour, "
        "such as '#ff0000'."
    )


def written(folder: Path, task: Any, mask: Any, *, known: bool = False) -> Path:
    """The file of a mask of shape (height, width) or (height, width, depth)."""
    grid = FileGrid(
        affine=np.eye(4), file_affine=np.eye(4), file_shape=mask.shape, axes="hw", known=known
    )
    writer = MaskWriter(
        folder=folder, names=task.names, values=task.step.written_values(task.names)
    )
    (path,) = writer.write("one.png", mask[None], grid)
    return path


def test_predictions_are_written_in_the_colours_of_labels(tmp_path: Path) -> None:
    task = coloured(tmp_path, Image.fromarray(MASK)).build().task
    path = written(tmp_path / "out", task, np.array([[0, 1, 2]], np.uint8))
    assert np.array_equal(np.asarray(Image.open(path)), rgb((BLACK, RED, GREEN)))


def test_volumes_have_numbers_in_place_of_colours(tmp_path: Path) -> None:
    task = coloured(tmp_path, Image.fromarray(MASK)).build().task
    path = written(tmp_path / "out", task, np.array([[[0, 1, 2]]], np.uint8), known=True)
    assert read_image(path).values.ravel().tolist() == [0, 1, 2]


def test_the_background_is_written_with_its_own_value(tmp_path: Path) -> None:
    mask = Image.fromarray(np.array([[255, 0]], np.uint8))
    step = coloured(tmp_path, mask, labels={"background": 255, "nuclei": 0})
    assert found_in(step) == [[0, 1]]
    path = written(tmp_path / "out", step.build().task, np.array([[0, 1]], np.uint8))
    assert np.asarray(Image.open(path)).tolist() == [[255, 0]]


HEX = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@given(st.lists(HEX, min_size=2, max_size=6, unique=True), st.data())
def test_every_colour_is_found_again(colours: list[str], data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(colours), min_size=12, max_size=12))
    values = tuple((colour, (place,)) for place, colour in enumerate(colours))
    label = LabelImage(image=rgb(*(tuple(cells[at : at + 4]) for at in (0, 4, 8))), values=values)
    found = read_label(label, None, Reading()).values
    assert [colours[index - 1] for index in found.ravel()] == cells


@pytest.mark.long
def test_a_run_on_colours_predicts_in_colours(tmp_path: Path) -> None:
    mask_layouts.pictures(tmp_path / "data", 20)
    for path in (tmp_path / "data" / "masks").iterdir():
        disc = np.asarray(Image.open(path)) > 0
        Image.fromarray(np.where(disc[..., None], rgb((RED,)), rgb((WHITE,)))).save(path)
    labels = {"background": WHITE, "disc": RED}
    run = (
        PipelineBuilder(device="cpu")
        .dataset("image_masks", root=str(tmp_path / "data"), labels=labels)
        .transforms("load_image", "ensure_channel_first", "normalize_intensity", "to_tensor")
        .network("unet", channels=(8, 16), strides=(2,))
        .trainer("supervised", max_epochs=4, learning_rate=0.02)
        .loader(batch_size=4, workers=0)
        .split(validation=0.2, test=0.2)
        .build()
        .run(tmp_path / "run")
    )
    images = tmp_path / "data" / "images"
    Run.load(run.path).predict([images], masks=tmp_path / "again" / "masks")
    shutil.copytree(images, tmp_path / "again" / "images")
    written = ImageMasks(root=tmp_path / "again", labels=labels)
    counts = scan_labels(written.build(), workers=1)[0].counts
    assert any(count > 0 for (count,) in counts.values())
    assert run.evaluate(written, allow_overlap=True).metrics["dice"] == 1
