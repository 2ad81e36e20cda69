"""Decoding of image files: the values, and what can be wrong with a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from medpipe.data.reading import read_image, read_sample_image
from medpipe.errors import DataError
from medpipe.steps import Reading

if TYPE_CHECKING:
    from pathlib import Path

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

    array = read_image(path)

    np.testing.assert_array_equal(np.moveaxis(array, 0, 1), expected)
    assert array.dtype == expected.dtype.newbyteorder("=")
    assert array.flags.writeable


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("error")
def test_channels_are_what_was_asked_for(kind: str, tmp_path: Path) -> None:
    name, image, options = FILES[kind]
    path = _save(tmp_path, name, image, **options)
    grey, rgb, auto = (read_image(path, Reading(channels=c)) for c in (1, 3, "auto"))
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

    alpha = read_image(_save(tmp_path, "alpha.png", transparent), Reading(channels="auto"))
    resolved = read_image(_save(tmp_path, "palette.png", palette), Reading(channels=3))
    bits = read_image(_save(tmp_path, "bits.png", RGB.convert("1")), Reading(channels=1))

    np.testing.assert_array_equal(alpha, COLOURS)
    np.testing.assert_array_equal(resolved, np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(read_image(wide, Reading(channels=1)), WIDE)
    assert set(np.unique(bits)) == {0, 255}


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


@pytest.mark.parametrize("content", [b"patient;age\n1;70\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    expected = f"The image {path} is not a PNG, JPEG, TIFF or BMP image. Remove or repair it."
    assert _message(path) == expected


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
        f"The image {path} is damaged: image file is truncated (3 bytes not processed). "
        "Remove or repair it."
    )


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_no_truncation_changes_pixels_silently(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path, name, GREY)
    content, whole = path.read_bytes(), read_image(path)
    refused = 0
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            array = read_image(path)
        except DataError:
            refused += 1
        else:  # what is missing is no pixel: a checksum or an end mark
            np.testing.assert_array_equal(array, whole)
    assert refused > len(content) / 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (30, "it has 35 pixels, more than Pillow's limit of 30"),
        (
            10,
            "Image size (35 pixels) exceeds limit of 20 pixels, could be decompression bomb DOS "
            "attack",
        ),
    ],
)
def test_decompression_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, reason: str
) -> None:
    path = _save(tmp_path, "a.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert _message(path) == (
        f"The image {path} may be a decompression bomb: {reason}. "
        "If it is genuine, raise PIL.Image.MAX_IMAGE_PIXELS."
    )


def test_several_pages(tmp_path: Path) -> None:
    path = _save(tmp_path, "a.tif", RGB, save_all=True, append_images=[RGB, RGB])
    assert _message(path) == (
        f"The image {path} has 3 pages, of which only the first would be read. "
        "Save each page as a file of its own."
    )


def test_many_threads_decode_alike(tmp_path: Path) -> None:
    paths = [_save(tmp_path, f"{n}.png", Image.fromarray(COLOURS + n)) for n in range(50)]
    with ThreadPoolExecutor(8) as threads:
        arrays = list(threads.map(read_image, paths * 4))
    for index, array in enumerate(arrays):
        np.testing.assert_array_equal(array, COLOURS + index % 50)


def test_several_files_of_a_sample_become_channels(tmp_path: Path) -> None:
    grey, rgb = _save(tmp_path, "grey.png", GREY), _save(tmp_path, "rgb.png", RGB)
    array = read_sample_image((grey, rgb), Reading())
    assert array.shape == (5, 7, 4)
    np.testing.assert_array_equal(array[..., 0], np.asarray(GREY))
    np.testing.assert_array_equal(array[..., 1:], COLOURS)
    assert read_sample_image((grey,), Reading()).shape == (5, 7, 1)
    assert read_sample_image(str(grey), Reading()).shape == (5, 7)
    assert read_sample_image(COLOURS, Reading(channels=1)) is COLOURS


def test_files_of_a_sample_that_differ_in_size(tmp_path: Path) -> None:
    a, b = _save(tmp_path, "a.png", GREY), _save(tmp_path, "b.png", GREY.resize((8, 5)))
    with pytest.raises(DataError) as caught:
        read_sample_image((a, b), Reading())
    assert str(caught.value) == (
        f"The images {a} (5 x 7) and {b} (5 x 8) belong to one sample but differ in size. "
        "Resample them to one size."
    )


def test_sample_without_an_image() -> None:
    with pytest.raises(DataError) as caught:
        read_sample_image((), Reading())
    assert str(caught.value) == "A sample names no image file. Give it at least one."
    with pytest.raises(DataError) as caught:
        read_sample_image(["a.png"], Reading())
    assert str(caught.value) == (
        "A sample's image is of the type list. Give a path, a tuple of paths or a numpy array."
    )
