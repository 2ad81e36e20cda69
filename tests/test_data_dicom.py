"""DICOM files: values against pydicom's own look-ups, windows, inversion, frames, refusals."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGLSLossless, RLELossless

from medpipe.data.readers.dicom.files import is_dicom
from medpipe.data.readers.reader import read_image
from medpipe.errors import DataError
from medpipe.steps import Reading
from support.drawn_dicom import dicom, items, write_dicom
from support.examples import examples

pytestmark = pytest.mark.filterwarnings("ignore")

RANDOM = np.random.default_rng(0)
HOUNSFIELD = RANDOM.integers(-1000, 2000, (6, 5)).astype(np.int16)
COUNTS = RANDOM.integers(0, 4096, (6, 5)).astype(np.uint16)
# Without pydicom's own look-up of test files, which may download.
THEIRS = [p for p in sorted((Path(pydicom.__file__).parent / "data").rglob("*")) if is_dicom(p)]


def _refusal(path: Path, reading: Reading = Reading()) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, reading)
    return str(caught.value)


CONTRADICTORY = {
    "MR_small_padded.dcm": "a row of zeros too many",
    "JPEG2000-embedded-sequence-delimiter.dcm": "another width in the compressed frame",
}
"""Made so for pydicom's tests."""
TWELVE = {"JPEG-lossy.dcm", "JPGExtended.dcm"}
"""Lossy JPEG of 12 bits, which pydicom decodes by no decoder that is installed."""


# --- against pydicom --------------------------------------------------------------------------


def _expected(path: Path, window: str) -> np.ndarray | None:
    """What pydicom itself gives, frames last; None where it can't decode the file."""
    dataset = pydicom.dcmread(path)
    try:
        values = dataset.pixel_array
    except Exception:
        return None
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    elif kind.startswith("MONOCHROME"):
        values = apply_modality_lut(values, dataset)
        if "DoseGridScaling" in dataset:
            values = (values * float(dataset.DoseGridScaling)).astype(np.float32)
        if window == "voi":
            values = apply_voi_lut(values, dataset)
        if kind == "MONOCHROME1":  # 12 bits, a slope and an intercept, in all of them
            slope, intercept = dataset.RescaleSlope, dataset.RescaleIntercept
            values = (4095 * slope + intercept) + intercept - values
    return np.moveaxis(values, 0, 2) if int(dataset.get("NumberOfFrames") or 1) > 1 else values


@pytest.mark.parametrize("window", ["none", "voi"])
def test_values_are_those_of_pydicom_on_its_own_test_files(window: Any) -> None:
    decoded, refused = 0, 0
    kinds: set[str] = set()
    for path in THEIRS:
        expected = _expected(path, window)
        if expected is None and path.name in TWELVE:
            shown = read_image(path, Reading(window=window)).values  # means of GDCM itself
            assert (shown.shape, shown.min(), shown.max()) == ((1024, 256), 0, 264)
            assert shown.mean() == pytest.approx(14.37, abs=0.01)
            continue
        if expected is None:
            refused += 1
            assert str(path) in _refusal(path, Reading(window=window))
            continue
        decoded += 1
        reading = Reading(window=window, frames="volume", padding="keep")
        if path.name in CONTRADICTORY:
            assert str(path) in _refusal(path, reading)
            continue
        found = read_image(path, reading)
        if expected.dtype == np.float64:
            expected = expected.astype(np.float32)
        np.testing.assert_array_equal(found.values, expected, err_msg=str(path))
        assert found.values.dtype.isnative
        assert found.values.flags.writeable
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        assert found.channels is (dataset.PhotometricInterpretation[:4] != "MONO")
        kinds.add(dataset.file_meta.TransferSyntaxUID.name)
    assert decoded >= 95
    assert refused >= 50  # reports, plans, directories, and files that are damaged on purpose
    assert len(kinds) >= 9


# --- windows and inversion --------------------------------------------------------------------


def test_hounsfield_units(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, RescaleSlope=2, RescaleIntercept=-1024)
    found = read_image(path)
    np.testing.assert_array_equal(found.values, COUNTS * 2.0 - 1024)
    assert found.values.dtype == np.float32
    assert read_image(write_dicom(tmp_path / "b", HOUNSFIELD)).values.dtype == np.int16


@pytest.mark.parametrize(("centre", "width"), [(40, 400), (40.5, 1), (-600, 1500), (0, 2)])
def test_a_given_window_is_the_standards_onto_one(
    tmp_path: Path, centre: float, width: float
) -> None:
    values = np.arange(-1400, 600, dtype=np.int16).reshape(40, 50)
    path = write_dicom(tmp_path / "a", values, WindowCenter=1, WindowWidth=7)
    shown = read_image(path, Reading(window=(centre, width))).values
    # PS3.3 C.11.2.1.2.1, word for word.
    expected = np.empty(values.shape)
    for index, x in np.ndenumerate(values):
        if x <= centre - 0.5 - (width - 1) / 2:
            expected[index] = 0
        elif x > centre - 0.5 + (width - 1) / 2:
            expected[index] = 1
        else:
            expected[index] = (x - (centre - 0.5)) / (width - 1) + 0.5
    np.testing.assert_allclose(shown, expected, atol=1e-7)
    assert shown.dtype == np.float32
    assert (shown.min(), shown.max()) == (0, 1)


@pytest.mark.parametrize(
    ("elements", "window", "total"),
    [
        ({}, "none", 65535),
        ({"BitsStored": 12, "HighBit": 11}, "none", 4095),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 10}, "none", 65535 * 0.5 + 20),
        ({"WindowCenter": 2000, "WindowWidth": 500}, "voi", 65535),
        ({"WindowCenter": 2000, "WindowWidth": 500}, "none", 65535),
        ({}, "voi", 65535),
        ({}, (2000, 500), 1),
        (
            {"VOILUTSequence": items(LUTDescriptor=[4096, 0, 10], LUTData=[7] * 4096)},
            "voi",
            1023,
        ),
        (
            {"ModalityLUTSequence": items(LUTDescriptor=[4096, 0, 8], LUTData=[9] * 4096)},
            "none",
            255,
        ),
    ],
    ids=["16 bits", "12 bits", "rescaled", "voi", "no voi asked", "no voi", "given", "tables", "m"],
)
def test_monochrome1_is_inverted_within_what_it_can_hold(
    tmp_path: Path, elements: dict[str, Any], window: Any, total: float
) -> None:
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if table in elements:
            elements[table][0]["LUTData"].VR = "US"
            elements[table][0]["LUTDescriptor"].VR = "US"
    elements = {"Modality": "CR", **elements}
    plain = write_dicom(tmp_path / "plain", COUNTS, **elements)
    other = write_dicom(
        tmp_path / "other", COUNTS, PhotometricInterpretation="MONOCHROME1", **elements
    )
    reading = Reading(window=window)
    expected = total - read_image(plain, reading).values.astype(np.float64)
    np.testing.assert_allclose(read_image(other, reading).values, expected, rtol=1e-6)
    # A part of an image is inverted as the whole is, whatever its extremes.
    part = write_dicom(
        tmp_path / "part", COUNTS[:2], PhotometricInterpretation="MONOCHROME1", **elements
    )
    np.testing.assert_array_equal(
        read_image(part, reading).values, read_image(other, reading).values[:2]
    )


def test_signed_monochrome1(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a", HOUNSFIELD, Modality="DX", PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(read_image(path).values, -1 - HOUNSFIELD)


def test_windows_that_cannot_be_applied(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, WindowCenter=5, WindowWidth=0)
    remedy = 'Set dataset.window = "none", or to the centre and width of a window.'
    assert _refusal(path, Reading(window="voi")) == (
        f"The image {path} has a window that can't be applied: The (0028,1051) Window Width must "
        f"be greater than or equal to 1 for a 'LINEAR' windowing operation. {remedy}"
    )
    assert _refusal(path, Reading(window=(40, 0.5))) == (
        f"The image {path} can't be shown through a window of the width 0.5, below 1. {remedy}"
    )


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("WindowWidth", None, "it has a WindowCenter but no WindowWidth"),
        ("WindowCenter", "", "it has a WindowWidth but no WindowCenter"),
    ],
)
def test_half_a_window(tmp_path: Path, keyword: str, value: Any, said: str) -> None:
    elements = {"WindowCenter": 5, "WindowWidth": 9, keyword: value}
    path = write_dicom(
        tmp_path / "a", COUNTS, **{k: v for k, v in elements.items() if v is not None}
    )
    assert _refusal(path, Reading(window="voi")) == (
        f"The image {path} has a window that can't be applied: {said}. "
        'Set dataset.window = "none", or to the centre and width of a window.'
    )
    np.testing.assert_array_equal(read_image(path).values, COUNTS)


def test_a_window_of_which_nothing_is_said(tmp_path: Path) -> None:
    empty = write_dicom(tmp_path / "a", COUNTS, WindowCenter="", WindowWidth="", VOILUTFunction="")
    np.testing.assert_array_equal(read_image(empty, Reading(window="voi")).values, COUNTS)
    window = {"WindowCenter": 2000, "WindowWidth": 900}
    plain = write_dicom(tmp_path / "b", COUNTS, **window)
    empty = write_dicom(tmp_path / "c", COUNTS, **window, VOILUTFunction="")
    shown = [read_image(path, Reading(window="voi")).values for path in (plain, empty)]
    np.testing.assert_array_equal(*shown)
    other = write_dicom(tmp_path / "d", COUNTS, **window, VOILUTFunction="CUBIC")
    assert "its VOILUTFunction is CUBIC, none of LINEAR, LINEAR_EXACT, SIGMOID." in _refusal(
        other, Reading(window="voi")
    )


@pytest.mark.parametrize("intercept", [0, -1024])
@pytest.mark.parametrize("vr", ["SS", "US"])
def test_a_table_of_8_bits_for_values_of_12(tmp_path: Path, intercept: int, vr: str) -> None:
    table = items(
        LUTDescriptor=[4096, intercept % (1 << 16) if vr == "US" else intercept, 8],
        LUTData=(np.arange(4096, dtype="<u2") // 16).tobytes(),
    )
    table[0]["LUTDescriptor"].VR = vr
    path = write_dicom(
        tmp_path / "a",
        COUNTS,
        BitsStored=12,
        HighBit=11,
        RescaleSlope=1,
        RescaleIntercept=intercept,
        VOILUTSequence=table,
    )
    np.testing.assert_array_equal(read_image(path, Reading(window="voi")).values, COUNTS // 16)


# --- what follows from the rest may be missing ------------------------------------------------


def test_fields_that_follow_from_others(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, SamplesPerPixel=None)
    np.testing.assert_array_equal(read_image(path).values, COUNTS)
    path = write_dicom(tmp_path / "b", COUNTS, NumberOfFrames="  ")
    np.testing.assert_array_equal(read_image(path).values, COUNTS)


def test_the_order_of_colours(tmp_path: Path) -> None:
    """Compressed frames say it themselves; uncompressed ones don't."""
    colours = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path = write_dicom(tmp_path / "a", colours, colours=True, PlanarConfiguration=None)
    assert _refusal(path) == (
        f"The image {path} has no PlanarConfiguration. "
        "Write the file again with a header that fits its pixels, or leave it out."
    )
    for syntax in (JPEGLSLossless, RLELossless):
        colours = np.stack([COUNTS.repeat(9, 0) >> shift & 15 for shift in (0, 4, 8)], axis=-1)
        dataset = dicom(colours.astype(np.uint8), colours=True)
        dataset.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "")
        del dataset.PlanarConfiguration
        dataset.save_as(path, enforce_file_format=True)
        np.testing.assert_array_equal(read_image(path).values, colours)


@pytest.mark.parametrize(("value", "told"), [(0, "0.0"), ([1, 2], "[1.0, 2.0]"), ("", "empty")])
def test_a_dose_without_its_scale(tmp_path: Path, value: Any, told: str) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, Modality="RTDOSE", DoseGridScaling=value)
    assert _refusal(path) == (
        f"The image {path} is damaged: its DoseGridScaling is {told}, not one number above 0. "
        "Remove or repair it."
    )


def test_several_modalities_are_none(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, Modality=["CR", "DX"], PixelSpacing=[2, 3])
    found = read_image(path)
    np.testing.assert_array_equal(found.values, COUNTS)
    assert found.spacing_of == "patient"  # its class is CT


# --- channels ---------------------------------------------------------------------------------


def test_grey_and_colour_become_each_other(tmp_path: Path) -> None:
    colours = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    rgb = write_dicom(tmp_path / "rgb", colours, colours=True)
    grey = write_dicom(tmp_path / "grey", COUNTS)

    found = read_image(rgb, Reading(channels=1))
    assert not found.channels
    np.testing.assert_array_equal(found.values, Image.fromarray(colours).convert("L"))
    for channels in (3, "auto", None):
        np.testing.assert_array_equal(read_image(rgb, Reading(channels=channels)).values, colours)
    found = read_image(grey, Reading(channels=3))
    assert found.channels
    np.testing.assert_array_equal(found.values, np.stack([COUNTS] * 3, axis=-1))


@given(
    arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16]),
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    )
)
@settings(max_examples=examples(40), deadline=None)
def test_what_is_written_is_read(frames: np.ndarray) -> None:
    stored = frames[0] if len(frames) == 1 else frames
    with TemporaryDirectory() as folder:
        path = write_dicom(Path(folder) / "a", stored)
        found = read_image(path, Reading(frames="volume")).values
    assert found.dtype == frames.dtype
    np.testing.assert_array_equal(found.reshape(*stored.shape[-2:], -1), np.moveaxis(frames, 0, 2))


# --- frames -----------------------------------------------------------------------------------

SET_FRAMES = (
    'Set dataset.frames = "volume" to stack them as they are stored, or "first" to take the first '
    "alone."
)
FRAMES = np.stack([np.full((3, 4), 10 * n, np.uint16) for n in range(4)])


def _frame_places(places: list[float], slopes: list[float] | None = None) -> list[pydicom.Dataset]:
    groups = []
    for index, place in enumerate(places):
        (group,) = items(PlanePositionSequence=items(ImagePositionPatient=[1, 2, place]))
        if slopes:
            group.PixelValueTransformationSequence = items(
                RescaleSlope=slopes[index], RescaleIntercept=1
            )
        groups.append(group)
    return groups


SHARED = {
    "SharedFunctionalGroupsSequence": items(
        PlaneOrientationSequence=items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=items(PixelSpacing=[2, 3]),
    )
}


def test_frames_are_a_volume_in_the_order_of_their_places(tmp_path: Path) -> None:
    groups = _frame_places([6, 0, 4, 2], [1, 2, 3, 4])
    path = write_dicom(tmp_path / "a", FRAMES, PerFrameFunctionalGroupsSequence=groups, **SHARED)
    found = read_image(path)
    assert found.values.shape == (3, 4, 4)
    # Each frame has its own rescale: 10 n * slope + 1.
    assert found.values[0, 0].tolist() == [21, 121, 61, 1]
    np.testing.assert_array_equal(
        found.affine, [[-3, 0, 0, -1], [0, -2, 0, -2], [0, 0, 2, 0], [0, 0, 0, 1]]
    )


def test_frames_with_places_and_pixels_of_unknown_size_are_no_volume(tmp_path: Path) -> None:
    place = {
        "SharedFunctionalGroupsSequence": items(
            PlaneOrientationSequence=items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        )
    }
    groups = _frame_places([6, 0, 4, 2])
    path = write_dicom(tmp_path / "a", FRAMES, PerFrameFunctionalGroupsSequence=groups, **place)
    assert _refusal(path) == (
        f"The image {path} has frames that say where in the patient they lie, but not how large "
        "their pixels are (PixelSpacing). Write PixelSpacing into the headers, or set "
        'dataset.missing_spacing = "unknown" to read such volumes with an unknown spacing.'
    )
    found = read_image(path, Reading(missing_spacing="unknown"))
    assert found.values[0, 0].tolist() == [10, 30, 20, 0]
    assert (found.affine, found.spacing_of) == (None, "unknown")


def test_frames_that_are_turned_differently_lie_nowhere(tmp_path: Path) -> None:
    groups = _frame_places([6, 0, 4, 2])
    turned = items(ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    groups[1].PlaneOrientationSequence = turned
    path = write_dicom(tmp_path / "a", FRAMES, PerFrameFunctionalGroupsSequence=groups, **SHARED)
    assert _refusal(path).endswith(
        f"{path} has 4 frames, but says that they are turned differently, so they are not a "
        f"volume. {SET_FRAMES}"
    )
    found = read_image(path, Reading(frames="volume"))
    assert found.values[0, 0].tolist() == [0, 10, 20, 30]
    assert (found.affine, found.spacing_of) == (None, "unknown")


def test_frames_have_windows_of_their_own(tmp_path: Path) -> None:
    groups = _frame_places([0, 1, 2, 3])
    for group, centre in zip(groups, (5, 5, 100, 100), strict=True):
        group.FrameVOILUTSequence = items(WindowCenter=centre, WindowWidth=2)
    path = write_dicom(tmp_path / "a", FRAMES, PerFrameFunctionalGroupsSequence=groups, **SHARED)
    shown = read_image(path, Reading(window="voi")).values
    assert shown[0, 0].tolist() == [0, 65535, 0, 0]


@pytest.mark.parametrize("places", [[0, 1, 0, 1], [0, 0, 0, 0]])
def test_frames_that_share_places_keep_their_order(tmp_path: Path, places: list[float]) -> None:
    groups = _frame_places(places)
    path = write_dicom(tmp_path / "a", FRAMES, PerFrameFunctionalGroupsSequence=groups, **SHARED)
    assert _refusal(path) == (
        f"The image {path} has 4 frames, but says that some of them lie in one place, as time "
        f"points and echoes do, so they are not a volume. {SET_FRAMES}"
    )
    found = read_image(path, Reading(frames="volume"))
    assert found.values[0, 0].tolist() == [0, 10, 20, 30]
    assert found.affine is None
    assert read_image(path, Reading(frames="first")).values.tolist() == FRAMES[0].tolist()


def test_frames_that_are_unevenly_spaced_have_no_affine(tmp_path: Path) -> None:
    groups = _frame_places([9, 2, 1, 0])
    path = write_dicom(tmp_path / "a", FRAMES, PerFrameFunctionalGroupsSequence=groups, **SHARED)
    found = read_image(path)
    assert found.values[0, 0].tolist() == [30, 20, 10, 0]
    assert found.affine is None


def test_a_single_image_says_where_it_lies(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a",
        COUNTS,
        ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        PixelSpacing=[0.5, 0.25],
    )
    np.testing.assert_array_equal(
        read_image(path).affine,
        [[0, 0, 1, -1], [-0.25, 0, 0, -2], [0, -0.5, 0, 3], [0, 0, 0, 1]],
    )
    assert read_image(write_dicom(tmp_path / "b", COUNTS)).affine is None


# --- refusals ---------------------------------------------------------------------------------


def test_a_file_without_pixels(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, PixelData=None)
    assert _refusal(path) == (
        f"The image {path} is a DICOM file without pixels: it is of the kind CT Image Storage. "
        "Leave it out."
    )


def test_a_damaged_file(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS)
    path.write_bytes(path.read_bytes()[:-7])
    assert _refusal(path) == (
        f"The image {path} is truncated: it should hold 60 bytes of pixels, not 53. Write the file "
        "again with a header that fits its pixels, or leave it out."
    )


def test_no_truncation_changes_pixels_silently(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS)
    content, whole = path.read_bytes(), read_image(path).values
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            read_image(path)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path).values, whole)


def test_a_syntax_that_pydicom_does_not_know(tmp_path: Path) -> None:
    dataset = dicom(COUNTS)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.PixelData = pydicom.encaps.encapsulate([b"film"])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(tmp_path / "a")
    assert _refusal(tmp_path / "a") == (
        f"The image {tmp_path / 'a'} is compressed as MPEG2 Main Profile / Main Level "
        "(1.2.840.10008.1.2.4.100), which pydicom can't decode. Convert it to another transfer "
        "syntax."
    )


def test_compressed_files(tmp_path: Path) -> None:
    dataset = dicom(COUNTS, RescaleSlope=1, RescaleIntercept=-10)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "a")
    np.testing.assert_array_equal(read_image(tmp_path / "a").values, COUNTS - 10.0)


def test_a_compressed_file_that_no_decoder_can_decode(tmp_path: Path) -> None:
    dataset = dicom(COUNTS)
    dataset.compress(RLELossless, generate_instance_uid=False)
    content = bytearray(dataset.PixelData)
    content[content.index(b"\xfe\xff\x00\xe0", 8) + 8] = 99  # so many segments there are not
    dataset.PixelData = bytes(content)
    dataset.save_as(tmp_path / "a")
    assert _refusal(tmp_path / "a") == (
        f"The image {tmp_path / 'a'} has 99 segments in a compressed frame, which should be 2. "
        "Write the file again with a header that fits its pixels, or leave it out."
    )
    dataset = dicom(COUNTS)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    content = bytearray(dataset.PixelData)
    content[-20:-4] = bytes(16)
    dataset.PixelData = bytes(content)
    dataset.save_as(tmp_path / "a")
    said = _refusal(tmp_path / "a")
    assert " is compressed as JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80), " in said
    assert " which the installed decoders (" in said
    assert "can't decode: " in said


def test_missing_decoders_are_named_with_the_remedy() -> None:
    (path,) = (p for p in THEIRS if p.name == "MR_small_jpeg_ls_lossless.dcm")
    code = (
        "import sys\n"
        "sys.modules['gdcm'] = sys.modules['jpeg_ls'] = sys.modules['pylibjpeg'] = None\n"
        "from medpipe.plugin import DataError, read_image\n"
        "try: read_image(sys.argv[1])\n"
        "except DataError as error: print(error, end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"The image {path} is compressed as JPEG-LS Lossless Image Compression "
        "(1.2.840.10008.1.2.4.80), for which no decoder is installed. "
        'Install the decoders: pip install "medpipe-imaging[dicom]".'
    )


@pytest.mark.parametrize("kind", ["CMYK", "HSV", "ARGB", "YBR_ICT"])
def test_colours_that_are_not_converted(tmp_path: Path, kind: str) -> None:
    colours = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path = write_dicom(tmp_path / "a", colours, colours=True, PhotometricInterpretation=kind)
    assert _refusal(path) == (
        f"The image {path} has colours of the kind {kind}, which can't be converted. "
        "Save it as a grey or RGB image."
    )


def test_an_empty_rescale_is_named(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, RescaleSlope="", RescaleIntercept="0")
    assert _refusal(path) == (
        f"The image {path} is damaged: its RescaleSlope is empty. Remove or repair it."
    )


def test_monochrome1_of_floats_is_reflected(tmp_path: Path) -> None:
    floats = RANDOM.normal(size=(6, 5)).astype(np.float32)
    whole = dicom(
        np.zeros((6, 5), np.uint32), Modality="CR", PhotometricInterpretation="MONOCHROME1"
    )
    del whole.PixelData
    whole.FloatPixelData = floats.tobytes()
    whole.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a").values, -floats)


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": "1"},
        {"ImageOrientationPatient": [1, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},  # a row along the column
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImagePositionPatient": ["nan", "0", "0"]},
        {"InstanceNumber": ["1", "2"]},
    ],
)
def test_a_damaged_place_is_no_place(tmp_path: Path, elements: dict[str, Any]) -> None:
    place = {
        "ImagePositionPatient": [1, 2, 3],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
    }
    image = read_image(write_dicom(tmp_path / "a", COUNTS, **{**place, **elements}))
    np.testing.assert_array_equal(image.values, COUNTS)
    assert (image.affine is None) == ("InstanceNumber" not in elements)


@pytest.mark.parametrize("spacing", ["0.5", [0.0, 0.0], [-1.0, 1.0]])
def test_pixels_without_a_size(tmp_path: Path, spacing: Any) -> None:
    place = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    path = write_dicom(tmp_path / "a", COUNTS, PixelSpacing=spacing, **place)
    assert _refusal(path) == (
        f"The image {path} is damaged: its PixelSpacing is {spacing}, not two lengths above 0. "
        "Remove or repair it."
    )


def test_pixel_data_without_content(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, PixelData=b"")
    assert _refusal(path) == (
        f"The image {path} is a DICOM file without pixels: it is of the kind CT Image Storage. "
        "Leave it out."
    )


def test_what_pydicom_thinks_of_a_header_is_not_shown(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", COUNTS, NumberOfFrames=0)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read_image(path).values, COUNTS)
    assert shown == []
