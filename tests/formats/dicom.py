"""DICOM files over the space of their header fields; the values are plain arithmetic on the cells.

pydicom writes the files, imagecodecs compresses frames; neither is asked what values mean.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any, Literal

import imagecodecs
import numpy as np
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders.native import _encode_frame  # the standard's RLE, in Python
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from formats.written import Small, Written
from medpipe.steps import Reading

warnings.filterwarnings("ignore", module="pydicom")
NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
COMPRESSED = (
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    JPEGBaseline8Bit,
)
MEASURED = ("CT", "MR", "PT", "NM")
SHOWN = ("CR", "DX", "MG", "XA", "US")


def dataset_of(syntax: UID, **elements: Any) -> FileDataset:
    """A data set without pixels; None leaves an element out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    kind = CTImageStorage if elements.get("Modality") == "CT" else SecondaryCaptureImageStorage
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, "1.2.3.4"
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def content_of(dataset: FileDataset) -> bytes:
    """The file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _in_cells(values: np.ndarray, layout: dict[str, Any], big: bool) -> bytes:
    """Values of shape (frames, height, width, samples) as the pixel data of a native file."""
    allocated, low = layout["BitsAllocated"], layout["HighBit"] + 1 - layout["BitsStored"]
    if layout.get("PlanarConfiguration"):
        values = np.moveaxis(values, 3, 1)
    flat = values.reshape(-1)
    if allocated == 1:
        content = np.packbits(flat.astype(np.uint8), bitorder="little").tobytes()
    else:
        mask = (1 << layout["BitsStored"]) - 1
        cells = [(int(value) & mask) << low for value in flat]
        size = allocated // 8
        content = b"".join(cell.to_bytes(size, "big" if big else "little") for cell in cells)
        if big and size == 1:  # in words
            content += b"\0" * (len(content) % 2)
    return content + b"\0" * (len(content) % 2)


def _meant(
    values: np.ndarray, header: dict[str, Any], reading: Reading, padding: np.ndarray | None
) -> np.ndarray:
    """What grey values mean: PS3.3 C.11.1, C.11.2.1.2.1 and C.7.6.3.1.2."""
    bits, signed = header["BitsStored"], header["PixelRepresentation"]
    lowest = -(1 << (bits - 1)) if signed else 0
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    ends = [lowest, lowest + (1 << bits) - 1]
    found = values
    if slope is not None:
        found = values.astype(np.float64) * float(slope) + float(intercept)
        ends = [end * float(slope) + float(intercept) for end in ends]
    turned = header["PhotometricInterpretation"] == "MONOCHROME1"
    turned &= header["Modality"] not in MEASURED
    if isinstance(reading.window, tuple):
        centre, width = reading.window
        place = (found.astype(np.float64) - (centre - 0.5)) / (width - 1) + 0.5
        found = np.clip(place, 0, 1).astype(np.float32)
        ends = [0, 1]
    if turned:
        found = (sum(ends) - found.astype(object)).astype(found.dtype)
    if found.dtype == np.float64:
        found = found.astype(np.float32)
    if padding is not None and padding.any() and not padding.all():
        found = found.copy()
        found[padding] = found[~padding].min()
    return found


@st.composite
def native(draw: st.DrawFn) -> Written:
    """Files that are not compressed, sound or contradictory."""
    syntax = draw(st.sampled_from(NATIVE))
    colours = draw(st.booleans()) and draw(st.booleans())
    allocated = draw(st.sampled_from([8, 16] if colours else [1, 8, 16, 16, 16, 32]))
    stored = allocated if colours else draw(st.integers(1, allocated))
    high = draw(st.sampled_from([stored - 1, stored - 1, allocated - 1]))
    signed = 0 if colours or allocated == 1 else draw(st.integers(0, 1))
    frames, rows, columns = (draw(st.integers(low, most)) for low, most in ((1, 3), (2, 5), (2, 5)))
    header: dict[str, Any] = {
        "Modality": draw(st.sampled_from(MEASURED + SHOWN)),
        "NumberOfFrames": frames if frames > 1 else draw(st.sampled_from([None, 1])),
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if colours else 1,
        "PhotometricInterpretation": "RGB"
        if colours
        else draw(st.sampled_from(["MONOCHROME2", "MONOCHROME1"])),
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": high,
        "PixelRepresentation": signed,
    }
    if colours:
        header["PlanarConfiguration"] = draw(st.integers(0, 1))
    elif draw(st.booleans()):
        header["RescaleSlope"] = draw(st.sampled_from(["1", "2.5", "-0.25", "1e-3"]))
        header["RescaleIntercept"] = draw(st.sampled_from(["0", "-1024", "10.5"]))
    seed = draw(st.integers(0, 2**32 - 1))
    shape = (frames, rows, columns, header["SamplesPerPixel"])
    least = -(1 << (stored - 1)) if signed else 0
    random = np.random.default_rng(seed)
    values = random.integers(least, least + (1 << stored), shape, dtype=np.int64)
    padding = None
    window = draw(st.sampled_from(["none", "none", (40.0, 400.0), (3.0, 7.0)]))
    if not colours and allocated > 1 and draw(st.booleans()):
        value = int(draw(st.sampled_from([least, int(values.flat[0]), least + (1 << stored) - 1])))
        if -32768 <= value < 65536 and (allocated > 8 or -128 <= value < 256):
            header["PixelPaddingValue"] = value
            padding = values == value
            if draw(st.booleans()) and value + 1 <= least + (1 << stored) - 1:
                header["PixelPaddingRangeLimit"] = min(value + 3, least + (1 << stored) - 1)
                padding = (values >= value) & (values <= header["PixelPaddingRangeLimit"])
    reading = Reading(
        channels="auto",
        window=window,
        frames="volume",
        padding=draw(st.sampled_from(["lowest", "keep"])),
    )
    big = syntax == ExplicitVRBigEndian
    pixels = _in_cells(values, header, big)
    wrong = draw(st.sampled_from(WRONG)) if draw(st.booleans()) else None
    told, spoiled, pixels = _spoiled(wrong, header, pixels, "big" if big else "little")
    dataset = dataset_of(syntax, **told)
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB" if allocated <= 8 and syntax != ImplicitVRLittleEndian else "OW"
    right: np.ndarray | None = None
    if not spoiled:
        if colours:
            right = values
        else:
            kept = padding if reading.padding == "lowest" else None
            right = _meant(values[..., 0], header, reading, None if kept is None else kept[..., 0])
        right = right[0] if frames == 1 else np.moveaxis(right, 0, 2)
    return Written(
        about=f"{syntax.name} {told} {reading} {wrong} seed={seed}",
        content=content_of(dataset),
        values=right,
        channels=colours,
        reading=reading,
    )


WRONG = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "fewer frames",
    "short",
    "long",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "sign",
    "kind",
    "samples",
    "slope alone",
    "intercept alone",
    "empty slope",
    "two slopes",
    "no slope",
    "bits above",
)


def _spoiled(
    how: str | None, header: dict[str, Any], pixels: bytes, order: Literal["big", "little"]
) -> tuple[dict[str, Any], bool, bytes]:
    """A header that contradicts its pixels, where that can be told, and the pixels."""
    told = dict(header)
    if how in ("Rows", "Columns"):
        told[how] += 1
    elif how == "NumberOfFrames":
        told[how] = (header[how] or 1) + 1
    elif how == "fewer frames":
        told["NumberOfFrames"] = (header["NumberOfFrames"] or 1) - 1 or None
    elif how == "short":
        pixels = pixels[:-2]
    elif how == "long":
        pixels += bytes(2)
    elif how == "BitsAllocated":
        told[how] = {1: 8, 8: 16, 16: 32, 32: 64}[header[how]]
    elif how == "BitsStored":
        told[how] = header["BitsAllocated"] + 1
        return told, True, pixels
    elif how == "HighBit":
        told[how] = header["BitsAllocated"]
        return told, True, pixels
    elif how == "sign":
        told["PixelRepresentation"] = 2
        return told, True, pixels
    elif how == "kind":
        grey = header["SamplesPerPixel"] == 1
        told["PhotometricInterpretation"] = "RGB" if grey else "MONOCHROME2"
        return told, True, pixels
    elif how == "samples":
        told["SamplesPerPixel"] = 4 - header["SamplesPerPixel"]
        return told, True, pixels
    elif how in ("slope alone", "intercept alone", "empty slope", "two slopes", "no slope"):
        if header["SamplesPerPixel"] == 1:
            told["RescaleSlope"] = {
                "empty slope": "",
                "two slopes": ["1", "2"],
                "no slope": "0",
            }.get(how, "2")
            told["RescaleIntercept"] = "5"
            if how == "slope alone":
                del told["RescaleIntercept"]
            elif how == "intercept alone":
                del told["RescaleSlope"]
            return told, True, pixels
    elif how == "bits above" and header["BitsAllocated"] == 16 and header["BitsStored"] < 14:
        # A bit that belongs to no value, in one cell; beside the sign in those that have one.
        bit = 14 if header["HighBit"] != 15 else 0
        cell = int.from_bytes(pixels[:2], order)
        told["PixelRepresentation"] = 0
        told["PixelPaddingValue"] = None
        return told, True, (cell | 1 << bit).to_bytes(2, order) + pixels[2:]
    elif how == "bits above" or how is None:
        return header, False, pixels
    frames = told["NumberOfFrames"] or 1
    told_bits = frames * told["Rows"] * told["Columns"] * told["SamplesPerPixel"]
    need = (told_bits * told["BitsAllocated"] + 7) // 8
    if need + need % 2 == len(pixels):  # nobody can tell
        return header, False, pixels
    return told, True, pixels


def _encoded(syntax: UID, frame: np.ndarray, bits: int) -> bytes:
    """A frame of shape (height, width) or (height, width, 3), compressed without loss."""
    if syntax == RLELossless:
        from pydicom.pixels.encoders.base import EncodeRunner

        runner = EncodeRunner(RLELossless)
        runner.set_options(
            rows=frame.shape[0],
            columns=frame.shape[1],
            samples_per_pixel=frame.shape[2] if frame.ndim == 3 else 1,
            bits_allocated=8 * frame.dtype.itemsize,
            bits_stored=bits,
            pixel_representation=0,
            number_of_frames=1,
            photometric_interpretation="RGB" if frame.ndim == 3 else "MONOCHROME2",
            planar_configuration=0,
        )
        return bytes(_encode_frame(frame.tobytes(), runner))
    if syntax == JPEGLosslessSV1:
        return bytes(imagecodecs.ljpeg_encode(frame, bitspersample=bits))
    if syntax == JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(frame))
    if syntax == HTJ2KLossless:
        return bytes(imagecodecs.htj2k_encode(frame))
    if syntax == JPEG2000Lossless:
        return bytes(
            imagecodecs.jpeg2k_encode(frame, codecformat="j2k", bitspersample=bits, mct=False)
        )
    return bytes(imagecodecs.jpeg8_encode(frame, level=95))


SPOILED = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "fewer frames",
    "table",
    "cut",
    "cut with an end",
    "after the end",
    "samples",
    "BitsAllocated",
)


@st.composite
def compressed(draw: st.DrawFn) -> Written:
    """Compressed files, sound or contradictory."""
    syntax = draw(st.sampled_from(COMPRESSED))
    whole = draw(st.sampled_from([8, 16])) if syntax != JPEGBaseline8Bit else 8
    colours = whole == 8 and draw(st.booleans()) and syntax in (RLELossless, JPEG2000Lossless)
    bits = whole
    if whole == 16 and syntax in (RLELossless, JPEGLosslessSV1, JPEG2000Lossless):
        bits = draw(st.integers(9, 16))
    frames, rows, columns = (
        draw(st.integers(low, most)) for low, most in ((1, 3), (16, 24), (16, 24))
    )
    seed = draw(st.integers(0, 2**32 - 1))
    shape = (frames, rows, columns, 3) if colours else (frames, rows, columns)
    random = np.random.default_rng(seed)
    values = random.integers(0, 1 << bits, shape, dtype=np.int64).astype(f"u{whole // 8}")
    signed = whole == 16 and syntax != HTJ2KLossless and draw(st.booleans())
    if signed:  # the same bits, the highest of which is the sign
        values = (values.astype(np.int64) ^ (1 << (bits - 1))) - (1 << (bits - 1))
        values = values.astype(np.int16)
        mask = (1 << bits) - 1 if syntax != RLELossless or draw(st.booleans()) else 0xFFFF
        cells = (values.astype(np.int64) & mask).astype(np.uint16)
        if syntax == JPEG2000Lossless and draw(st.booleans()):
            cells = values  # the codestream says so, too
        encoded = [_encoded(syntax, frame, bits) for frame in cells]
    else:
        encoded = [_encoded(syntax, frame, bits) for frame in values]
    if syntax == JPEGBaseline8Bit:
        values = np.stack([imagecodecs.jpeg8_decode(frame) for frame in encoded])
    wrong = draw(st.sampled_from(SPOILED)) if draw(st.booleans()) else None
    header: dict[str, Any] = {
        "Modality": "OT",
        "NumberOfFrames": frames if frames > 1 else None,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if colours else 1,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "BitsAllocated": whole,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
    }
    if colours:
        header["PlanarConfiguration"] = 0
    told = dict(header)
    if wrong in ("Rows", "Columns"):
        told[wrong] += draw(st.sampled_from([-1, 1]))
    elif wrong == "NumberOfFrames":
        told[wrong] = frames + 1
    elif wrong == "fewer frames":
        told["NumberOfFrames"] = frames - 1 or None
        if frames == 1:
            encoded = encoded * 2
    elif wrong in ("cut", "cut with an end"):
        kept = encoded[-1][: int(len(encoded[-1]) * draw(st.floats(0.1, 0.6)))]
        encoded[-1] = kept + (b"\xff\xd9" if wrong == "cut with an end" else b"")
    elif wrong == "after the end":
        if syntax == RLELossless:
            wrong = None
        else:
            encoded[-1] += b"\1\2\3\4"
    elif wrong == "samples":
        told["SamplesPerPixel"] = 4 - told["SamplesPerPixel"]
        told["PhotometricInterpretation"] = "MONOCHROME2" if colours else "RGB"
        told["PlanarConfiguration"] = 0
    elif wrong == "BitsAllocated":
        told[wrong] = 24 - whole
        told["BitsStored"], told["HighBit"] = told[wrong], told[wrong] - 1
        # More bits in the header than in the frames hold these values as well.
        if told[wrong] > whole and syntax not in (RLELossless, JPEGBaseline8Bit):
            wrong = None
    dataset = dataset_of(syntax, **told)
    table = draw(st.sampled_from(["none", "basic", "extended"]))
    pieces = 1 if syntax == RLELossless or table == "extended" else draw(st.integers(1, 3))
    if table == "extended":
        dataset.PixelData, offsets, lengths = encapsulate_extended(encoded)
        if wrong == "table":
            offsets = offsets[:-1] + bytes([offsets[-1] ^ 1])
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    else:
        content = encapsulate(encoded, fragments_per_frame=pieces, has_bot=table == "basic")
        if wrong == "table" and table == "basic":
            content = content[:8] + bytes([content[8] ^ 2]) + content[9:]
        dataset.PixelData = content
    if wrong == "table" and table == "none":
        wrong = None
    dataset["PixelData"].VR = "OB"
    right = None
    if wrong is None:
        right = values[0] if frames == 1 else np.moveaxis(values, 0, 2)
    return Written(
        about=f"{syntax.name} {told} {wrong} table={table} pieces={pieces} seed={seed}",
        content=content_of(dataset),
        values=right,
        channels=colours,
        reading=Reading(channels="auto", frames="volume"),
    )


@st.composite
def special(draw: st.DrawFn) -> Written:
    """Floats, palettes, tables, YBR, overlays beside the values, and frames with places."""
    what = draw(
        st.sampled_from(["floats", "palette", "table", "ybr", "overlay", "places", "doses", "sign"])
    )
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    rows, columns = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    wrong = draw(st.booleans()) and what in ("floats", "palette", "table", "overlay")
    syntax = draw(st.sampled_from(NATIVE))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    header: dict[str, Any] = {
        "Modality": "OT",
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    values = random.integers(0, 4096, (rows, columns)).astype(np.uint16)
    cells, right, colours = values.astype(f"{order}u2"), values, False
    pixels = "PixelData"
    if what == "floats":
        double = draw(st.booleans())
        header = {k: v for k, v in header.items() if k[:4] not in ("Bits", "High", "Pixe")}
        header["BitsAllocated"] = 64 if double != wrong else 32
        right = random.normal(size=(rows, columns)).astype(np.float64 if double else np.float32)
        cells = right.astype(f"{order}f{8 if double else 4}")
        pixels = "DoubleFloatPixelData" if double else "FloatPixelData"
    elif what == "palette":
        bits, entries = draw(st.sampled_from([8, 16])), draw(st.sampled_from([4, 7, 256]))
        first = draw(st.integers(0, 3))
        lut = random.integers(0, 1 << bits, (3, entries)).astype(f"{order}u{bits // 8}")
        header.update(BitsAllocated=8, BitsStored=8, HighBit=7)
        header["PhotometricInterpretation"] = "PALETTE COLOR"
        values = random.integers(0, 256, (rows, columns)).astype(np.uint8)
        cells = values
        at = np.clip(values.astype(int) - first, 0, entries - 1)
        right, colours = np.stack([lut[colour][at] for colour in range(3)], axis=-1), True
        for colour, name in enumerate(("Red", "Green", "Blue")):
            content = lut[colour].tobytes()
            if bits == 8 and order == ">":  # in words, the first entry in the low byte
                content += bytes(len(content) % 2)
                content = np.frombuffer(content, "<u2").astype(">u2").tobytes()
            said = entries + 2 if wrong else entries
            header[f"{name}PaletteColorLookupTableDescriptor"] = [said, first, bits]
            content += bytes(len(content) % 2)
            header[f"{name}PaletteColorLookupTableData"] = content
    elif what == "table":
        first, bits = draw(st.integers(0, 100)), draw(st.sampled_from([8, 12, 16]))
        table = random.integers(0, 1 << bits, 300)
        item = Dataset()
        item.LUTDescriptor = [301 if wrong else 300, first, bits]
        item.LUTData = [int(entry) for entry in table]
        item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
        header["ModalityLUTSequence"] = [item]
        right = table[np.clip(values.astype(int) - first, 0, 299)]
    elif what == "ybr":
        header.update(BitsAllocated=8, BitsStored=8, HighBit=7, SamplesPerPixel=3)
        header.update(PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
        values = random.integers(0, 256, (rows, columns, 3)).astype(np.uint8)
        light, blue, red = np.moveaxis(values.astype(np.float64) - [0, 128, 128], -1, 0)
        # PS3.3 C.7.6.3.1.2.
        mixed = [
            light + 1.402 * red,
            light - (0.114 * 1.772 / 0.587) * blue - (0.299 * 1.402 / 0.587) * red,
            light + 1.772 * blue,
        ]
        right = np.clip(np.floor(np.stack(mixed, -1) + 0.5), 0, 255).astype(np.uint8)
        cells, colours = values, True
    elif what in ("overlay", "sign"):
        high = random.integers(0, 2, (rows, columns)).astype(np.uint16)
        high[0, 0] = 1
        cells = (values | high << 15).astype(f"{order}u2")
        if what == "sign":
            header["PixelRepresentation"] = 1
            right = (values.astype(np.int32) ^ 2048) - 2048
            filled = right if draw(st.booleans()) else right & 0xFFF
            cells = (filled & 0xFFFF).astype(f"{order}u2")
    else:
        count = draw(st.integers(2, 4))
        values = random.integers(0, 4096, (count, rows, columns)).astype(np.uint16)
        cells = values.astype(f"{order}u2")
        places = random.permutation(count) * 2.0
        right = np.moveaxis(values[np.argsort(places)], 0, 2)
        header["NumberOfFrames"] = count
        turn = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        if what == "doses":
            right = np.moveaxis(values, 0, 2) * np.float64(0.001)
            right = right.astype(np.float32)
            header.update(Modality="RTDOSE", ImagePositionPatient=[0, 0, 5], PixelSpacing=[1, 2])
            header.update(turn, GridFrameOffsetVector=[3.0 * n for n in range(count)])
            header["DoseGridScaling"] = "0.001"
        else:
            groups = [
                _item(PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, place])])
                for place in places
            ]
            shared = _item(
                PlaneOrientationSequence=[_item(**turn)],
                PixelMeasuresSequence=[_item(PixelSpacing=[1, 2])],
            )
            header["PerFrameFunctionalGroupsSequence"] = groups
            header["SharedFunctionalGroupsSequence"] = [shared]
    dataset = dataset_of(syntax, **header)
    if what == "overlay" and not wrong:
        dataset.add_new(0x60000010, "US", rows)
        dataset.add_new(0x60000011, "US", columns)
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 15)
    content = cells.tobytes()
    setattr(dataset, pixels, content + b"\0" * (len(content) % 2))
    if pixels == "PixelData":
        small = header["BitsAllocated"] == 8 and syntax != ImplicitVRLittleEndian
        dataset[pixels].VR = "OB" if small else "OW"
    return Written(
        about=f"{what} {syntax.name} {header} {wrong} seed={seed}",
        content=content_of(dataset),
        values=None if wrong else right,
        channels=colours,
    )


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


EXAMPLES = st.one_of(native(), compressed(), special())


def _small(syntax: UID) -> Small:
    """A whole file, and where its parts begin."""
    values = np.random.default_rng(7).integers(0, 4096, (16, 16)).astype(np.uint16)
    dataset = dataset_of(
        syntax,
        Modality="CT",
        Rows=16,
        Columns=16,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        RescaleSlope="1",
        RescaleIntercept="-1024",
    )
    if syntax in NATIVE:
        order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
        dataset.PixelData = values.astype(order).tobytes()
    else:
        dataset.PixelData = encapsulate([_encoded(syntax, values, 12)])
    dataset["PixelData"].VR = "OW" if syntax in NATIVE else "OB"
    content = content_of(dataset)
    if syntax == DeflatedExplicitVRLittleEndian:
        body = content.index(b"1.2.840.10008.1.2.1.99") + 22
        return Small(content=content, places={0: "preamble", 128: "meta", body: "deflated data"})
    meta = content.index(b"1.2.840.10008.1.2")
    header = content.index(
        b"\x08\x00\x16\x00" if ">" not in _order(syntax) else b"\x00\x08\x00\x16", meta
    )
    pixels = content.index(
        b"\xe0\x7f\x10\x00" if ">" not in _order(syntax) else b"\x7f\xe0\x00\x10", header
    )
    size = 12 if syntax != ImplicitVRLittleEndian else 8
    places = {0: "preamble", 128: "meta", header: "header", pixels: "pixels' element"}
    places[pixels + size] = "pixels" if syntax in NATIVE else "frames"
    return Small(content=content, places=places)


def _order(syntax: UID) -> str:
    return ">" if syntax == ExplicitVRBigEndian else "<"


SMALL = {
    syntax.name.split(",")[0]: _small(syntax)
    for syntax in (
        *NATIVE,
        RLELossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
    )
}
