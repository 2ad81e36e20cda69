"""PNG files written by hand: sound ones, and ones that contradict themselves."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st

from formats.expected import READINGS, Picture, right
from formats.written import Small, Written
from medpipe.steps import Reading

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KINDS = [(0, bits) for bits in (1, 2, 4, 8, 16)] + [(3, bits) for bits in (1, 2, 4, 8)]
KINDS += [(colour, bits) for colour in (2, 4, 6) for bits in (8, 16)]
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
ADAM7 += ((1, 0, 2, 1),)
CONTRADICTIONS = (
    "checksum of IHDR",
    "checksum of IDAT",
    "checksum of a text",
    "no IEND",
    "taller",
    "shorter",
    "wider",
    "unknown filter",
    "checksum of the data",
    "no end of the data",
    "no data",
    "text between the data",
    "critical chunk",
    "no IHDR",
    "two IHDR",
    "depth",
    "colour type",
    "compression method",
    "filter method",
    "interlace method",
    "no size",
    "length of a chunk",
    "index beyond the palette",
    "no palette",
    "palette of no colours",
    "palette behind the data",
    "two palettes",
    "several frames",
    "cut",
    "zeroed",
)


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def paeth(left: int, up: int, corner: int) -> int:
    """The predictor of PNG's filter 4."""
    guess = left + up - corner
    away = abs(guess - left), abs(guess - up), abs(guess - corner)
    if away[0] <= away[1] and away[0] <= away[2]:
        return left
    return up if away[1] <= away[2] else corner


def filtered(row: bytes, above: bytes, step: int, kind: int) -> bytes:
    """A row of bytes with one of the five filters, and its number before it."""
    out = bytearray([kind])
    for place, byte in enumerate(row):
        left = row[place - step] if place >= step else 0
        up = above[place] if above else 0
        corner = above[place - step] if above and place >= step else 0
        guess = (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]
        out.append((byte - guess) & 0xFF)
    return bytes(out)


def packed(samples: np.ndarray[Any, Any], bits: int) -> list[bytes]:
    """The rows of samples, the first in the highest bits."""
    flat = samples.reshape(len(samples), -1)
    if bits >= 8:
        return [row.astype(f">u{bits // 8}").tobytes() for row in flat]
    rows = []
    for row in flat:
        digits = "".join(f"{int(value):0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows.append(int(digits, 2).to_bytes(len(digits) // 8, "big"))
    return rows


def scanlines(samples: np.ndarray[Any, Any], bits: int, interlaced: bool, draw: Any) -> bytes:
    """All filtered rows, of all passes."""
    height, width = samples.shape[:2]
    step = max(1, samples.shape[2] * bits // 8)
    data = b""
    for top, left, down, across in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = samples[top:height:down, left:width:across]
        if not part.size:
            continue
        above = b""
        for row in packed(part, bits):
            data += filtered(row, above, step, draw(st.integers(0, 4)))
            above = row
    return data


@st.composite
def files(draw: Any) -> Written:
    """A file, and what is right for it."""
    colour, bits = draw(st.sampled_from(KINDS))
    height, width = draw(st.integers(1, 19)), draw(st.integers(1, 19))
    interlaced, reading = draw(st.booleans()), draw(READINGS)
    wrong = draw(st.one_of(st.none(), st.sampled_from(CONTRADICTIONS)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    entries = draw(st.integers(1, 1 << bits)) if colour == 3 else 0
    palette = random.integers(0, 256, (entries, 3), np.uint8)
    top = entries if colour == 3 else 1 << bits
    samples = random.integers(0, top, (height, width, SAMPLES[colour]))
    if draw(st.booleans()):  # smooth, so that every filter and the compression have work
        samples = np.sort(samples, axis=1)
    turn = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 5, 6, 7, 8]))

    if wrong == "index beyond the palette":
        if colour != 3 or entries == 1 << bits:
            wrong = None
        else:
            samples[-1, -1, 0] = entries
    data = scanlines(samples, bits, interlaced, draw)
    fields = [width, height, bits, colour, 0, 0, int(interlaced)]
    changed = {"taller": (1, height + 1), "shorter": (1, height - 1), "depth": (2, 3)}
    changed |= {"colour type": (3, 5), "compression method": (4, 1), "filter method": (5, 1)}
    changed |= {"interlace method": (6, 2), "no size": (draw(st.integers(0, 1)), 0)}
    changed |= {"wider": (0, width + 64)}
    if wrong in changed:
        place, value = changed[wrong]
        fields[place] = value
    if wrong == "unknown filter":
        data = bytes([draw(st.integers(5, 255))]) + data[1:]
    stream = zlib.compress(data, draw(st.integers(0, 9)))
    if wrong == "checksum of the data":
        stream = stream[:-1] + bytes([stream[-1] ^ 1])
    elif wrong == "no end of the data":
        stream = stream[: -draw(st.integers(1, 4))]

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))
    texts = chunk(b"tEXt", b"Comment\0of a hand")
    before = [chunk(b"gAMA", struct.pack(">I", 45455))] if draw(st.booleans()) else []
    before += [texts] if draw(st.booleans()) or wrong == "checksum of a text" else []
    after: list[bytes] = []
    if turn != 1:
        exif = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1" + struct.pack(">HHI", turn, 0, 0)
        (before if draw(st.booleans()) else after).append(chunk(b"eXIf", exif))
    colours = [chunk(b"PLTE", palette.tobytes())] if colour == 3 else []
    if colour == 2 and draw(st.booleans()):  # a suggestion, for displays of few colours
        colours = [chunk(b"PLTE", bytes(range(30)))]
    alpha: list[bytes] = []
    if colour in (0, 2, 3) and draw(st.booleans()):
        tone = {0: bytes(2), 2: bytes(6), 3: bytes([7] * entries)}[colour]
        alpha = [chunk(b"tRNS", tone)]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=3)))
    edges = [0, *cuts, len(stream)]
    parts = [chunk(b"IDAT", stream[a:b]) for a, b in itertools.pairwise(edges)]
    end = chunk(b"IEND", b"")
    frames = [chunk(b"acTL", struct.pack(">II", 1, 0))] if draw(st.integers(0, 9)) == 0 else []
    if frames:
        frames.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 0, 0)))
    content = b"".join([SIGNATURE, header, *before, *colours, *alpha, *frames, *parts, *after, end])

    def swapped(old: bytes, new: bytes) -> bytes:
        return content.replace(old, new, 1)

    def spoiled(one: bytes) -> bytes:
        return one[:-1] + bytes([one[-1] ^ draw(st.integers(1, 255))])

    if wrong == "checksum of IHDR":
        content = swapped(header, spoiled(header))
    elif wrong == "checksum of IDAT":
        one = draw(st.sampled_from(parts))
        content = swapped(one, spoiled(one))
    elif wrong == "checksum of a text":
        content = swapped(texts, spoiled(texts))
    elif wrong == "no IEND":
        content = content[: -len(end)]
    elif wrong == "no data":
        content = content.replace(b"".join(parts), b"")
    elif wrong == "text between the data":
        content = swapped(b"".join(parts), parts[0] + texts + chunk(b"IDAT", b"") + parts[-1])
    elif wrong == "critical chunk":
        content = swapped(parts[0], chunk(b"CgBI", bytes(4)) + parts[0])
    elif wrong == "no IHDR":
        content = swapped(header, b"")
    elif wrong == "two IHDR":
        content = swapped(header, header + header)
    elif wrong == "length of a chunk":
        content = swapped(header, b"\0\0\0\x0e" + header[4:])
    elif wrong in (
        "no palette",
        "palette of no colours",
        "palette behind the data",
        "two palettes",
    ):
        if colour != 3:
            wrong = None
        elif wrong == "no palette":
            content = swapped(colours[0], b"")
        elif wrong == "palette of no colours":
            content = swapped(colours[0], chunk(b"PLTE", b"\0\0"))
        elif wrong == "two palettes":
            content = swapped(colours[0], colours[0] * 2)
        else:
            content = swapped(colours[0], b"").replace(end, colours[0] + end)
    elif wrong == "several frames":
        if frames:
            wrong = None
        else:
            content = swapped(header, header + chunk(b"acTL", struct.pack(">II", 3, 0)))
    elif wrong == "cut":
        content = content[: draw(st.integers(9, len(content) - 1))]
    elif wrong == "zeroed":
        place = draw(st.integers(9, len(content) - 13))  # IEND's own checksum isn't zero
        content = content[:place] + bytes(len(content) - place)
    if wrong is None and draw(st.integers(0, 9)) == 0:
        content += draw(st.binary(min_size=1, max_size=9))

    values: np.ndarray[Any, Any] | None = None
    if wrong is None:
        values = right(_picture(samples, colour, bits, palette, turn), reading)
    return Written(
        about=f"{colour=} {bits=} {height=} {width=} {interlaced=} {turn=} {wrong=} {reading}",
        content=content,
        values=values,
        channels=values is not None and values.ndim == 3,
        reading=reading,
    )


def _picture(
    samples: np.ndarray[Any, Any], colour: int, bits: int, palette: np.ndarray[Any, Any], turn: int
) -> Picture:
    typed = samples.astype(np.uint16 if bits == 16 else np.uint8)
    if colour == 3:
        return Picture(stored=typed[..., 0], seen=palette[samples[..., 0]], colours=True, turn=turn)
    if colour in (0, 4):
        grey = typed[..., 0]
        if bits < 8:
            grey = (grey * (255 // (2**bits - 1))).astype(np.uint8)
        stored: np.ndarray[Any, Any] = grey > 0 if bits == 1 else grey if colour == 0 else typed
        return Picture(stored=stored, seen=grey, turn=turn)
    return Picture(stored=typed, seen=typed[..., :3], colours=True, turn=turn)


EXAMPLES = files()


def _small(colour: int, bits: int, *, interlaced: bool = False) -> Small:
    random = np.random.default_rng(colour * 100 + bits)
    top = 3 if colour == 3 else 1 << bits
    samples = random.integers(0, top, (5, 6, SAMPLES[colour]))

    def draw(_: Any) -> int:
        return int(random.integers(0, 5))

    fields = struct.pack(">IIBBBBB", 6, 5, bits, colour, 0, 0, int(interlaced))
    places, content = {0: "signature"}, SIGNATURE
    stream = zlib.compress(scanlines(samples, bits, interlaced, draw))
    palette = chunk(b"PLTE", bytes(range(9))) if colour == 3 else b""
    parts = {"header": chunk(b"IHDR", fields), "palette": palette}
    parts |= {"text": chunk(b"tEXt", b"Comment\0of a hand"), "pixels": chunk(b"IDAT", stream)}
    parts["end"] = chunk(b"IEND", b"")
    for name, part in parts.items():
        if part:
            places[len(content)] = name
            content += part
    return Small(content=content, places=places, checked=True, reading=Reading(channels="auto"))


SMALL = {
    "grey, 8 bits": _small(0, 8),
    "grey, 1 bit, interlaced": _small(0, 1, interlaced=True),
    "palette": _small(3, 2),
    "grey and alpha, 16 bits": _small(4, 16),
    "RGB, 16 bits": _small(2, 16),
}
