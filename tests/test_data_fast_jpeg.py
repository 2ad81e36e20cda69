"""The short way through JPEG: the values are Pillow's, the errors those of the long way."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medpipe.data.readers import fast_jpeg, pictures
from medpipe.data.readers.fast_jpeg import agrees, decode_jpeg, jpeg_header
from medpipe.data.readers.pictures import decode_picture
from medpipe.data.readers.reader import read_image
from medpipe.errors import DataError
from medpipe.steps import Reading
from support.examples import examples

PILLOW_SUBSAMPLINGS = {"444": 0, "422": 1, "420": 2}
CHANNELS: tuple[Any, ...] = (None, 1, 3, "auto")


def _drawn(height: int, width: int, channels: int, seed: int = 0, noise: int = 80) -> np.ndarray:
    """Edges, slopes and noise, as pictures have them."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    slopes = rows[..., None] * random.uniform(0, 3, channels) + columns[..., None] * 2
    edges = 90 * ((rows // 5 + columns // 7) % 2)[..., None]
    values = slopes + edges + random.integers(0, noise + 1, (height, width, channels))
    return (values % 256).astype(np.uint8)


def _written(values: np.ndarray, **options: Any) -> bytes:
    target = BytesIO()
    image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    image.save(target, format="JPEG", **options)
    return target.getvalue()


def _by_pillow(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.array(image)


def _fast(content: bytes) -> np.ndarray | None:
    header = jpeg_header(content)
    return None if header is None else decode_jpeg(content, header)


def _outcome(content: bytes, channels: Any) -> tuple[Any, ...]:
    """The values with their type, or the message."""
    try:
        found = decode_picture(content, "a.jpg", Reading(channels=channels))
    except DataError as error:
        return (str(error),)
    assert found.values.flags.writeable
    assert found.values.flags.c_contiguous
    return found.values.tobytes(), found.values.shape, found.values.dtype.str, found.channels


def _same_without(content: bytes, channels: Any = None) -> tuple[Any, ...]:
    """What is found, which is what the long way gives."""
    found = _outcome(content, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "jpeg_header", lambda _: None)
        assert _outcome(content, channels) == found
    return found


def _swallowed(*_: Any, **__: Any) -> Any:
    pytest.fail("Pillow was asked")


SIDES = st.integers(1, 70)


@given(SIDES, SIDES, st.integers(1, 100), st.integers(0, 2**32 - 1), st.integers(0, 255))
@settings(max_examples=examples(150), deadline=None)
def test_grey_is_bit_for_bit_that_of_pillow(
    height: int, width: int, quality: int, seed: int, noise: int
) -> None:
    content = _written(_drawn(height, width, 1, seed, noise), quality=quality)
    np.testing.assert_array_equal(_fast(content), _by_pillow(content))


@given(
    SIDES,
    SIDES,
    st.integers(1, 100),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
    st.sampled_from(["444", "422", "420", "440", "411"]),
    st.booleans(),
)
@settings(max_examples=examples(300), deadline=None)
def test_colours_are_bit_for_bit_those_of_pillow(
    height: int, width: int, quality: int, seed: int, noise: int, subsampling: str, pillow: bool
) -> None:
    values = _drawn(height, width, 3, seed, noise)
    if pillow and subsampling in PILLOW_SUBSAMPLINGS:
        numbered = PILLOW_SUBSAMPLINGS[subsampling]
        content = _written(values, quality=quality, subsampling=numbered, optimize=bool(seed % 2))
    else:
        content = simplejpeg.encode_jpeg(values, quality, colorsubsampling=subsampling)
    header = jpeg_header(content)
    assert header is not None
    assert (header.height, header.width) == (height, width)
    assert header.subsampling == subsampling
    np.testing.assert_array_equal(decode_jpeg(content, header), _by_pillow(content))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 2000), (1999, 3), (1031, 1517)])
def test_large_sides(shape: tuple[int, int], channels: int) -> None:
    content = _written(_drawn(*shape, channels), restart_marker_blocks=7)
    np.testing.assert_array_equal(_fast(content), _by_pillow(content))


def test_every_kind_agrees_here() -> None:
    assert all(agrees(kind) for kind in fast_jpeg.FACTORS.values())


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("colours", [1, 3])
def test_plain_files_need_no_image_of_pillow(
    colours: int, channels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _written(_drawn(19, 23, colours), comment=b"of a hand")
    bare = _written(_drawn(19, 23, colours))
    for subsampling in fast_jpeg.FACTORS.values():
        agrees(subsampling)
    assert jpeg_header(content) is not None
    _same_without(content, channels)
    _same_without(bare, channels)
    monkeypatch.setattr(Image, "open", _swallowed)
    _outcome(bare, channels)


def _oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


WITH_REMARKS: dict[str, dict[str, Any]] = {
    **{f"turned {n}": {"exif": _oriented(n)} for n in range(10)},
    "damaged EXIF": {"exif": b"Exif\0\0broken"},
    "profile": {"icc_profile": b"profile" * 20_000},
    "stored as RGB": {"keep_rgb": True, "subsampling": 0},
    "comment": {"comment": b"\xff\xd9 of a hand"},
}


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", WITH_REMARKS)
def test_pillow_reads_the_remarks_and_not_the_pixels(
    kind: str, channels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _written(_drawn(19, 23, 3), **WITH_REMARKS[kind])
    header = jpeg_header(content)
    assert header is not None
    assert not header.bare
    expected = _same_without(content, channels)
    from PIL.JpegImagePlugin import JpegImageFile

    monkeypatch.setattr(JpegImageFile, "load", _swallowed)
    assert _outcome(content, channels) == expected


def _with_frame(content: bytes, change: dict[int, int]) -> bytes:
    """With other bytes at these places behind the mark of the frame."""
    start = content.index(b"\xff\xc0")
    changed = bytearray(content)
    for place, value in change.items():
        changed[start + place] = value
    return bytes(changed)


RGB = _written(_drawn(19, 23, 3))
CMYK = BytesIO()
Image.fromarray(_drawn(19, 23, 4), mode=None).convert("CMYK").save(CMYK, format="JPEG")
LEFT_TO_THE_LONG_WAY = {
    "progressive": _written(_drawn(19, 23, 3), progressive=True),
    "CMYK": CMYK.getvalue(),
    "12 bits": _with_frame(RGB, {4: 12}),
    "two components": _with_frame(RGB, {9: 2}),
    "no height": _with_frame(RGB, {5: 0, 6: 0}),
    "odd subsampling": _with_frame(RGB, {11: 0x31}),
    "odd length": _with_frame(RGB, {3: 18}),
    "arithmetic": _with_frame(RGB, {1: 0xC9}),
    "fill bytes": RGB[:2] + b"\xff" + RGB[2:],
    "unknown segment": RGB[:2] + b"\xff\xdc\x00\x04\x00\x05" + RGB[2:],
    "segment without length": RGB[:2] + b"\xff\xe5\x00\x00" + RGB[2:],
    "no end": RGB[:-2],
    "no Huffman tables": RGB[: RGB.index(b"\xff\xc4")] + RGB[RGB.index(b"\xff\xda") :],
    "fewer components in the scan": RGB.replace(b"\xff\xda\0\x0c\3", b"\xff\xda\0\x0c\2"),
    "header alone": RGB[:200],
    "mark alone": RGB[:3],
    "PNG in disguise": b"\x89PNG" + RGB,
}


@pytest.mark.parametrize("kind", LEFT_TO_THE_LONG_WAY)
def test_what_is_left_to_the_long_way(kind: str) -> None:
    content = LEFT_TO_THE_LONG_WAY[kind]
    assert jpeg_header(content) is None
    for channels in CHANNELS:
        _same_without(content, channels)


@pytest.mark.parametrize("colours", [1, 3])
def test_every_truncation_ends_as_by_the_long_way(colours: int) -> None:
    content = _written(_drawn(11, 9, colours))
    outcomes = {_same_without(content[:length]) for length in range(1, len(content))}
    assert len(outcomes) > 2
    assert all(len(outcome) == 1 for outcome in outcomes)  # messages, and no values


@given(st.data(), st.sampled_from([1, 3]), st.sampled_from(CHANNELS))
@settings(max_examples=examples(300), deadline=None)
def test_every_damage_ends_as_by_the_long_way(
    data: st.DataObject, colours: int, channels: Any
) -> None:
    content = bytearray(_written(_drawn(24, 40, colours), quality=60))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _same_without(bytes(content), channels)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [300, 100])
def test_bombs_are_refused_before_they_are_decoded(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _written(_drawn(20, 20, 1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", _swallowed)
    (message,) = _same_without(content)
    assert message.startswith("The image a.jpg may be a decompression bomb: ")
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(_same_without(content)) == 4


def test_a_library_that_decodes_to_other_values_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = _written(_drawn(20, 20, 3), subsampling=0)
    real = simplejpeg.decode_jpeg

    def other(data: bytes, *arguments: Any) -> np.ndarray:
        values = real(data, *arguments)
        values[0, 0] ^= 1
        return values

    agrees.cache_clear()
    try:
        monkeypatch.setattr(simplejpeg, "decode_jpeg", other)
        assert not agrees("444")
        found = decode_picture(content, "a.jpg", Reading())
        np.testing.assert_array_equal(found.values, _by_pillow(content))
    finally:
        agrees.cache_clear()


@pytest.mark.long
@pytest.mark.real_data
def test_mednist_is_bit_for_bit_that_of_pillow() -> None:
    from medpipe.builtin.datasets.mednist import MedNIST

    samples = MedNIST(download=False).build().samples[::25]
    assert len(samples) > 2000
    for sample in samples:
        path = Path(os.fspath(sample.image))  # type: ignore[arg-type]
        content = path.read_bytes()
        header = jpeg_header(content)
        assert header is not None
        assert header.bare
        np.testing.assert_array_equal(decode_jpeg(content, header), _by_pillow(content))
        np.testing.assert_array_equal(read_image(path).values, _by_pillow(content))
