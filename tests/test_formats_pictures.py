"""PNG, JPEG, TIFF and BMP are read as their files say, or refused: a part of `tests/formats`."""

from __future__ import annotations

import struct
import zlib
from importlib import import_module
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image

from formats.damage import damage
from formats.jpeg import drawn, written
from formats.tiff import PACK
from formats.tiff_writer import ASCII, LONG, LZW, PACKBITS, SHORT, Layout, assembled
from formats.written import Small, Written, wrong
from medpipe import DataError
from medpipe.data.readers.reader import decode_content, read_image
from medpipe.steps import Reading
from support.examples import examples

FORMATS = ("png", "jpeg", "tiff", "bmp")
RANDOM = np.random.default_rng(0)
AUTO = Reading(channels="auto")


@pytest.mark.parametrize("name", FORMATS)
def test_the_law(name: str) -> None:
    @settings(
        max_examples=examples(150),
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(import_module(f"formats.{name}").EXAMPLES)
    def each(file: Written) -> None:
        assert wrong(file) is None

    each()


@pytest.mark.parametrize("kind", import_module("formats.png").SMALL)
def test_no_damage_to_a_png_changes_values_unseen(kind: str) -> None:
    small = import_module("formats.png").SMALL[kind]
    for counted in damage(small).values():
        assert not any(counts["silent"] for counts in counted.values())


SEEN_IN = {
    "jpeg": {"start", "JFIF", "frame", "scan header", "end"},
    "tiff": {"header", "tags", "padding"},
    "bmp": {"header"},
}
"""The places of which no flipped byte may pass: all but pixels, and tables of plain numbers."""


@pytest.mark.parametrize("name", SEEN_IN)
def test_no_cut_and_no_header_changes_values_unseen(name: str) -> None:
    for title, small in import_module(f"formats.{name}").SMALL.items():
        for place, counted in damage(small, _sample(small)).items():
            assert not counted["cut"]["silent"], (title, place)
            if place in SEEN_IN[name] and title != "palette, PackBits":
                assert not counted["flipped"]["silent"], (title, place)


def _sample(small: Small) -> list[int]:
    """All bytes of the headers, and every 17th of what follows."""
    starts = [*sorted(small.places), len(small.content)]
    long = [range(a, b, 17 if b - a > 250 else 1) for a, b in pairwise(starts)]
    return [place for stretch in long for place in stretch]


def _said(content: bytes, reading: Reading = AUTO) -> str:
    with pytest.raises(DataError) as caught:
        decode_content(content, "a", reading)
    return str(caught.value)


def _values(content: bytes, reading: Reading = AUTO) -> np.ndarray[Any, Any]:
    return decode_content(content, "a", reading).values


@pytest.mark.parametrize("name", FORMATS)
def test_values_may_be_changed(name: str) -> None:
    for title, small in import_module(f"formats.{name}").SMALL.items():
        for channels in (None, "auto", 1, 3):
            values = _values(small.content, Reading(channels=channels))  # type: ignore[arg-type]
            assert values.flags.writeable, title
            assert values.flags.c_contiguous, title
            assert values.dtype.isnative, title


def test_values_that_lie_in_the_file_as_they_are_may_be_changed_too() -> None:
    greys = bytes(one for grey in range(256) for one in (grey, grey, grey, 0))
    told = (40, 4, -2, 1, 8, 0, 8, 0, 0, 0, 0)
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 1086, 0, 0, 1078, *told)
    values = _values(header + greys + bytes(range(8)))
    assert values.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    values[:] = 0


def test_a_decoder_that_fails_in_a_way_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr("medpipe.data.readers.png.png_raster", fails)
    content = import_module("formats.png").SMALL["grey, 8 bits"].content
    assert _said(content) == (
        "The image a is damaged: list index out of range. Remove or repair it."
    )


def test_a_jpeg_cut_in_half_with_an_end_marker() -> None:
    whole = written(drawn(128, 128, 1, 0), quality=90)
    assert _said(whole[: len(whole) // 2] + b"\xff\xd9") == (
        "The image a is damaged: Corrupt JPEG data: premature end of data segment. "
        "Remove or repair it."
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_that_went_through_text_mode(channels: int) -> None:
    for seed in range(20):
        whole = written(drawn(60, 60, channels, seed), quality=70, progressive=bool(seed % 2))
        if whole.count(b"\n") < 4 or whole.count(b"\r\n"):
            continue
        assert _said(whole.replace(b"\n", b"\r\n")) == (
            "The image a is damaged: a transfer in text mode has put a carriage return (0D) "
            "before each line feed (0A). Remove or repair it."
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_progressive_jpeg_that_lacks_scans(channels: int) -> None:
    whole = written(drawn(40, 40, channels, 0), progressive=True)
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    for place in scans[1:]:
        message = _said(whole[:place] + b"\xff\xd9")
        assert message.startswith("The image a is damaged: scans of its component ")
        assert message.endswith(" are missing. Remove or repair it.")
    # Between two scans stand the tables of the next one: with these, too, it is cut.
    assert "scans of its component" in _said(whole[: scans[-1]] + b"\xff\xd9")


@pytest.mark.parametrize("progressive", [False, True])
def test_what_a_jpeg_may_have_besides(progressive: bool) -> None:
    whole = written(drawn(40, 40, 3, 0), progressive=progressive, restart_marker_blocks=2)
    right = _values(whole)
    assert np.array_equal(right, np.array(Image.open(BytesIO(whole))))
    for other in (
        whole + b"\0\0 and more",
        whole[:3] + b"\xff\xff\xff" + whole[3:],
        whole[:2] + b"\xff\xfe\0\x09\xff\xd9\xff\xd8\n\r\n" + whole[2:],
        whole[:2] + b"\xff\xe2\0\x10ICC_PROFILE\0\7\3" + whole[2:],
    ):
        assert np.array_equal(_values(other), right)


def test_jpeg_of_12_bits_and_without_loss() -> None:
    whole = written(drawn(20, 20, 1, 0))
    place = whole.index(b"\xff\xc0")
    assert _said(whole[: place + 4] + b"\x0c" + whole[place + 5 :]) == (
        "The image a is a lossy JPEG of 12 bits and 1 components (frame C0), which isn't "
        "decoded. Save it as PNG or TIFF."
    )
    assert _said(whole[: place + 1] + b"\xc3" + whole[place + 2 :]) == (
        "The image a is a lossless or hierarchical JPEG of 8 bits and 1 components (frame C3), "
        "which isn't decoded. Save it as PNG or TIFF."
    )


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_png_whose_tail_is_zero(part: float) -> None:
    target = BytesIO()
    Image.fromarray(drawn(128, 128, 1, 0)[..., 0]).save(target, "PNG")
    whole = target.getvalue()
    place = int(len(whole) * part)
    assert _said(whole[:place] + bytes(len(whole) - place)) == (
        "The image a is damaged: the checksum (CRC) of its IDAT chunk at byte 33 is wrong. "
        "Remove or repair it."
    )


def test_what_follows_a_png_is_not_looked_at() -> None:
    target = BytesIO()
    Image.fromarray(drawn(9, 9, 3, 0)).save(target, "PNG")
    assert np.array_equal(_values(target.getvalue() + b"\0 and more"), drawn(9, 9, 3, 0))


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_colours_of_16_bits_are_kept(interlaced: bool) -> None:
    from formats.png import SIGNATURE, chunk, scanlines

    values = RANDOM.integers(0, 65536, (40, 30, 3))
    header = struct.pack(">IIBBBBB", 30, 40, 16, 2, 0, 0, interlaced)
    rows = scanlines(values, 16, interlaced, lambda _: int(RANDOM.integers(0, 5)))
    content = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    content += chunk(b"IEND", b"")
    for channels in (None, "auto", 3):
        found = _values(content, Reading(channels=channels))  # type: ignore[arg-type]
        assert found.dtype == np.uint16
        assert np.array_equal(found, values)
    grey = (values @ [19595, 38470, 7471] + 32768) >> 16
    assert np.array_equal(_values(content, Reading(channels=1)), grey)


def _tiff(values: np.ndarray[Any, Any], tags: dict[int, Any], compression: int = 1) -> bytes:
    """One strip of samples of whole bytes, of shape (height, width, samples)."""
    height, width, samples = values.shape
    data = bytes(PACK[compression](values.tobytes()))
    told = {256: (LONG, [width]), 257: (LONG, [height]), 259: (SHORT, [compression])}
    told |= {258: (SHORT, [values.dtype.itemsize * 8] * samples), 277: (SHORT, [samples])}
    told |= {262: (SHORT, [1]), 273: (LONG, []), 279: (LONG, [len(data)])}
    return assembled(Layout(order="<", big=False, tags=told | tags, segments=[data]), first=False)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"])
def test_white_is_the_largest_value_at_every_depth(kind: str) -> None:
    limits = np.iinfo(kind)
    values = RANDOM.integers(limits.min, limits.max, (5, 4, 1), kind, endpoint=True)
    sign = (SHORT, [1 if kind[0] == "u" else 2])
    for channels in (None, "auto", 1):
        found = _values(_tiff(values, {262: (SHORT, [0]), 339: sign}), Reading(channels=channels))  # type: ignore[arg-type]
        assert found.tolist() == [
            [limits.max + limits.min - int(one) for one in row] for row in values[..., 0]
        ]


def test_jpeg_in_tiff_of_colours_and_alpha(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    colours = RANDOM.integers(0, 256, (4, 5, 4), np.uint8).repeat(8, 0).repeat(8, 1)
    Image.fromarray(colours).save(path, compression="jpeg", quality=100)
    with Image.open(path) as image:
        expected = np.array(image)
    np.testing.assert_array_equal(read_image(path).values, expected)
    np.testing.assert_array_equal(read_image(path, AUTO).values, expected[..., :3])

    Image.fromarray(colours).convert("LA").save(path, compression="jpeg")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"The image {path} is compressed as JPEG of 2 samples of 8 bits "
        "(PhotometricInterpretation 1), which isn't decoded. "
        "Save it as an uncompressed grey or RGB TIFF, or as PNG."
    )


def test_floats_with_white_as_zero_are_refused() -> None:
    values = RANDOM.normal(size=(5, 4, 1)).astype("f4")
    assert _said(_tiff(values, {262: (SHORT, [0]), 339: (SHORT, [3])})) == (
        "The image a has floats with white as 0 (PhotometricInterpretation 0), and doesn't say "
        "what black is. Save it with black as 0."
    )


def test_two_channels_of_a_microscope() -> None:
    values = RANDOM.integers(0, 256, (5, 4, 2), np.uint8)
    content = _tiff(values, {338: (SHORT, [0])})
    assert np.array_equal(_values(content), values)
    assert np.array_equal(_values(content, Reading()), values)
    for channels in (1, 3):
        assert _said(content, Reading(channels=channels)) == (  # type: ignore[arg-type]
            f"The image a has 2 channels, which can't be converted to {channels}. "
            'Set dataset.channels = "auto".'
        )
    assert np.array_equal(_values(_tiff(values, {338: (SHORT, [2])})), values[..., 0])


@pytest.mark.parametrize("kind", ["i1", "u4", "f2", "f8"])
def test_samples_are_what_the_file_says(kind: str) -> None:
    bits = RANDOM.integers(0, 256, (5, 4, np.dtype(kind).itemsize), np.uint8)
    values = bits.view(kind)
    form = {"u": 1, "i": 2, "f": 3}[kind[0]]
    found = _values(_tiff(values, {339: (SHORT, [form])}))
    assert found.dtype == kind
    assert np.array_equal(found, values[..., 0], equal_nan=form == 3)


def test_planes_that_imagej_has_put_behind_the_page() -> None:
    told = (ASCII, list(b"ImageJ=1.53t\nimages=5\nslices=5\n\0"))
    assert _said(_tiff(np.zeros((5, 4, 1), np.uint8), {270: told})) == (
        "The image a has 5 pages, of which only the first would be read. "
        "Save each page as a file of its own."
    )


def test_planes_that_tifffile_has_put_behind_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.zeros((7, 20, 30), np.uint8)
    tifffile.imwrite(path, values, photometric="minisblack", truncate=True)
    with pytest.raises(DataError, match="has 7 pages, of which only the first would be read"):
        read_image(path)


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 256, (64, 48), np.uint8)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(values, subifds=1, metadata=None)
        writer.write(values[::2, ::2], subfiletype=1, metadata=None)
        writer.write(values[::4, ::4], subfiletype=1, metadata=None)
    assert np.array_equal(read_image(path).values, values)


@pytest.mark.parametrize("compression", [LZW, PACKBITS, 8, 1])
def test_strips_that_hold_more_rows_than_the_header_says(compression: int) -> None:
    values = RANDOM.integers(0, 3, (9, 40, 1), np.uint8)
    told = _said(_tiff(values, {257: (LONG, [8])}, compression))
    assert told == (
        "The image a is damaged: its strip or tile 0 holds 360 bytes, more than its 320. "
        "Remove or repair it."
    )
    less = _said(_tiff(values, {257: (LONG, [10])}, compression))
    assert less == (
        "The image a is damaged: its strip or tile 0 holds 360 of 400 bytes. Remove or repair it."
    )


def test_a_strip_beyond_the_end() -> None:
    content = _tiff(np.ones((5, 4, 1), np.uint8), {279: (LONG, [1000])})
    assert _said(content) == (
        "The image a is damaged: its strip 0 goes beyond its end. Remove or repair it."
    )


def test_a_bmp_that_is_cut() -> None:
    target = BytesIO()
    Image.fromarray(drawn(9, 9, 3, 0)).save(target, "BMP")
    assert _said(target.getvalue()[:-5]) == (
        "The image a is damaged: its pixels take 252 bytes, of which 247 are there. "
        "Remove or repair it."
    )


@pytest.mark.parametrize(("kind", "compression"), [("JPEG", 4), ("PNG", 5)])
def test_a_bmp_that_holds_a_file_of_another_format(kind: str, compression: int) -> None:
    target = BytesIO()
    Image.fromarray(drawn(9, 7, 3, 0)).save(target, kind)
    inner = target.getvalue()

    def outer(width: int) -> bytes:
        fields = (width, 9, 1, 0, compression, len(inner), 0, 0, 0, 0)
        header = struct.pack("<IiiHHIIiiII", 40, *fields)
        return struct.pack("<2sIHHI", b"BM", 54 + len(inner), 0, 0, 54) + header + inner

    assert np.array_equal(
        decode_content(outer(7), "a", AUTO).values, decode_content(inner, "b", AUTO).values
    )
    assert _said(outer(8)) == (
        "The image a is damaged: its header says 8 x 9 pixels, the file in it 7 x 9. "
        "Remove or repair it."
    )


def test_colours_that_no_pixel_can_name_are_passed_over() -> None:
    target = BytesIO()
    Image.fromarray(np.arange(63, dtype=np.uint8).reshape(9, 7)).save(target, "BMP")
    whole = bytearray(target.getvalue())
    at = 54 + 4 * 256
    whole[10:14] = (at + 8).to_bytes(4, "little")
    whole[46:50] = (258).to_bytes(4, "little")
    more = bytes(whole[:at]) + b"\x01\x02\x03\x00" * 2 + bytes(whole[at:])
    found = decode_content(more, "a", AUTO)
    assert np.array_equal(found.values, np.arange(63).reshape(9, 7))
