"""Listing DICOM files: what is an image, what belongs together, what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.uid import BasicTextSRStorage

from medpipe.data.readers.dicom.files import list_dicom
from medpipe.plugin import DataError, Series, is_dicom
from support.drawn_dicom import write_dicom, write_series

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4)
REPORT = {"PixelData": None, "SOPClassUID": BasicTextSRStorage}


def _files(root: Path) -> dict[str, str]:
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): str(path) for path in found}


def test_the_content_decides_what_is_dicom(tmp_path: Path) -> None:
    assert is_dicom(write_dicom(tmp_path / "IM0001", PIXELS))
    (tmp_path / "a.dcm").write_bytes(b"text" * 100)
    (tmp_path / "short").write_bytes(b"DICM")
    assert not is_dicom(tmp_path / "a.dcm")
    assert not is_dicom(tmp_path / "short")
    assert not is_dicom(str(tmp_path))
    with pytest.raises(DataError) as caught:
        is_dicom(tmp_path / "absent")
    assert (
        str(caught.value) == f"The image {tmp_path / 'absent'} is not there. Remove or repair it."
    )


def test_files_and_what_has_no_pixels(tmp_path: Path) -> None:
    write_dicom(tmp_path / "b" / "2", PIXELS)
    write_dicom(tmp_path / "b" / "1", PIXELS, SeriesInstanceUID=None)
    write_dicom(tmp_path / "a" / "report", PIXELS, **REPORT)
    write_dicom(tmp_path / "DICOMDIR", PIXELS, **REPORT)
    listing = list_dicom(_files(tmp_path), unit="file")
    assert dict(listing.images) == {
        "b/1": str(tmp_path / "b" / "1"),
        "b/2": str(tmp_path / "b" / "2"),
    }
    assert list(listing.images) == ["b/1", "b/2"]
    assert listing.skipped == ("DICOMDIR", "a/report")


def test_series_are_those_of_one_folder(tmp_path: Path) -> None:
    volume = np.zeros((3, 4, 2), np.int16)
    write_series(tmp_path / "p1" / "ct", volume)
    write_dicom(tmp_path / "p1" / "ct" / "localizer", PIXELS, SeriesInstanceUID="1.9")
    write_series(tmp_path / "p2", volume, SeriesInstanceUID="1.2.4")
    write_dicom(tmp_path / "loose", PIXELS, SeriesInstanceUID="1.7")
    write_dicom(tmp_path / "p2" / "plan", PIXELS, SeriesInstanceUID=None, **REPORT)
    listing = list_dicom(_files(tmp_path), unit="series")
    names = {
        "1.7": ["loose"],
        "p1/ct/1.2.3": ["p1/ct/0.dcm", "p1/ct/1.dcm"],
        "p1/ct/1.9": ["p1/ct/localizer"],
        "p2/1.2.4": ["p2/0.dcm", "p2/1.dcm"],
    }
    assert list(listing.images) == list(names)
    for id_, files in names.items():
        assert listing.images[id_] == Series(files=[str(tmp_path / name) for name in files])
    assert listing.skipped == ("p2/plan",)


def test_nothing_is_nothing() -> None:
    for unit in ("file", "series"):
        listing = list_dicom({}, unit=unit)  # type: ignore[arg-type]
        assert dict(listing.images) == {}
        assert listing.skipped == ()


def test_many_files_in_many_threads(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a", PIXELS)
    files = {f"{n:04}": str(tmp_path / "a") for n in range(1000)}
    assert list_dicom(files, unit="file").images == files


def test_the_first_ten_broken_files_are_named(tmp_path: Path) -> None:
    write_dicom(tmp_path / "good", PIXELS)
    for n in range(11):
        (tmp_path / f"text{n:02}").write_bytes(b"text" * 100)
    files = {**_files(tmp_path), "absent": str(tmp_path / "absent")}
    with pytest.raises(DataError) as caught:
        list_dicom(files, unit="file")
    assert str(caught.value).splitlines() == [
        "12 of 13 DICOM files can't be used:",
        f"  {tmp_path / 'absent'} is not there.",
        *(f"  {tmp_path / f'text{n:02}'} is not a DICOM file." for n in range(9)),
        "  and 2 more.",
        "Remove or repair them.",
    ]


def test_files_without_a_series(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", PIXELS, SeriesInstanceUID=None)
    with pytest.raises(DataError) as caught:
        list_dicom({"a": str(path)}, unit="series")
    assert str(caught.value) == (
        "1 of 1 DICOM files can't be used:\n"
        f'  {path} has no SeriesInstanceUID. Set dataset.unit = "file".\n'
        "Remove or repair them."
    )


def test_headers_are_read_without_the_pixels(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", np.zeros((100, 100), np.int16))
    content = path.read_bytes()
    path.write_bytes(content[:-15_000])  # most of the pixels are gone: reading says so, not this
    assert list(list_dicom({"a": str(path)}, unit="series").images) == ["1.2.3"]
    path.write_bytes(content[:420])
    with pytest.raises(DataError) as caught:
        list_dicom({"a": str(path)}, unit="file")
    assert str(caught.value) == (
        "1 of 1 DICOM files can't be used:\n"
        f"  {path} is of the kind CT Image Storage but has no pixels: it may be cut off.\n"
        "Remove or repair them."
    )


def test_what_can_not_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_dicom({"a": str(tmp_path), "b": str(tmp_path / "none")}, unit="file")
    assert str(caught.value).splitlines()[1:3] == [
        f"  {tmp_path} can't be read: is a directory.",
        f"  {tmp_path / 'none'} is not there.",
    ]
