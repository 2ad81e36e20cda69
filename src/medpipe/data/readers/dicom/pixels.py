"""The stored values of a DICOM file, compared with its header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.bombs import refuse_bomb
from medpipe.data.readers.dicom.codestreams import (
    Codestream,
    FrameError,
    check_run_lengths,
    codestream_of,
    frames_of,
)
from medpipe.data.readers.dicom.jpeg_frames import (
    LOSSLESS,
    LOSSY,
    install_decoders,
    refuse_cut,
    refuse_warned,
    twelve_bits,
)
from medpipe.data.readers.dicom.layout import (
    GREY,
    PIXELS,
    WHOLE,
    YBR,
    Layout,
    layout_of,
    whole_number,
)
from medpipe.data.readers.unreadable import UnreadableImageError
from medpipe.system.distribution import install_command

if TYPE_CHECKING:
    import os

    import numpy as np
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

    Array = np.ndarray[Any, Any]

TRIED = "Unable to decode as exceptions were raised by all available plugins: "
MIXED = ("YBR_ICT", "YBR_RCT")
"""Colours of JPEG 2000, which its decoders undo."""
REPAIR = "Write the file again with a header that fits its pixels, or leave it out."
JPEG_LS = 0xF7
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
"""The SOP class of RT Structure Set."""
TO_MASK = (
    "Convert them to a mask on the grid of their image: dcmrtstruct2nii convert -r FILE -d SERIES "
    "-o FOLDER writes a NIfTI file for each structure; plastimatch and 3D Slicer do it too."
)
"""What to do with contours."""


@attrs.frozen(kw_only=True, eq=False)
class Stored:
    """The stored values.

    Attributes:
        values: Of shape (frames, height, width), with red, green and blue as one more last axis
            where it has colours (palettes are not yet resolved).
        cells: The same before bits that belong to no value were taken away, of the same sign.
        layout: What the header says.
    """

    values: Array
    cells: Array
    layout: Layout


def stored_values(dataset: Dataset, path: str | os.PathLike[str]) -> Stored:
    """Decode the pixels, in RGB where there are colours.

    Raises:
        UnreadableImageError: There are none, they contradict the header, or no decoder can.
    """
    if not any(dataset.get(keyword) for keyword in PIXELS):
        raise without_pixels(dataset.get("SOPClassUID"), path)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        remedy = "Write it again with its transfer syntax."
        raise UnreadableImageError(
            path, "doesn't say how it is encoded (its TransferSyntaxUID is missing)", remedy
        )
    kind = dataset.get("PhotometricInterpretation")
    known = (*GREY, "RGB", *YBR, *(MIXED if syntax.is_encapsulated else ()))
    if kind and kind not in known:
        raise UnreadableImageError(
            path,
            f"has colours of the kind {kind}, which can't be converted",
            "Save it as a grey or RGB image.",
        )
    try:
        layout = layout_of(dataset)
        if syntax.is_encapsulated:
            return _decompressed(dataset, path, syntax, layout)
        return _native(dataset, syntax, layout)
    except FrameError as error:
        cut = "truncated" in str(error)
        raise UnreadableImageError(
            path, str(error), REPAIR, kind="truncated" if cut else "damaged"
        ) from error


def without_pixels(kind: Any, path: str | os.PathLike[str]) -> UnreadableImageError:
    """The error for a file without pixels, with the way to a mask where it holds contours.

    Args:
        kind: Its SOP class; None where it doesn't say.
        path: The file.
    """
    if kind == CONTOURS:
        return UnreadableImageError(
            path, "holds contours (RT Structure Set) and no pixels", TO_MASK
        )
    named = f": it is of the kind {kind.name}" if kind else ""
    return UnreadableImageError(path, f"is a DICOM file without pixels{named}", "Leave it out.")


def _native(dataset: Dataset, syntax: UID, layout: Layout) -> Stored:
    from pydicom.pixels.decoders.base import get_decoder

    bits = layout.bits * 2 // 3 if layout.halved else layout.bits
    right, found = (bits + 7) // 8, len(dataset[layout.keyword].value)
    planes = whole_number(dataset, "PlanarConfiguration") if layout.samples > 1 else 0
    if planes not in (0, 1) or (layout.halved and (planes or layout.columns % 2)):
        raise FrameError(f"has the PlanarConfiguration {planes}, which its pixels can't have")
    if found < right:
        raise FrameError(f"is truncated: it should hold {right} bytes of pixels, not {found}")
    if found > right + right % 2:
        one = right // layout.frames
        several = f", as many as {found // one} frames have" if one and found % one == 0 else ""
        raise FrameError(
            f"holds {found} bytes of pixels{several}, but Rows, Columns, SamplesPerPixel, "
            f"BitsAllocated and NumberOfFrames ({layout.frames}) say {right}"
        )
    cells = _cells(dataset, get_decoder(syntax), layout)
    return _stored(dataset, cells, layout)


def _decompressed(
    dataset: Dataset, path: str | os.PathLike[str], syntax: UID, layout: Layout
) -> Stored:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import RLELossless

    named = f"is compressed as {syntax.name} ({syntax})"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        remedy = "Convert it to another transfer syntax."
        raise UnreadableImageError(path, f"{named}, which pydicom can't decode", remedy) from error
    if not decoder.is_available:
        raise UnreadableImageError(
            path, f"{named}, for which no decoder is installed", install_decoders()
        )
    if layout.keyword != WHOLE:
        raise FrameError(f"{named}, but has {layout.keyword}")
    if layout.high != layout.stored - 1:
        raise FrameError(f"{named} with the HighBit {layout.high}, not {layout.stored - 1}")
    refuse_bomb(path, layout.bits // 8)
    run_length = syntax == RLELossless
    said: list[Codestream] = []
    frames = frames_of(dataset, layout.frames, run_length=run_length)
    colours = layout.kind
    plugin = ""
    if run_length:
        for frame in frames:
            segments = layout.samples * layout.allocated // 8
            check_run_lengths(frame, segments, layout.rows * layout.columns)
    else:
        said = [codestream_of(frame) for frame in frames]
        for one in said:
            _compare(one, layout)
        for one, frame in zip(said, frames, strict=True):
            refuse_warned(one, frame)
        colours, plugin = _colours(said, layout, decoder)
        if {one.kind for one in said} <= LOSSY and {one.precision for one in said} == {12}:
            twelve = twelve_bits(frames, said, layout.signed, path)
            return _stored(dataset, twelve if layout.frames > 1 else twelve[0], layout)
    changed = attrs.evolve(layout, kind=colours)
    try:
        cells = _decoded(dataset, decoder, changed, plugin)
    except RuntimeError as error:
        why = " ".join(str(error).split()).strip(" .").removeprefix(TRIED)
        raise UnreadableImageError(
            path,
            f"{named}, which the installed decoders ({', '.join(decoder.available_plugins)}) "
            f"can't decode: {why}",
            f"Remove or repair it, or, if decoders are missing: {install_command('dicom')}.",
        ) from error
    if not run_length:
        each = cells if layout.frames > 1 else cells[None]
        for one, frame, part in zip(said, frames, each, strict=True):
            refuse_cut(one, frame, part)
    return _stored(dataset, cells, changed)


def _decoded(dataset: Dataset, decoder: Decoder, layout: Layout, plugin: str) -> Array:
    dataset = _with(dataset, PhotometricInterpretation=layout.kind)
    if layout.samples > 1 and dataset.get("PlanarConfiguration") is None:
        # Nothing depends on it: frames say themselves how they are laid out.
        dataset = _with(dataset, PlanarConfiguration=0)
    return _cells(dataset, decoder, layout, plugin)


def _with(dataset: Dataset, **elements: Any) -> Dataset:
    """The data set with other values of some elements; the given one is left as it is."""
    changed = {key: value for key, value in elements.items() if dataset.get(key) != value}
    if changed:
        dataset = dataset.copy()
        for keyword, value in changed.items():
            setattr(dataset, keyword, value)
    return dataset


def _cells(dataset: Dataset, decoder: Decoder, layout: Layout, plugin: str = "") -> Array:
    # What pydicom needs though it follows from the rest, and what it can't read when it is blank.
    dataset = _with(dataset, SamplesPerPixel=layout.samples)
    if dataset.get("NumberOfFrames") == "":
        dataset = _with(dataset, NumberOfFrames=layout.frames)
    # Bits that are not used are looked at below, not only taken away.
    options: dict[str, Any] = {"correct_unused_bits": False}
    cells, _ = decoder.as_array(dataset, raw=True, decoding_plugin=plugin, **options)
    return cells


def _compare(said: Codestream, layout: Layout) -> None:
    """Refuse a compressed frame that contradicts the header."""
    for field, frame, header in (
        ("Rows", said.height, layout.rows),
        ("Columns", said.width, layout.columns),
        ("SamplesPerPixel", said.components, layout.samples),
    ):
        if frame != header:
            raise FrameError(f"has the {field} {header}, but a compressed frame says {frame}")
    bits = said.precision
    if bits > layout.allocated or (said.kind in LOSSY and bits <= 8 < layout.allocated):
        raise FrameError(
            f"has the BitsAllocated {layout.allocated}, but a compressed frame has {bits} bits"
        )
    # The sign is the highest bit, of one or of the other.
    if layout.signed and bits < layout.stored and not said.signed:
        raise FrameError(
            f"has signed values of BitsStored {layout.stored}, but a compressed frame has {bits}"
        )
    if said.signed and not layout.signed:
        raise FrameError("has the PixelRepresentation 0, but a compressed frame has signed values")


def _colours(said: list[Codestream], layout: Layout, decoder: Decoder) -> tuple[str, str]:
    """The kind of colours that decoders give, and which decoder; see `Reading` for the rule."""
    if layout.samples == 1:
        return layout.kind, ""
    kind = layout.kind
    if any(
        (one.mixed, one.colours, one.adobe) != (said[0].mixed, said[0].colours, said[0].adobe)
        for one in said
    ):
        raise FrameError("has compressed frames with colours of several kinds")
    first = said[0]
    if first.kind == 0:
        if (kind in MIXED) != first.mixed and kind != "RGB":
            raise FrameError(
                f"has colours of the kind {kind}, but its compressed frames say "
                f"{'YBR_RCT or YBR_ICT' if first.mixed else 'that they are not mixed'}"
            )
        return kind, ""
    if kind in MIXED:
        raise FrameError(f"has colours of the kind {kind}, which JPEG doesn't have")
    if first.colours is not None and (first.colours == "rgb") != (kind == "RGB"):
        if first.kind in (LOSSLESS, JPEG_LS):
            raise FrameError(
                f"has colours of the kind {kind}, but its compressed frames say "
                f"{'RGB' if first.colours == 'rgb' else 'YBR_FULL'}"
            )
        # What JPEG says of itself is what every decoder of JPEG goes by.
        kind = "RGB" if first.colours == "rgb" else "YBR_FULL"
    if not first.adobe:
        return kind, ""
    # Pillow's decoder undoes what Adobe's marker says, and pydicom would once more.
    if "gdcm" in decoder.available_plugins:
        return kind, "gdcm"
    return "RGB", ""


def _stored(dataset: Dataset, cells: Array, layout: Layout) -> Stored:
    """Take away the bits that belong to no value, and make colours RGB."""
    from pydicom.pixels.processing import convert_color_space

    if layout.frames == 1:
        cells = cells[None]
    if not cells.dtype.isnative:
        cells = cells.astype(cells.dtype.newbyteorder("="))
    if layout.kind in YBR:
        cells = convert_color_space(cells, "YBR_FULL", "RGB", per_frame=True)
    values = cells
    if layout.keyword == WHOLE and layout.allocated > 1 and layout.stored < layout.allocated:
        values = _within(dataset, cells, layout)
    return Stored(values=values, cells=cells, layout=layout)


def _within(dataset: Dataset, cells: Array, layout: Layout) -> Array:
    """The values alone, without overlays in other bits of their cells (PS3.5 8.1.1).

    Raises:
        FrameError: Other bits hold something that no overlay explains.
    """
    import numpy as np

    from medpipe.data.readers.dicom.padding import padded

    low = layout.high + 1 - layout.stored
    if cells.dtype.itemsize * 8 < layout.stored:
        return cells  # decoded into fewer bits than the header has
    plain = cells.view(f"u{cells.dtype.itemsize}")
    own = ((1 << layout.stored) - 1) << low
    overlays = _overlays(dataset)
    whole = (1 << 8 * cells.dtype.itemsize) - 1
    rest = plain & plain.dtype.type(whole & ~own & ~overlays)
    values = (plain & plain.dtype.type(own)) >> plain.dtype.type(low)
    odd = rest != 0
    if layout.signed:
        top = plain.dtype.type(1 << (layout.stored - 1))
        negative = (values & top) != 0
        values = ((values ^ top) - top).view(cells.dtype)
        above = (whole & ~((1 << (layout.high + 1)) - 1)) & ~overlays
        odd &= ~(negative & (rest == above))  # the sign, repeated
    if odd.any():
        fill = padded(dataset, cells, cells)
        if fill is None or (odd & ~fill).any():
            raise FrameError(
                f"has pixels with bits outside of its BitsStored ({layout.stored}) and HighBit "
                f"({layout.high}), in which it names no overlay"
            )
        values = np.where(odd, cells, values)
    return np.asarray(values)


def _overlays(dataset: Dataset) -> int:
    """The bits of pixels that hold overlays, which is retired."""
    bits = 0
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and (group, 0x3000) not in dataset and position.value:
            bits |= 1 << int(position.value)
    return bits
