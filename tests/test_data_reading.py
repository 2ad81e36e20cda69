"""Decoding of pictures and stacks: the values, and what can be wrong with a file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from medpipe.data.readers.reader import file_bytes, read_image, read_sample_image
from medpipe.errors import DataError
from medpipe.steps import DecodedImage, Reading, Series
from support.examples import examples
from support.waiting import within

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
WIDE = RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16)
RGB = Image.fromarray(COLOURS)
GREY = RGB.convert("L")


def _save(folder: Path, name: str, image: Image.Image, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


FILES: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
    "RGB": ("a.png", RGB, {}),
    "RGB in BMP": ("a.bmp", RGB, {}),
    "RGB in TIFF": ("a.tif", RGB, {}),
    "RGB in JPEG": ("a.jpeg", RGB, {}),
    "CMYK": ("a.jpg", RGB.convert("CMYK"), {}),
    "YCbCr": ("a.tif", RGB.convert("YCbCr"), {}),
    "RGBA": ("a.png", RGB.convert("RGBA"), {}),
    "grey": ("a.png", GREY, {}),
    "grey in JPEG": ("a.jpg", GREY, {}),
    "grey with alpha": ("a.png", GREY.convert("LA"), {}),
    "one bit": ("a.png", RGB.convert("1"), {}),
    "palette": ("a.png", RGB.convert("P"), {}),
    "palette with alpha": ("a.png", RGB.convert("P"), {"transparency": bytes(range(200))}),
    "16 bits in PNG": ("a.png", Image.fromarray(WIDE), {}),
    "16 bits in TIFF": ("a.tif", Image.fromarray(WIDE), {}),
    "16 bits, big-endian": (
        "a.tif",
        Image.frombytes("I;16B", (7, 5), WIDE.astype(">u2").tobytes()),
        {},
    ),
    "32 bits": ("a.tif", Image.fromarray(WIDE.astype(np.int32) * 70_000), {}),
    "floats": ("a.tif", Image.fromarray(RANDOM.normal(size=(5, 7)).astype(np.float32)), {}),
}


@pytest.mark.parametrize("kind", FILES)
def test_untouched_images_are_those_of_monai(kind: str, tmp_path: Path) -> None:
    from monai.data import PILReader

    name, image, options = FILES[kind]
    path = _save(tmp_path, name, image, **options)
    reader = PILReader()
    expected, _ = reader.get_data(reader.read(path))

    array = _values(path)

    np.testing.assert_array_equal(np.moveaxis(array, 0, 1), expected)
    assert array.dtype == expected.dtype.newbyteorder("=")
    assert array.flags.writeable


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("error")
def test_channels_are_what_was_asked_for(kind: str, tmp_path: Path) -> None:
    name, image, options = FILES[kind]
    path = _save(tmp_path, name, image, **options)
    grey, rgb, auto = (_values(path, channels) for channels in (1, 3, "auto"))
    one_channel = kind.startswith(("grey", "one bit", "16", "32", "floats"))

    assert grey.shape == (5, 7)
    assert rgb.shape == (5, 7, 3)
    assert auto.shape == ((5, 7) if one_channel else (5, 7, 3))
    assert grey.dtype == rgb.dtype == auto.dtype
    if one_channel:
        np.testing.assert_array_equal(rgb, np.stack([grey] * 3, axis=-1))
        np.testing.assert_array_equal(auto, grey)
    else:
        np.testing.assert_array_equal(auto, rgb)
        np.testing.assert_array_equal(grey, Image.fromarray(rgb).convert("L"))


def test_values_are_kept(tmp_path: Path) -> None:
    transparent = Image.fromarray(np.dstack([COLOURS, np.full((5, 7), 9, np.uint8)]))
    palette = RGB.quantize(4)
    wide = _save(tmp_path, "wide.png", Image.fromarray(WIDE))

    alpha = _values(_save(tmp_path, "alpha.png", transparent), "auto")
    resolved = _values(_save(tmp_path, "palette.png", palette), 3)
    bits = _values(_save(tmp_path, "bits.png", RGB.convert("1")), 1)

    np.testing.assert_array_equal(alpha, COLOURS)
    np.testing.assert_array_equal(resolved, np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(_values(wide, 1), WIDE)
    assert set(np.unique(bits)) == {0, 255}


def _values(path: Path, channels: Any = None) -> np.ndarray:
    decoded = read_image(path, Reading(channels=channels))
    assert decoded.channels is (decoded.values.ndim == 3)
    assert decoded.affine is None
    return decoded.values


def _message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    return str(caught.value)


def test_absent_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert _message(path) == f"The image {path} is not there. Remove or repair it."


def test_folder(tmp_path: Path) -> None:
    expected = f"The image {tmp_path} can't be read: is a directory. Remove or repair it."
    assert _message(tmp_path) == expected


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    assert _message(path) == f"The image {path} is empty. Remove or repair it."


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with within(10):
        assert _message(tmp_path / "a.png") == (
            f"The image {tmp_path / 'a.png'} is not a file but a pipe. Remove or repair it."
        )


def test_what_comes_in_pieces_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path, "a.png", RGB)
    content, read = path.read_bytes(), os.read
    monkeypatch.setattr(os, "read", lambda handle, count: read(handle, min(count, 7)))
    assert file_bytes(path) == content


@pytest.mark.parametrize("content", [b"patient;age\n1;70\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert _message(path) == (
        f"The image {path} is not a PNG, JPEG, TIFF, BMP, NIfTI, DICOM or NumPy image. "
        "Remove or repair it."
    )


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_truncated_file(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path, name, Image.fromarray(np.tile(COLOURS, (20, 20, 1))))
    path.write_bytes(path.read_bytes()[:-2000])
    message = _message(path)
    assert message.startswith(f"The image {path} is ")
    assert message.endswith(". Remove or repair it.")


def test_truncated_jpeg_in_full(tmp_path: Path) -> None:
    path = _save(tmp_path, "a.jpg", GREY)
    path.write_bytes(path.read_bytes()[:-30])
    assert _message(path) == (
        f"The image {path} is damaged: it ends without an end marker. Remove or repair it."
    )


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_no_truncation_changes_pixels_silently(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path, name, GREY)
    content, whole = path.read_bytes(), _values(path)
    refused = 0
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            array = _values(path)
        except DataError:
            refused += 1
        else:  # what is missing is no pixel: a checksum or an end mark
            np.testing.assert_array_equal(array, whole)
    assert refused > len(content) / 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [30, 10])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_decompression_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, name: str
) -> None:
    path = _save(tmp_path, name, GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert _message(path) == (
        f"The image {path} may be a decompression bomb: it has 35 pixels, more than Pillow's "
        f"limit of {limit}. If it is genuine, raise PIL.Image.MAX_IMAGE_PIXELS."
    )


def test_several_pages(tmp_path: Path) -> None:
    path = _save(tmp_path, "a.tif", RGB, save_all=True, append_images=[RGB, RGB])
    assert _message(path) == (
        f"The image {path} has 3 pages, of which only the first would be read. "
        "Save each page as a file of its own."
    )


def test_a_jpeg_with_previews_is_its_first_picture(tmp_path: Path) -> None:
    path = _save(tmp_path, "a.jpg", RGB, format="MPO", save_all=True, append_images=[RGB])
    assert _values(path, 3).shape == COLOURS.shape


def test_many_threads_decode_alike(tmp_path: Path) -> None:
    paths = [_save(tmp_path, f"{n}.png", Image.fromarray(COLOURS + n)) for n in range(50)]
    with ThreadPoolExecutor(8) as threads:
        arrays = list(threads.map(_values, paths * 4))
    for index, array in enumerate(arrays):
        np.testing.assert_array_equal(array, COLOURS + index % 50)


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_exif_orientation_is_applied_unless_untouched(
    tmp_path: Path, orientation: int, name: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = _values(_save(tmp_path, f"plain-{name}", RGB), "auto")
    path = _save(tmp_path, name, RGB, exif=exif)
    np.testing.assert_array_equal(_values(path), plain)
    np.testing.assert_array_equal(_values(path, "auto"), ORIENTED[orientation](plain))
    grey = np.asarray(Image.fromarray(plain).convert("L"))
    np.testing.assert_array_equal(_values(path, 1), ORIENTED[orientation](grey))


def test_damaged_exif_data_are_no_reason_to_refuse(tmp_path: Path) -> None:
    path = _save(tmp_path, "a.jpg", RGB, exif=b"Exif\0\0broken")
    assert _values(path, 3).shape == (5, 7, 3)


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    path = _save(tmp_path, "a.dcm", RGB, format="PNG")
    np.testing.assert_array_equal(_values(path), COLOURS)


@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
    ),
    st.sampled_from(["a.png", "a.tif"]),
)
@settings(max_examples=examples(40), deadline=None)
def test_what_is_written_is_read(array: np.ndarray, name: str) -> None:
    with TemporaryDirectory() as folder:
        path = _save(Path(folder), name, Image.fromarray(array))
        for channels in (None, 1, "auto"):
            found = _values(path, channels)
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype


def test_several_files_of_a_sample_become_channels(tmp_path: Path) -> None:
    grey, rgb = _save(tmp_path, "grey.png", GREY), _save(tmp_path, "rgb.png", RGB)
    stacked = read_sample_image((grey, rgb), Reading())
    assert stacked.channels
    assert stacked.values.shape == (5, 7, 4)
    np.testing.assert_array_equal(stacked.values[..., 0], np.asarray(GREY))
    np.testing.assert_array_equal(stacked.values[..., 1:], COLOURS)
    for one in ((grey,), str(grey), grey):
        alone = read_sample_image(one, Reading())
        assert not alone.channels
        assert alone.values.shape == (5, 7)


def test_what_is_in_memory_stays_as_it_is() -> None:
    assert read_sample_image(COLOURS, Reading(channels=1)).values is COLOURS
    assert read_sample_image(COLOURS, Reading()).channels
    assert not read_sample_image(WIDE, Reading()).channels
    volume = DecodedImage(values=COLOURS)
    assert read_sample_image(volume, Reading()) is volume


def test_files_of_a_sample_that_differ_in_size(tmp_path: Path) -> None:
    a, b = _save(tmp_path, "a.png", GREY), _save(tmp_path, "b.png", GREY.resize((8, 5)))
    with pytest.raises(DataError) as caught:
        read_sample_image((a, b), Reading())
    assert str(caught.value) == (
        f"The images {a} (5 x 7) and {b} (5 x 8) belong to one sample but differ in size. "
        "Resample them to one size."
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ((), "A sample names no image file. Give it at least one."),
        (
            ["a.png"],
            "A sample's image is of the type list. Give a path, a Series, a tuple of these, a "
            "numpy array or a DecodedImage.",
        ),
        (
            np.zeros((2, 3, 4, 5)),
            "A sample's image is an array of shape (2, 3, 4, 5), which is neither "
            "(height, width) nor (height, width, channels). Give a volume as a DecodedImage.",
        ),
        (
            DecodedImage(values=np.zeros((2, 3)), channels=True),
            "A sample's DecodedImage has values of shape (2, 3) with channels. Give "
            "(height, width) or (height, width, depth), and the channels last.",
        ),
        (Series(files=()), "A sample's series names no file. Give it at least one."),
    ],
    ids=["no file", "list", "four axes", "too few axes", "empty series"],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_sample_image(image, Reading())
    assert str(caught.value) == message
