"""DICOM, NIfTI and arrays: what independent writers wrote, whole and damaged, and what it means."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from medpipe.builtin.transforms.load_image import LoadImage
from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.data.readers.reader import decode_content, read_image, read_sample_image
from medpipe.errors import DataError
from medpipe.steps import DecodedImage, Reading, Series
from support.drawn_dicom import dicom, write_dicom, write_series
from support.examples import examples

pytest.importorskip("imagecodecs")  # it compresses frames

from formats import dicom as dicom_files
from formats import nifti as nifti_files
from formats.damage import damage
from formats.written import Written, wrong

pytestmark = pytest.mark.filterwarnings("ignore")
RANDOM = np.random.default_rng(0)
UNITS = RANDOM.integers(0, 2048, (6, 5)).astype(np.uint16)
PLACE = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
STEPS = {step.name: step for step in TRANSFORMS}
QUICK = settings(
    max_examples=examples(120),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        call(*arguments)
    return str(caught.value)


# --- the law, and damage ----------------------------------------------------------------------


@QUICK
@given(dicom_files.EXAMPLES)
def test_dicom_is_read_rightly_or_refused(written: Written) -> None:
    assert wrong(written) is None


@QUICK
@given(nifti_files.EXAMPLES)
def test_nifti_is_read_rightly_or_refused(written: Written) -> None:
    assert wrong(written) is None


@pytest.mark.parametrize("name", dicom_files.SMALL)
def test_no_cut_of_dicom_is_silent(name: str) -> None:
    small = dicom_files.SMALL[name]
    places = range(3, len(small.content), 41)
    for place, counted in damage(small, places).items():
        assert counted["cut"]["silent"] == 0, place
        if place in ("preamble", "meta", "header"):
            assert counted["flipped"]["silent"] == 0, place


@pytest.mark.parametrize("name", nifti_files.SMALL)
def test_no_damage_of_gzipped_nifti_is_silent(name: str) -> None:
    small = nifti_files.SMALL[name]
    for place, counted in damage(small, range(1, len(small.content), 7)).items():
        assert counted["cut"]["silent"] == 0, place
        if small.checked:
            assert sum(count["silent"] for count in counted.values()) == 0, place


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("said", ["JFIF", "Adobe", "RGB"])
def test_lossy_jpeg_has_the_colours_that_it_says(kind: str, said: str) -> None:
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:16], colours[16:] = (200, 30, 60), (20, 180, 90)
    written = BytesIO()
    Image.fromarray(colours).save(
        written, "JPEG", quality=98, subsampling=0, keep_rgb=said == "RGB"
    )
    frame = written.getvalue()
    if said == "Adobe":
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\x01"
        frame = frame[:2] + adobe + frame[4 + int.from_bytes(frame[4:6], "big") :]

    def content(frame: bytes) -> bytes:
        dataset = dicom(colours, colours=True, PhotometricInterpretation=kind)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        return dicom_files.content_of(dataset)

    found = decode_content(content(frame), "a", Reading(channels="auto"))
    assert int(np.abs(found.values.astype(int) - colours).max()) <= 2
    cut = content(frame[: len(frame) - 40] + b"\xff\xd9")
    assert refusal(decode_content, cut, "a", Reading()) == (
        "The image a is damaged: Corrupt JPEG data: premature end of data segment. Write the file "
        "again with a header that fits its pixels, or leave it out."
    )


# --- frames -----------------------------------------------------------------------------------


def test_frames_beyond_their_number_are_refused(tmp_path: Path) -> None:
    dataset = dicom(UNITS)
    dataset.PixelData = UNITS.tobytes() * 3
    dataset.save_as(tmp_path / "a", enforce_file_format=True)
    assert refusal(read_image, tmp_path / "a") == (
        f"The image {tmp_path / 'a'} holds 180 bytes of pixels, as many as 3 frames have, but "
        "Rows, Columns, SamplesPerPixel, BitsAllocated and NumberOfFrames (1) say 60. Write the "
        "file again with a header that fits its pixels, or leave it out."
    )


def test_a_film_is_no_volume_unless_it_is_asked_for(tmp_path: Path) -> None:
    frames = RANDOM.integers(0, 9, (3, 6, 5)).astype(np.uint8)
    path = write_dicom(tmp_path / "a", frames, Modality="US")
    assert refusal(read_image, path) == (
        f"The image {path} has 3 frames, but doesn't say where each of them lies, so they are not "
        'a volume. Set dataset.frames = "volume" to stack them as they are stored, or "first" to '
        "take the first alone."
    )
    found = read_image(path, Reading(frames="volume"))
    np.testing.assert_array_equal(found.values, np.moveaxis(frames, 0, 2))
    assert (found.spacing, found.spacing_of) == (None, "unknown")
    first = read_image(path, Reading(frames="first"))
    np.testing.assert_array_equal(first.values, frames[0])


@pytest.mark.parametrize(
    ("elements", "order"),
    [
        ({"GridFrameOffsetVector": [0, -3, -6]}, [2, 1, 0]),
        ({"GridFrameOffsetVector": [3, 6, 9]}, [0, 1, 2]),
        ({"SliceVector": [2, 3, 1], "SpacingBetweenSlices": 3}, [2, 0, 1]),
    ],
)
def test_doses_and_nuclear_medicine_say_where_frames_lie(
    tmp_path: Path, elements: dict[str, Any], order: list[int]
) -> None:
    frames = RANDOM.integers(0, 9, (3, 6, 5)).astype(np.uint16)
    path = write_dicom(tmp_path / "a", frames, PixelSpacing=[1, 2], **PLACE, **elements)
    found = read_image(path)
    np.testing.assert_array_equal(found.values, np.moveaxis(frames[order], 0, 2))
    assert (found.spacing, found.spacing_of) == ((1, 2, 3), "patient")
    assert found.affine is not None
    np.testing.assert_array_equal(np.abs(np.diag(found.affine)), [2, 1, 3, 1])


# --- what values mean -------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "NM", None])
def test_measurements_are_not_inverted(tmp_path: Path, modality: str | None) -> None:
    elements = {"Modality": modality} if modality else {}
    elements |= {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 9, "WindowWidth": 99}
    one = write_dicom(tmp_path / "1", UNITS, PhotometricInterpretation="MONOCHROME1", **elements)
    two = write_dicom(tmp_path / "2", UNITS, **elements)
    np.testing.assert_array_equal(read_image(one).values, UNITS - 1024.0)
    for window in ("none", (40.0, 400.0)):
        reading = Reading(window=window)
        np.testing.assert_array_equal(
            read_image(one, reading).values, read_image(two, reading).values
        )
    shown = Reading(window="voi")  # as a viewer shows it, that is inverted
    assert not np.array_equal(read_image(one, shown).values, read_image(two, shown).values)


@pytest.mark.parametrize(
    ("elements", "field"),
    [
        ({"RescaleSlope": 2}, "it has a RescaleSlope but no RescaleIntercept"),
        ({"RescaleIntercept": 2}, "it has a RescaleIntercept but no RescaleSlope"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "its RescaleSlope is 0, which makes all"),
        ({"RescaleSlope": [1, 2], "RescaleIntercept": 1}, "its RescaleSlope is [1.0, 2.0], not"),
    ],
)
def test_half_a_rescale_is_refused(tmp_path: Path, elements: dict[str, Any], field: str) -> None:
    said = refusal(read_image, write_dicom(tmp_path / "a", UNITS, **elements))
    assert said.startswith(f"The image {tmp_path / 'a'} is damaged: {field}")


@pytest.mark.parametrize(
    ("stored", "elements"),
    [
        (-2000, {"PixelPaddingValue": -2000}),
        (-2000, {"PixelPaddingValue": -2048, "PixelPaddingRangeLimit": -1990}),
    ],
)
@pytest.mark.parametrize("window", ["none", (40.0, 400.0)])
def test_padding_is_kept_out_of_scaling(
    tmp_path: Path, stored: int, elements: dict[str, Any], window: Any
) -> None:
    values = RANDOM.integers(-1024, 1000, (6, 5)).astype(np.int16)
    values[0] = stored
    path = write_dicom(tmp_path / "a", values, **elements)
    reading = Reading(window=window)
    found = read_image(path, reading).values
    right = read_image(path, Reading(window=window, padding="keep")).values.copy()
    np.testing.assert_array_equal(found[1:], right[1:])
    assert set(found[0].tolist()) == {right[1:].min()}


def test_padding_that_bits_stored_cannot_hold(tmp_path: Path) -> None:
    values = UNITS.copy()
    values[0] = 63536
    elements = {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 63536}
    path = write_dicom(tmp_path / "a", values, **elements)
    found = read_image(path).values
    assert set(found[0].tolist()) == {int(UNITS[1:].min())}
    np.testing.assert_array_equal(read_image(path, Reading(padding="keep")).values, values)


def test_padding_of_a_series_gets_the_lowest_value_of_the_volume(tmp_path: Path) -> None:
    volume = RANDOM.integers(100, 900, (4, 3, 3)).astype(np.int16)
    volume[0, 0] = -2000
    paths = write_series(tmp_path, volume, PixelPaddingValue=-2000)
    found = read_image(Series(files=[str(path) for path in paths])).values
    right = np.where(volume == -2000, volume[volume != -2000].min(), volume)
    np.testing.assert_array_equal(found, right)


# --- spacing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "spacing", "of"),
    [
        ({"Modality": "CT", "PixelSpacing": [1, 2]}, (1, 2), "patient"),
        ({"Modality": "CT"}, None, "unknown"),
        ({"Modality": "CR", "PixelSpacing": [0, 0]}, None, "unknown"),
        ({"Modality": "CR", "PixelSpacing": [1, 2]}, (1, 2), "detector"),
        ({"Modality": "CR", "ImagerPixelSpacing": [1, 2]}, (1, 2), "detector"),
        (
            {"Modality": "DX", "ImagerPixelSpacing": [1, 2], "PixelSpacing": [1, 2]},
            (1, 2),
            "detector",
        ),
        (
            {"Modality": "DX", "ImagerPixelSpacing": [1, 2], "PixelSpacing": [0.5, 1]},
            (0.5, 1),
            "patient",
        ),
        (
            {
                "Modality": "CR",
                "PixelSpacing": [1, 2],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            (1, 2),
            "patient",
        ),
        (
            {
                "Modality": "MG",
                "ImagerPixelSpacing": [1, 2],
                "EstimatedRadiographicMagnificationFactor": "2",
            },
            (0.5, 1),
            "patient",
        ),
        ({"Modality": "OT", "NominalScannedPixelSpacing": [1, 2]}, (1, 2), "detector"),
    ],
)
def test_whose_the_spacing_is(
    tmp_path: Path, elements: dict[str, Any], spacing: tuple[float, ...] | None, of: str
) -> None:
    path = write_dicom(tmp_path / "a", UNITS, **elements)
    found = read_image(path)
    assert (found.spacing, found.spacing_of, found.affine) == (spacing, of, None)
    loaded: Any = LoadImage().build()({"image": str(path)})["image"]
    resample = STEPS["spacing"](pixdim=(1.0, 1.0)).build()
    sample = {"image": loaded[None], "id": "a"}
    if of == "patient":
        assert spacing is not None
        found = resample(sample)["image"]
        first: Any = found.affine
        np.testing.assert_allclose(np.diag(first)[:2], 1, rtol=1e-6)
        assert loaded.affine.diagonal().tolist()[:2] == [spacing[1], spacing[0]]
        return
    reason = {
        "unknown": "its file doesn't say how large its pixels are",
        "detector": "its spacing is that of the detector, which is larger than that in the patient",
    }[of]
    assert refusal(resample, sample) == (
        f"The step 'spacing' can't resample {path}: {reason}. Leave it out, use the step 'resize', "
        "or use the step 'spacing' only where all files say their spacing in the patient (DICOM's "
        "PixelSpacing)."
    )


def test_pixels_of_unknown_size_make_no_volume_unless_asked_for(tmp_path: Path) -> None:
    volume = RANDOM.integers(0, 900, (4, 3, 4)).astype(np.int16)
    paths = write_series(tmp_path, volume, PixelSpacing="")
    series = Series(files=[str(path) for path in reversed(paths)])
    assert refusal(read_image, series) == (
        f"The 4 files of a DICOM series in {tmp_path} are not one volume: they say where in the "
        "patient they lie, but not how large their pixels are (PixelSpacing). Write PixelSpacing "
        'into the headers, or set dataset.missing_spacing = "unknown" to read such volumes with '
        "an unknown spacing."
    )
    found = read_image(series, Reading(missing_spacing="unknown"))
    np.testing.assert_array_equal(found.values, volume)
    assert (found.affine, found.spacing, found.spacing_of) == (None, None, "unknown")


def test_a_slice_beside_the_line_of_the_others_is_refused(tmp_path: Path) -> None:
    volume = RANDOM.integers(0, 900, (4, 3, 5)).astype(np.int16)
    tilted = write_series(tmp_path / "tilted", volume)
    for place, path in enumerate(tilted):
        write_dicom(
            path,
            volume[:, :, place],
            **{**PLACE, "ImagePositionPatient": [0, 2 * place, 5 * place], "PixelSpacing": [1, 1]},
        )
    found = read_image(Series(files=[str(path) for path in tilted]))
    assert found.affine is not None
    np.testing.assert_array_equal(found.affine[:3, 2], [0, -2, 5])
    bent = {**PLACE, "ImagePositionPatient": [0, 9, 10], "PixelSpacing": [1, 1]}
    write_dicom(tilted[2], volume[:, :, 2], **bent)
    said = refusal(read_image, Series(files=[str(path) for path in tilted]))
    assert f"{tilted[2]} lies 5 mm beside the line of the others" in said


# --- NIfTI ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("mm", 1), ("micron", 0.001)])
def test_the_affine_is_in_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.diag([2, 3, 4, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    found = read_image(tmp_path / "a.nii")
    np.testing.assert_allclose(found.affine, np.diag([2 * factor, 3 * factor, 4 * factor, 1]))
    assert found.spacing == pytest.approx((3 * factor, 2 * factor, 4 * factor))


def test_without_a_code_the_spacing_is_known_and_the_place_is_not(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), None)
    image.header.set_zooms((2, 3, 4))
    nibabel.save(image, tmp_path / "a.nii")
    found = read_image(tmp_path / "a.nii")
    assert (found.affine, found.spacing, found.spacing_of) == (None, (3, 2, 4), "patient")
    loaded: Any = LoadImage().build()({"image": str(tmp_path / "a.nii")})["image"]
    np.testing.assert_array_equal(loaded.affine, np.diag([2, 3, 4, 1]))


def test_an_analyze_pair_is_named(tmp_path: Path) -> None:
    image = nibabel.AnalyzeImage(np.zeros((2, 3, 4), np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "a.img")
    assert refusal(read_image, tmp_path / "a.hdr") == (
        f"The image {tmp_path / 'a.hdr'} is the header of an Analyze 7.5 pair, whose values are in "
        "another file. Save the two as one .nii file."
    )


# --- arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", "?bBhHiIqQefdg")
@pytest.mark.parametrize("order", "<>")
def test_arrays_of_every_real_type(kind: str, order: str) -> None:
    values = (np.arange(6).reshape(2, 3) % 2).astype(np.dtype(kind).newbyteorder(order))
    for array in (values, np.asfortranarray(values), values[:, ::-1]):
        loaded: Any = LoadImage(axes="hw").build()({"image": array})["image"]
        np.testing.assert_array_equal(loaded, array.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 3), complex), "holds complex numbers, which are not real numbers"),
        (np.full((2, 3), None), "holds values of the type object, which are not real"),
        (np.zeros((2, 3), "M8[s]"), "holds values of the type datetime64[s], which are no"),
        (np.zeros((0, 3)), "has no pixels: its shape is (0, 3)"),
        (np.ma.masked_less(np.eye(3), 1), "is an array with masked values"),
    ],
)
def test_arrays_that_are_no_images(values: Any, reason: str) -> None:
    for array in (values, DecodedImage(values=values)):
        assert refusal(read_sample_image, array, Reading()).startswith(
            f"The image in memory {reason}"
        )


@pytest.mark.parametrize("values", [np.array([[1e39, 0]]), np.array([[-1e300, 0]], np.longdouble)])
def test_what_is_infinite_in_float32_alone_is_refused(values: Any) -> None:
    said = refusal(LoadImage().build(), {"image": values, "id": "x"})
    assert said == (
        "x has values beyond 3.4e38, which are infinite in float32, the type in which training "
        "computes. Scale them first."
    )


def test_what_float32_cannot_tell_apart_is_refused() -> None:
    values = (1 << 40) + np.arange(6).reshape(2, 3)
    said = refusal(LoadImage().build(), {"image": values, "id": "x"})
    assert said == (
        "x has values up to 1.09951e+12 that differ by 5 at most: float32, the type in which "
        "training computes, can't tell them apart. Subtract the lowest value first."
    )
    said = refusal(LoadImage().build(), {"image": values.astype(np.uint64) + 2**63, "id": "x"})
    assert "that differ by 5 at most" in said  # nor can float64
    LoadImage().build()({"image": values - (1 << 40)})
    LoadImage().build()({"image": np.arange(6).reshape(2, 3) << 40})
