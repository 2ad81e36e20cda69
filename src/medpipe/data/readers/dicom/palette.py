"""Palettes of DICOM files: from indices to colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, Any]

COLOURS = ("Red", "Green", "Blue")


def resolved_palette(dataset: Dataset, stored: Array) -> Array:
    """The colours of stored indices (PS3.3 C.7.6.3.1.5 and C.7.9).

    Args:
        dataset: The file.
        stored: The indices, of any shape.

    Returns:
        uint8 or uint16, with red, green and blue as one more last axis.

    Raises:
        ValueError: The tables are missing or contradict their descriptors.
    """
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut

    descriptors = [dataset.get(f"{colour}PaletteColorLookupTableDescriptor") for colour in COLOURS]
    known = [d for d in descriptors if d is not None and not isinstance(d, int) and len(d) == 3]
    if len(known) < len(COLOURS):
        raise ValueError("its palette has no descriptors of three numbers")
    if any([*one] != [*known[0]] for one in known):
        raise ValueError("its palette has descriptors that differ between red, green and blue")
    entries, bits = int(known[0][0]) or 1 << 16, int(known[0][2])
    if bits not in (8, 16):
        raise ValueError(f"its palette has colours of {bits} bits, not 8 or 16")
    for colour in COLOURS:
        table = dataset.get(f"{colour}PaletteColorLookupTableData")
        segments = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
        if (table is None) == (segments is None):
            raise ValueError(f"its palette does not have exactly one table of {colour.lower()}")
        if table is not None and len(table) not in _lengths(entries, bits):
            raise ValueError(
                f"its palette has {len(table)} bytes of {colour.lower()}, but says {entries} "
                f"entries of {bits} bits"
            )
    if dataset.get("RedPaletteColorLookupTableData") is None:
        coloured: Array = apply_color_lut(stored, dataset)[..., :3]  # a fourth would be alpha
        return coloured
    place = np.clip(stored.astype(np.int64) - int(known[0][1]), 0, entries - 1)
    parts = [
        _table(dataset, f"{colour}PaletteColorLookupTableData", entries, bits)[place]
        for colour in COLOURS
    ]
    return np.stack(parts, axis=-1)


def _table(dataset: Dataset, keyword: str, entries: int, bits: int) -> Array:
    """One table, of uint8 or uint16.

    Raises:
        ValueError: Its entries have more bits than it says.
    """
    import numpy as np

    content = dataset[keyword].value
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    if len(content) == 2 * entries:
        table = np.frombuffer(content, f"{order}u2")
        if bits == 8 and table.max() > 255:
            raise ValueError(f"its palette has entries of more than {bits} bits")
        return table.astype(np.uint8 if bits == 8 else np.uint16)
    if order == ">" and dataset[keyword].VR == "OW":  # two entries in a word, the first low
        content = np.frombuffer(content, ">u2").astype("<u2").tobytes()
    return np.frombuffer(content, np.uint8)[:entries]


def _lengths(entries: int, bits: int) -> tuple[int, ...]:
    """The bytes that a table may have: colours of 8 bits are stored in one byte or in two."""
    return (2 * entries,) if bits == 16 else (entries + entries % 2, 2 * entries)
