"""NIfTI files over the space of their header fields, written byte by byte; values by arithmetic."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from formats.written import Small, Written

KINDS = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
    1024: np.int64,
    1280: np.uint64,
}
COMPLEX = {32: np.complex64, 1792: np.complex128}
RGB, RGBA = 128, 2304


def header_of(
    *,
    two: bool,
    order: str,
    dim: list[int],
    datatype: int,
    bitpix: int,
    offset: float,
    slope: float = 0,
    intercept: float = 0,
    units: int = 2,
    codes: tuple[int, int] = (0, 1),
    pixdim: list[float] | None = None,
    sform: list[float] | None = None,
    magic: bytes | None = None,
) -> bytes:
    """A header of NIfTI-1 (nifti1.h) or NIfTI-2 (nifti2.h); `codes` of the qform and the sform."""
    steps = [1.0, *(pixdim or [1.0] * 7)]
    rows = sform or [2, 0, 0, -3, 0, 2.5, 0, 4, 0, 0, 3, 5]
    whole = [*dim, *[1] * (8 - len(dim))]
    if two:
        return struct.pack(
            f"{order}i8sHh8q3d8dq2d2d2d2q80s24s2i6d12d3i16sB15s",
            540, magic or b"n+2\0\r\n\x1a\n", datatype & 0xFFFF, bitpix, *whole, 0, 0, 0,
            *steps, int(offset), slope, intercept, 0, 0, 0, 0, 0, 0, b"", b"",
            *codes, *[0.0] * 6, *rows, 0, units, 0, b"", 0, b"",
        )  # fmt: skip
    return struct.pack(
        f"{order}i10s18sihcB8h3f4h8f3fhBB4f2i80s24s2h6f12f16s4s",
        348, b"", b"", 0, 0, b"r", 0, *whole, 0, 0, 0, 0, datatype, bitpix, 0,
        *steps, offset, slope, intercept, 0, 0, units, 0, 0, 0, 0, 0, 0, b"", b"",
        *codes, *[0.0] * 6, *rows, b"", magic or b"n+1\0",
    )  # fmt: skip


WRONG = (
    "longer",
    "shorter",
    "dim",
    "sides",
    "no side",
    "bitpix",
    "datatype",
    "offset",
    "offset in the header",
    "slope",
    "units",
    "codes",
    "affine",
    "places",
    "gzip cut",
    "gzip sum",
    "gzip rest",
    "magic",
)


@st.composite
def files(draw: st.DrawFn) -> Written:
    """Files, sound or contradictory."""
    two, order = draw(st.booleans()), draw(st.sampled_from("<>"))
    datatype = draw(st.sampled_from([*KINDS, *KINDS, *COMPLEX, RGB, RGBA]))
    colours = datatype in (RGB, RGBA)
    sides = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(2, 3)))]
    more: list[int] = []
    if len(sides) == 3 and not colours:
        more = draw(st.sampled_from([[], [1], [3], [1, 1], [1, 3], [2, 1], [1, 1, 1, 1]]))
    shape = tuple(sides + more)
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    if colours:
        values = random.integers(0, 256, (*shape, 3 if datatype == RGB else 4)).astype(np.uint8)
        # The samples of a pixel lie side by side, the first axis runs the fastest.
        content = np.moveaxis(values, -1, 0).tobytes(order="F")
        bitpix = 8 * values.shape[-1]
    else:
        kind = np.dtype({**KINDS, **COMPLEX}[datatype])
        bitpix = 8 * kind.itemsize
        values = np.frombuffer(random.bytes(int(np.prod(shape)) * kind.itemsize), kind)
        if kind.kind in "fc":
            values = random.normal(size=shape).astype(kind)
        values = values.reshape(shape)
        content = values.astype(kind.newbyteorder(order)).tobytes(order="F")
    slope = draw(st.sampled_from([0.0, 0.0, 1.0, 2.0, -0.5, float("nan")]))
    intercept = 0.0 if slope != slope else draw(st.sampled_from([0.0, 10.0, -1024.0]))
    least = 544 if two else 352
    extended = draw(st.sampled_from([0, 16]))
    units = draw(st.sampled_from([0, 1, 2, 3, 10, 18]))
    codes = draw(st.sampled_from([(0, 0), (1, 0), (0, 1), (1, 2), (0, 4)]))
    if not sum(codes):
        codes = (0, 0)
    wrong = draw(st.sampled_from(WRONG)) if draw(st.booleans()) else None
    zipped = draw(st.booleans()) or str(wrong).startswith("gzip")
    dim = [len(shape), *shape]
    told: dict[str, Any] = {
        "two": two,
        "order": order,
        "dim": dim,
        "datatype": datatype,
        "bitpix": bitpix,
        "offset": float(least + extended),
        "slope": slope,
        "intercept": intercept,
        "units": units,
        "codes": codes,
    }
    if wrong == "longer":
        content += b"\0" * draw(st.integers(1, 9))
    elif wrong == "shorter":
        content = content[: -draw(st.integers(1, len(content)))]
    elif wrong == "dim":
        told["dim"] = [draw(st.sampled_from([0, -1, 8, 300])), *shape]
    elif wrong == "sides":
        which = draw(st.integers(1, len(shape)))
        told["dim"] = [*dim[:which], dim[which] + draw(st.sampled_from([1, -1])), *dim[which + 1 :]]
    elif wrong == "no side":
        told["dim"] = [dim[0], draw(st.sampled_from([0, -2])), *dim[2:]]
    elif wrong == "bitpix":
        told["bitpix"] = bitpix + 8
    elif wrong == "datatype":
        told["datatype"] = draw(st.sampled_from([0, 1, 3, 255, 9999]))
    elif wrong == "offset":
        told["offset"] += draw(st.sampled_from([16, -16])) if extended else 16
    elif wrong == "offset in the header":
        told["offset"] = float(draw(st.sampled_from([0, 100, 340])))
    elif wrong == "slope":
        told["slope"], told["intercept"] = draw(
            st.sampled_from([(float("inf"), 0.0), (2.0, float("nan")), (float("nan"), 5.0)])
        )
    elif wrong == "units":
        told["units"] = draw(st.integers(4, 7))
    elif wrong == "codes":
        told["codes"] = draw(st.sampled_from([(0, 77), (-3, 1), (9, 0)]))
    elif wrong == "affine":
        told["codes"] = (0, 1)
        told["sform"] = [0.0] * 12 if draw(st.booleans()) else [float("nan")] * 12
    elif wrong == "places":
        told["codes"], told["pixdim"] = (1, 1), [7.0] * 7
    elif wrong == "magic":
        if two:
            told["magic"] = b"n+2\0\n\n\x1a\n"
        else:
            told["magic"] = b"ni1\0"
    head = header_of(**told)
    extension = struct.pack(f"{order}4B2i8s", 1, 0, 0, 0, 16, 6, b"comment") if extended else b""
    if not extended:
        extension = bytes(4)
    whole = head + extension + content
    if zipped:
        whole = gzip.compress(whole, compresslevel=1, mtime=0)
        if draw(st.booleans()) and wrong is None:  # two members are one file
            text = gzip.decompress(whole)
            at = draw(st.integers(0, len(text)))
            whole = gzip.compress(text[:at], mtime=0) + gzip.compress(text[at:], mtime=0)
    if wrong == "gzip cut":
        whole = whole[: -draw(st.integers(1, len(whole) - 3))]
    elif wrong == "gzip sum":
        whole = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]
    elif wrong == "gzip rest":
        whole += b"more"
    right: np.ndarray | None = None
    if wrong is None and datatype not in COMPLEX:
        right = _meant(values, slope, intercept, two=two, colours=colours)
    return Written(
        about=f"{told} {wrong} zipped={zipped} seed={seed}",
        content=whole,
        values=right,
        channels=colours or (right is not None and right.ndim == 4),
    )


def _meant(
    values: np.ndarray, slope: float, intercept: float, *, two: bool, colours: bool
) -> np.ndarray | None:
    if colours:
        return values[..., :3].swapaxes(0, 1)
    shape = list(values.shape)
    while len(shape) > 4 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 5:
        assert shape[3] == 1
        del shape[3]
    found = values.reshape(shape)
    if slope == slope and slope != 0 and (slope, intercept) != (1, 0):
        kind = found.dtype if found.dtype.kind == "f" else np.dtype(np.float32)
        found = (found.astype(np.float64) * slope + intercept).astype(kind)
    return found.swapaxes(0, 1)


EXAMPLES = files()


def _small(*, zipped: bool, two: bool = False) -> Small:
    values = np.random.default_rng(7).integers(-1000, 1000, (5, 4, 3)).astype("<i2")
    least = 544 if two else 352
    head = header_of(
        two=two, order="<", dim=[3, 5, 4, 3], datatype=4, bitpix=16, offset=float(least),
        slope=2, intercept=-5, codes=(0, 1),
    )  # fmt: skip
    content = head + bytes(4) + values.tobytes(order="F")
    if not zipped:
        return Small(content=content, places={0: "header", least: "pixels"})
    content = gzip.compress(content, mtime=0)
    end = len(content) - 8
    places = {0: "gzip header", 10: "compressed", end: "checksum"}
    return Small(content=content, places=places, checked=True)


SMALL = {
    ".nii": _small(zipped=False),
    ".nii of NIfTI-2": _small(zipped=False, two=True),
    ".nii.gz": _small(zipped=True),
}
