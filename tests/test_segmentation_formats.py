"""Masks in other forms than numbers in a picture or a NIfTI file: contours, colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import RTStructureSetStorage

from medpipe.builtin.datasets.image_masks import ImageMasks
from medpipe.builtin.datasets.table import Table
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.plugin import DataError, read_image
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
    assert f"masks/a.dcm holds contours (RT Structure Set) and no pixels" in str(caught.value)
