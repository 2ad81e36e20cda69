"""`examples/serve` reads files and does steps as medpipe does, or refuses."""

from __future__ import annotations

import importlib
import struct
import sys
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from medpipe import Registry
from medpipe.data.readers.reader import decode_content
from medpipe.plugin import Reading
from medpipe.steps import TransformStep
from support.drawn_dicom import dicom, items
from support.examples import examples

FOLDER = Path(__file__).parents[1] / "examples/serve"
RANDOM = np.random.default_rng(3)
READINGS = [
    Reading(channels=1),
    Reading(channels=3),
    Reading(channels="auto"),
    Reading(),
    Reading(channels=1, window="voi"),
    Reading(channels=1, window=(40, 400)),
    Reading(channels=1, padding="keep"),
]


@pytest.fixture(scope="module")
def program() -> Iterator[ModuleType]:
    """The program's modules, as it imports them itself."""
    names = ("refused", "images", "dicom_images", "steps")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        found = ModuleType("program")
        assert not {*names} & {*sys.modules}
        for name in names:
            setattr(found, name, importlib.import_module(name))
        yield found
        for name in names:
            del sys.modules[name]


def png(image: Image.Image, **options: Any) -> bytes:
    target = BytesIO()
    image.save(target, "PNG", **options)
    return target.getvalue()


def saved(dataset: Any) -> bytes:
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


COLOURS = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
RGB = Image.fromarray(COLOURS)
GREY = RGB.convert("L")
WIDE = RANDOM.integers(0, 1 << 16, (6, 5)).astype(np.uint16)
PICTURES = {
    "grey": png(GREY),
    "one bit": png(GREY.convert("1")),
    "four bits": png(GREY.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)),
    "sixteen bits": png(Image.fromarray(WIDE)),
    "colours": png(RGB),
    "palette": png(RGB.quantize(40)),
    "alpha": png(RGB.convert("RGBA")),
    "grey and alpha": png(GREY.convert("LA")),
    **{f"turned {number}": png(GREY, exif=turned(number)) for number in range(1, 9)},
    "turned colours": png(RGB, exif=turned(6)),
}
SIGNED = RANDOM.integers(-1000, 3000, (6, 5)).astype(np.int16)
TWELVE = RANDOM.integers(0, 1 << 12, (6, 5)).astype(np.uint16)
PADDED = np.where(RANDOM.random((6, 5)) < 0.4, np.int16(-2000), SIGNED)
FULL = np.where(RANDOM.random((6, 5)) < 0.4, np.uint16(63536), TWELVE)
BITS = {"BitsStored": 12, "HighBit": 11}
CT = {"RescaleSlope": 0.5, "RescaleIntercept": -1024.0}
ONE = {"WindowCenter": 40, "WindowWidth": 400}
DICOM = {
    "stored": dicom(SIGNED),
    "bytes": dicom(COLOURS[..., 0].copy()),
    "rescaled": dicom(SIGNED, **CT),
    "windows": dicom(SIGNED, **CT, WindowCenter=[40, 50], WindowWidth=[400, 5]),
    "sigmoid": dicom(SIGNED, **ONE, VOILUTFunction="SIGMOID"),
    "exact": dicom(SIGNED, **ONE, VOILUTFunction="LINEAR_EXACT"),
    "twelve bits": dicom(TWELVE, **BITS),
    "white is 0": dicom(TWELVE, **BITS, PhotometricInterpretation="MONOCHROME1", Modality="DX"),
    "white is 0, measured": dicom(SIGNED, PhotometricInterpretation="MONOCHROME1", Modality="CT"),
    "white is 0, unsaid": dicom(SIGNED, PhotometricInterpretation="MONOCHROME1", **CT),
    "padded": dicom(PADDED, **CT, PixelPaddingValue=-2000),
    "a range of padding": dicom(PADDED, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-500),
    "padded beyond its bits": dicom(FULL, **BITS, PixelPaddingValue=63536),
    "padded without its sign": dicom(
        np.where(TWELVE < 1800, np.int16(2096), TWELVE.astype(np.int16)),
        **BITS,
        PixelPaddingValue=2096,
    ),
    "padded white is 0": dicom(
        PADDED, PhotometricInterpretation="MONOCHROME1", Modality="CR", PixelPaddingValue=-2000
    ),
    "all padding": dicom(np.full((4, 4), 7, np.uint8), PixelPaddingValue=7),
    "colours": dicom(COLOURS, colours=True),
    "planes": dicom(
        np.moveaxis(COLOURS, -1, 0).reshape(6, 5, 3), colours=True, PlanarConfiguration=1
    ),
}
WHOLE = {**PICTURES, **{f"DICOM {name}": saved(one) for name, one in DICOM.items()}}


def plain(reading: Reading) -> dict[str, Any]:
    return {**reading.plain(), "window": list(w) if isinstance(w := reading.window, tuple) else w}


@pytest.mark.parametrize("reading", READINGS, ids=lambda one: f"{one.channels} {one.window}")
@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read_as_medpipe_reads_them(
    program: ModuleType, name: str, reading: Reading
) -> None:
    wanted = decode_content(WHOLE[name], name, reading)
    format_, values = program.images.read_image(WHOLE[name], plain(reading))
    assert format_ == ("DICOM" if name.startswith("DICOM") else "PNG")
    assert wanted.channels == (values.ndim == 3)
    np.testing.assert_array_equal(values.astype(np.float32), wanted.values.astype(np.float32))
    assert program.images.shown(values).startswith(b"\x89PNG")


@settings(max_examples=examples(400))
@given(
    name=st.sampled_from(sorted(WHOLE)),
    reading=st.sampled_from(READINGS),
    place=st.floats(0, 1, exclude_max=True),
    value=st.none() | st.integers(0, 255),
)
def test_a_damaged_file_is_never_answered_unless_medpipe_reads_the_same(
    program: ModuleType, name: str, reading: Reading, place: float, value: int | None
) -> None:
    """A byte is changed, or the file ends there."""
    content = bytearray(WHOLE[name])
    at = int(place * len(content))
    if value is None:
        del content[at:]
    else:
        content[at] = value
    try:
        _, values = program.images.read_image(bytes(content), plain(reading))
    except program.refused.Refused:
        return
    wanted = decode_content(bytes(content), name, reading)
    np.testing.assert_array_equal(values.astype(np.float32), wanted.values.astype(np.float32))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))


def bomb() -> bytes:
    """A small PNG of 60,000 by 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def of_syntax(uid: Any) -> bytes:
    """A file that says that it is encoded otherwise than it is."""
    dataset = dicom(SIGNED)
    content = saved(dataset)
    own = b"1.2.840.10008.1.2.1\0"
    assert content.count(own) == 1
    new = uid.encode() + b"\0" * (len(uid) % 2)
    at = content.index(own)
    length = struct.unpack("<I", content[140:144])[0] + len(new) - len(own)
    head = content[:140] + struct.pack("<I", length) + content[144 : at - 2]
    return head + struct.pack("<H", len(new)) + new + content[at + len(own) :]


def animated() -> bytes:
    return png(GREY, save_all=True, append_images=[GREY.rotate(90)])


REFUSED = {
    "a text": (b"hello", "no PNG image and no DICOM"),
    "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(200), "no PNG image and no DICOM"),
    "half a PNG": (PICTURES["colours"][:70], "PNG file is damaged"),
    "a PNG without an end": (PICTURES["grey"][:-12], "PNG file is damaged"),
    "a bomb": (bomb(), "has 60000 x 60000 pixels"),
    "colours of 16 bits": (
        PICTURES["colours"][:24] + b"\x10" + PICTURES["colours"][25:],
        "Colours of 16 bits",
    ),
    "several pictures": (animated(), "several pictures"),
    "half a DICOM": (saved(DICOM["stored"])[:-20], "DICOM file is damaged"),
    "a DICOM of more pixels": (
        saved(dicom(SIGNED, PixelData=SIGNED.tobytes() * 2)),
        "should hold 60 bytes of pixels, not 120",
    ),
    "frames": (saved(dicom(np.zeros((3, 4, 4), np.uint8))), "has 3 frames"),
    "deflated": (of_syntax(DeflatedExplicitVRLittleEndian), "Deflated"),
    "compressed": (of_syntax(JPEGBaseline8Bit), "JPEG Baseline"),
    "a dose": (saved(dicom(SIGNED, DoseGridScaling=0.1)), "doses"),
    "a table": (
        saved(dicom(TWELVE, ModalityLUTSequence=items(LUTDescriptor=[1, 0, 16]))),
        "modality look-up",
    ),
    "no pixels": (saved(dicom(TWELVE, PixelData=None)), "no pixels"),
    "a rescale without its half": (saved(dicom(SIGNED, RescaleSlope=2)), "rescale"),
    "enhanced": (
        saved(dicom(SIGNED, SharedFunctionalGroupsSequence=items(Rows=1))),
        "functional groups",
    ),
    "a high bit": (saved(dicom(TWELVE, BitsStored=12, HighBit=15)), "HighBit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_words(program: ModuleType, name: str) -> None:
    content, said = REFUSED[name]
    with pytest.raises(program.refused.Refused, match=said):
        program.images.read_image(content, plain(Reading(channels=1)))


def test_channels_that_cannot_be_converted_are_refused(program: ModuleType) -> None:
    two = np.zeros((4, 4, 2), np.uint8)
    with pytest.raises(program.refused.Refused, match="has 2 channels, which can't be made 1"):
        program.images.with_channels(two, {"channels": 1})


def test_a_table_of_a_window_matters_where_the_window_does(program: ModuleType) -> None:
    table = saved(dicom(TWELVE, VOILUTSequence=items(LUTDescriptor=[1, 0, 16])))
    with pytest.raises(program.refused.Refused, match="VOI look-up"):
        program.images.read_image(table, plain(Reading(window="voi")))
    program.images.read_image(table, plain(Reading()))


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("to_tensor", {}),
    ("cast_to_type", {"dtype": "float32"}),
    ("scale_intensity", {}),
    ("scale_intensity", {"minv": -1.0, "maxv": 3.0, "channel_wise": True}),
    ("scale_intensity_range", {"a_min": 10.0, "a_max": 90.0}),
    (
        "scale_intensity_range",
        {"a_min": 10.0, "a_max": 90.0, "b_min": 0.0, "b_max": 1.0, "clip": True},
    ),
    ("scale_intensity_range", {"a_min": 10.0, "a_max": 10.0, "b_min": 0.5}),
    (
        "scale_intensity_range_percentiles",
        {"lower": 5.0, "upper": 95.0, "b_min": 0.0, "b_max": 1.0, "clip": True},
    ),
    (
        "scale_intensity_range_percentiles",
        {"lower": 5.0, "upper": 50.0, "b_min": -1.0, "b_max": 1.0, "channel_wise": True},
    ),
    ("normalize_intensity", {}),
    ("normalize_intensity", {"channel_wise": True}),
    ("normalize_intensity", {"subtrahend": 20.0, "divisor": 4.0}),
    ("center_spatial_crop", {"roi_size": (5, 4)}),
    ("center_spatial_crop", {"roi_size": 6}),
    ("center_spatial_crop", {"roi_size": (-1, 50)}),
]
IMAGES = {
    "one channel": RANDOM.integers(0, 100, (1, 9, 8)),
    "three channels": RANDOM.integers(-50, 100, (3, 8, 11)),
    "constant": np.full((1, 7, 7), 3),
}


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(("name", "parameters"), STEPS, ids=str)
@pytest.mark.filterwarnings("ignore:Divide by zero")
def test_steps_do_what_medpipes_do(
    program: ModuleType, name: str, parameters: dict[str, Any], image: str
) -> None:
    import torch

    values = IMAGES[image].astype(np.float32)
    step: Any = Registry.discover().create(TransformStep, name, parameters)
    wanted = np.asarray(step.build()({"image": torch.from_numpy(values.copy())})["image"])
    given = {key: list(v) if isinstance(v, tuple) else v for key, v in parameters.items()}
    (_, _, apply), problems = program.steps.made_steps(
        [{"step": "load_image"}, {"step": "ensure_channel_first"}, {"step": name, **given}]
    )
    assert problems == []
    np.testing.assert_allclose(apply(values), wanted, atol=1e-5, rtol=1e-5)


def test_every_step_is_compared(program: ModuleType) -> None:
    first = {"load_image", "ensure_channel_first"}
    assert {name for name, _ in STEPS} | first == set(program.steps.STEPS)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"step": "spacing", "pixdim": [1, 1]}, "spacing must be done before the model"),
        ({"step": "scale_intensity", "factor": 2}, "unexpected keyword argument 'factor'"),
        ({"step": "normalize_intensity", "nonzero": True}, "nonzero"),
        ({"step": "normalize_intensity", "subtrahend": [1, 2]}, "for each channel"),
        ({"step": "cast_to_type", "dtype": "uint8"}, "dtype uint8"),
        (
            {
                "step": "scale_intensity_range_percentiles",
                "lower": 1,
                "upper": 9,
                "b_min": 0,
                "b_max": 1,
                "relative": True,
            },
            "relative",
        ),
        ({"step": "ensure_channel_first", "channel_dim": 0}, "channel_dim"),
        ({"step": "load_image", "axes": "zyx"}, "zyx"),
    ],
)
def test_what_no_step_can_do_is_named(program: ModuleType, step: Any, said: str) -> None:
    first = [{"step": "load_image", "axes": "hw"}, {"step": "ensure_channel_first"}]
    _, problems = program.steps.made_steps([*first, step])
    assert len(problems) == 1
    assert said in problems[0]


def test_the_first_steps_make_an_array(program: ModuleType) -> None:
    _, problems = program.steps.made_steps([{"step": "ensure_channel_first"}])
    assert problems == ["before.steps must begin with load_image and ensure_channel_first"]
