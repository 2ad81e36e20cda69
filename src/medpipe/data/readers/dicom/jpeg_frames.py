"""Find truncated JPEG frames, which decoders fill up silently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.readers.dicom.codestreams import MARKER, FrameError
from medpipe.data.readers.unreadable import UnreadableImageError
from medpipe.system.distribution import install_command

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np

    from medpipe.data.readers.dicom.codestreams import Codestream

    Array = np.ndarray[Any, Any]

LOSSY = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive."""
LOSSLESS = 0xC3
TAIL = 3
"""Bytes at the end of a scan that are changed to see which samples they encode."""
CHANGES = (0x55, 0, 0x0F, 0x33)
SAMPLES = 8 * (TAIL + 2)
"""They can't hold more samples, each of which takes a bit at least."""
BLOCKS = 4 * TAIL + 1
"""Nor more blocks of lossy JPEG, each of which takes two."""
MONOCHROME, LOSSLESS_SYNTAX, EXTENDED_SYNTAX = (
    "MONOCHROME2",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.51",
)


def install_decoders() -> str:
    """How the decoders of compressed files are installed, as a sentence."""
    return f"Install the decoders: {install_command('dicom')}."


def refuse_warned(said: Codestream, frame: bytes) -> None:
    """Refuse a frame of 8 bits for which libjpeg warns.

    Raises:
        FrameError: It is cut off or damaged.
    """
    import simplejpeg

    if said.kind not in LOSSY or said.precision != 8:
        return
    try:
        simplejpeg.decode_jpeg(frame, "GRAY" if said.components == 1 else "RGB", strict=True)
    except ValueError as error:
        raise FrameError(f"is damaged: {' '.join(str(error).split()).strip(' .')}") from error


def twelve_bits(
    frames: Sequence[bytes],
    said: Sequence[Codestream],
    signed: bool,
    path: str | os.PathLike[str],
) -> Array:
    """Decode lossy frames of 12 bits by GDCM, which pydicom doesn't ask for them.

    Returns:
        Of shape (frames, height, width).

    Raises:
        FrameError: A frame is cut off.
        UnreadableImageError: GDCM is not installed.
    """
    import numpy as np

    try:
        import gdcm  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        reason = "is compressed as JPEG of 12 bits, for which no decoder is installed"
        raise UnreadableImageError(path, reason, install_decoders()) from error
    if any(one.components != 1 for one in said):
        raise FrameError("is compressed as JPEG of 12 bits with colours, which can't be decoded")
    decoded = []
    for frame, one in zip(frames, said, strict=True):
        values = _by_gdcm(frame, one, EXTENDED_SYNTAX)
        other = _with_another_tail(frame, one, EXTENDED_SYNTAX, values)
        blocks = np.flatnonzero(_in_blocks(values != other))
        if blocks.size and blocks[0] < -(-one.height // 8) * -(-one.width // 8) - BLOCKS:
            raise FrameError("is truncated: a compressed frame ends too early")
        decoded.append(values)
    return np.stack(decoded).astype(np.int16 if signed else np.uint16)


def refuse_cut(said: Codestream, frame: bytes, cells: Array) -> None:
    """Refuse a lossless frame that ends before its last sample.

    Decoders go on with zeros, and GDCM, the only one available, doesn't report it. Where the last
    samples look like that, the frame is decoded again with other bytes at its end: they must
    change the last samples and no others.

    Args:
        said: Its header.
        frame: The frame.
        cells: Its decoded samples, of shape (height, width) or (height, width, samples).

    Raises:
        FrameError: It does.
    """
    import numpy as np

    if said.kind != LOSSLESS or frame.count(b"\xff\xda") != 1 or cells.size <= 2 * SAMPLES:
        return
    flat = cells.reshape(-1, said.components)
    steps = np.diff(flat[-8:].astype(np.int64), axis=0)
    scan = frame.index(b"\xff\xda")
    predictor = frame[scan + 5 + 2 * said.components]
    if predictor == 1 and len(np.unique(steps, axis=0)) > 1:
        return
    try:
        first = _by_gdcm(frame, said, LOSSLESS_SYNTAX)
    except (ImportError, ValueError):
        return  # another decoder made the samples
    other = _with_another_tail(frame, said, LOSSLESS_SYNTAX, first)
    changed = np.flatnonzero(first.reshape(-1) != other.reshape(-1))
    if changed.size and changed[0] < first.size - SAMPLES:
        raise FrameError("is truncated: a compressed frame ends too early")


def _in_blocks(changed: Array) -> Array:
    """Whether each block of 8 x 8 has a change, in the order of the scan."""
    import numpy as np

    height, width = changed.shape
    whole = np.zeros((-(-height // 8) * 8, -(-width // 8) * 8), dtype=bool)
    whole[:height, :width] = changed
    blocks: Array = whole.reshape(whole.shape[0] // 8, 8, -1, 8).any(axis=(1, 3)).reshape(-1)
    return blocks


def _with_another_tail(frame: bytes, said: Codestream, syntax: str, values: Array) -> Array:
    """Decode a frame with other bytes at the end of its last scan.

    Returns `values`, its own, where no other bytes change it: not all are codes of the frame.
    """
    end = len(frame)
    for found in MARKER.finditer(frame, frame.rindex(b"\xff\xda") + 2):
        end = found.start()
        break
    start = end - TAIL
    start += frame[start - 1] == 0xFF  # what follows it belongs to it
    for change in CHANGES:
        # Never 0xFF, which would begin a marker.
        tail = bytes((byte ^ change) & 0x7F if change else 0 for byte in frame[start:end])
        try:
            other = _by_gdcm(frame[:start] + tail + frame[end:], said, syntax)
        except ValueError:
            continue
        if (other != values).any():
            return other
    return values


def _by_gdcm(frame: bytes, said: Codestream, syntax: str) -> Array:
    """The samples of a frame, of shape (height, width) or (height, width, samples)."""
    import gdcm
    import numpy as np

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((said.width, said.height, 1))
    image.SetDataElement(element)
    kind = MONOCHROME if said.components == 1 else "RGB"
    named = gdcm.PhotometricInterpretation.GetPIType(kind)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(named))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    bits = 8 if said.precision <= 8 else 16
    image.SetPixelFormat(
        gdcm.PixelFormat(said.components, bits, said.precision, said.precision - 1, 0)
    )
    text = image.GetBuffer()  # GDCM gives bytes as text
    if text is None:
        raise ValueError("GDCM can't decode a compressed frame")
    content = text.encode("utf-8", "surrogateescape")
    shape = (said.height, said.width, said.components)[: 2 + (said.components > 1)]
    return np.frombuffer(content, f"<u{bits // 8}").reshape(shape)
