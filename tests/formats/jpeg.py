"""JPEG files of libjpeg's writers, sound and spoiled; the right values are imagecodecs'."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from hypothesis import strategies as st
from PIL import Image

from formats.expected import READINGS, Picture, right
from formats.written import Small, Written
from medpipe.steps import Reading

SUBSAMPLINGS = ("444", "422", "420", "440", "411")
SCAN = re.compile(rb"\xff\xda")
CONTRADICTIONS = (
    "cut",
    "cut with an end marker",
    "cut between scans with an end marker",
    "text mode",
    "no end marker",
    "zeroed",
    "a byte too many in the data",
    "restart marker out of order",
    "restart interval that isn't kept",
    "no Huffman table",
    "no quantization table",
    "no frame",
    "no height",
    "taller",
    "two components",
    "12 bits",
    "lossless",
    "component without a scan",
    "text between the segments",
)


def drawn(height: int, width: int, channels: int, seed: int) -> np.ndarray[Any, Any]:
    """Slopes, edges and noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    slopes = rows[..., None] * random.uniform(0, 4, channels) + columns[..., None] * 2
    edges = 90 * ((rows // 5 + columns // 7) % 2)[..., None]
    noise = random.integers(0, 50, (height, width, channels))
    return ((slopes + edges + noise) % 256).astype(np.uint8)


def written(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    """By Pillow's libjpeg."""
    target = BytesIO()
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[values.shape[2]]
    size = values.shape[1], values.shape[0]
    Image.frombytes(mode, size, values.tobytes()).save(target, "JPEG", **options)
    return target.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    """A segment with its length."""
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def exif(turn: int) -> bytes:
    """An EXIF segment that says how the picture is to be turned."""
    tags = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1" + bytes([0, turn]) + bytes(6)
    return segment(0xE1, b"Exif\0\0" + tags)


@st.composite
def files(draw: Any) -> Written:
    """A file, and what is right for it."""
    channels = draw(st.sampled_from([1, 3, 3, 4]))
    height, width = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    progressive, reading = draw(st.booleans()), draw(READINGS)
    wrong = draw(st.one_of(st.none(), st.sampled_from(CONTRADICTIONS)))
    if wrong:  # enough data for the fault to be among them
        height, width = height + 40, width + 40
    values = drawn(height, width, channels, draw(st.integers(0, 2**32 - 1)))
    quality, restart = draw(st.integers(30, 100)), draw(st.sampled_from([0, 0, 1, 3]))
    writer = draw(st.sampled_from(["pillow", "pillow", "simplejpeg", "imagecodecs"]))
    subsampling = draw(st.sampled_from(SUBSAMPLINGS))
    if channels == 4 or (
        channels == 3 and subsampling in ("440", "411") and writer != "simplejpeg"
    ):
        writer, subsampling = "pillow", "444"
    kept_rgb = writer == "pillow" and channels == 3 and draw(st.integers(0, 5)) == 0
    if kept_rgb:
        subsampling = "444"
    if writer == "pillow":
        options: dict[str, Any] = {"quality": quality, "progressive": progressive}
        options |= {"optimize": draw(st.booleans()), "restart_marker_blocks": restart}
        if channels == 3:
            options |= {"subsampling": {"444": 0, "422": 1, "420": 2}[subsampling]}
            options |= {"keep_rgb": kept_rgb}
        content = written(values, **options)
    elif writer == "simplejpeg":
        progressive, restart = False, 0
        space = "GRAY" if channels == 1 else "RGB"
        content = simplejpeg.encode_jpeg(values, quality, space, subsampling)
    else:
        progressive, restart = False, 0
        given = values[..., 0] if channels == 1 else values
        options = {} if channels == 1 else {"subsampling": subsampling}
        content = imagecodecs.jpeg8_encode(given, level=quality, **options)

    turn = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 5, 6, 7, 8]))
    remarks = b"" if turn == 1 else exif(turn)
    remarks += segment(0xFE, b"of a hand \xff\xd9") if draw(st.booleans()) else b""
    fill = b"\xff" * draw(st.sampled_from([0, 0, 0, 1, 5]))
    content = content[:2] + remarks + content[2:]
    if fill and not remarks:
        content = content[:3] + fill + content[3:]
    sound = content
    content, wrong = _spoiled(content, wrong, draw)
    # libjpeg has read a few bytes ahead where it stops, and doesn't count these: all is there.
    beyond = wrong == "a byte too many in the data"
    wrong = None if beyond else wrong
    if wrong is None and draw(st.integers(0, 4)) == 0:
        content += draw(st.binary(min_size=1, max_size=9))
    right_values: np.ndarray[Any, Any] | None = None
    if wrong is None:
        found = imagecodecs.jpeg8_decode(sound)
        if channels == 4:  # Pillow and Adobe write inks upside down, and say so
            found = 255 - found
            seen = np.array(
                Image.frombytes("CMYK", (width, height), found.tobytes()).convert("RGB")
            )
        else:
            seen = found
        picture = Picture(stored=found, seen=seen, colours=channels > 1, turn=turn)
        right_values = right(picture, reading)
    return Written(
        about=f"{channels=} {height=} {width=} {writer=} {progressive=} {subsampling=} {quality=} "
        f"{restart=} {kept_rgb=} {turn=} {fill=} {wrong=} {reading}",
        content=content,
        values=right_values,
        channels=right_values is not None and right_values.ndim == 3,
        reading=reading,
        may_refuse=beyond,
    )


def _spoiled(content: bytes, wrong: str | None, draw: Any) -> tuple[bytes, str | None]:
    """The file with a fault, and the fault; None where it has no place for it."""
    scans = [found.start() for found in SCAN.finditer(content)]
    first = scans[0]
    frame = re.search(rb"\xff[\xc0\xc1\xc2]\0", content)
    assert frame is not None
    data = first + 2 + int.from_bytes(content[first + 2 : first + 4], "big")
    middle = data + int((len(content) - data) * draw(st.floats(0.02, 0.75)))
    spoiled: bytes | None = content
    if wrong == "cut":
        spoiled = content[: draw(st.integers(4, len(content) - 1))]
    elif wrong == "cut with an end marker":
        spoiled = content[:middle] + b"\xff\xd9"
    elif wrong == "cut between scans with an end marker":
        later = scans[1:]
        spoiled = content[: draw(st.sampled_from(later))] + b"\xff\xd9" if later else None
    elif wrong == "text mode":
        spoiled = content.replace(b"\n", b"\r\n") if content[data:].count(b"\n") > 3 else None
    elif wrong == "no end marker":
        spoiled = content[:-2]
    elif wrong == "zeroed":
        spoiled = content[:middle] + bytes(len(content) - middle)
    elif wrong == "a byte too many in the data":
        spoiled = content[:-2] + bytes([draw(st.integers(1, 254))] * 3) + content[-2:]
    elif wrong == "restart marker out of order":
        found = content.find(b"\xff\xd0", data)
        spoiled = content[:found] + b"\xff\xd5" + content[found + 2 :] if found > 0 else None
    elif wrong == "restart interval that isn't kept":
        there = b"\xff\xdd" in content
        spoiled = None if there else content[:first] + b"\xff\xdd\0\4\0\2" + content[first:]
    elif wrong in ("no Huffman table", "no quantization table"):
        marker = b"\xff\xc4" if wrong == "no Huffman table" else b"\xff\xdb"
        spoiled = content
        while (found := spoiled.find(marker)) >= 0:
            spoiled = spoiled[:found] + spoiled[found + 2 + spoiled[found + 3] :]
    elif wrong == "no frame":
        spoiled = (
            content[: frame.start()] + content[frame.start() + 2 + content[frame.start() + 3] :]
        )
    elif wrong in ("no height", "taller", "12 bits"):
        place = frame.start() + (4 if wrong == "12 bits" else 5)
        value = {"no height": b"\0\0", "taller": b"\2\0", "12 bits": b"\x0c"}[wrong]
        spoiled = content[:place] + value + content[place + len(value) :]
    elif wrong == "two components":
        spoiled = content[: frame.start() + 9] + b"\2" + content[frame.start() + 10 :]
    elif wrong == "lossless":
        spoiled = content[: frame.start() + 1] + b"\xc3" + content[frame.start() + 2 :]
    elif wrong == "component without a scan":
        # A frame of one component more than the scans have.
        start, count = frame.start(), content[frame.start() + 9]
        if count != 3:
            spoiled = None
        else:
            body = bytearray(content[start + 4 : start + 2 + content[start + 3]])
            body[5] = 4
            body += b"\x77\x11\x00"
            end = start + 2 + content[start + 3]
            spoiled = content[:start] + segment(content[start + 1], bytes(body)) + content[end:]
    elif wrong == "text between the segments":
        spoiled = content[: frame.start()] + b"\r\n" + content[frame.start() :]
    if spoiled is None:
        return content, None
    return spoiled, wrong


EXAMPLES = files()


def _small(channels: int, **options: Any) -> Small:
    content = written(drawn(16, 16, channels, 1), quality=60, **options)
    places, place, names = {0: "start"}, 2, {0xE0: "JFIF", 0xDB: "quantization", 0xC4: "Huffman"}
    names |= {0xC0: "frame", 0xC2: "frame", 0xDA: "scan header", 0xEE: "Adobe"}
    while content[place + 1] != 0xD9:
        places[place] = names[content[place + 1]]
        scan = content[place + 1] == 0xDA
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if scan:
            places[place] = "pixels"
            found = re.compile(rb"\xff[^\0\xd0-\xd7]").search(content, place)
            assert found is not None
            place = found.start()
    places[place] = "end"
    return Small(content=content, places=places, reading=Reading(channels="auto"))


SMALL = {
    "grey": _small(1),
    "RGB": _small(3),
    "grey, progressive": _small(1, progressive=True),
}
