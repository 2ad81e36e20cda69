"""Palettes of DICOM files: from indices to colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

    Array = np.ndarray[Any, Any]

COLOURS = ("Red", "Green", "Blue")


def resolved_palette(dataset: Dataset, stored: Array) -> Array:
    """The colours of stored indices, by pydicom (PS3.3 C.7.6.3.1.5 and C.7.9).

    Args:
        dataset: The file.
        stored: The indices, of any shape.

    Returns:
        uint8 or uint16, with red, green and blue as one more last axis.

    Raises:
        ValueError: The tables are missing or contradict their descriptors.
    """
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
            raise ValueError(f"its palette has no table of {colour.lower()}, or two")
        if table is not None and len(table) not in _lengths(entries, bits):
            raise ValueError(
                f"its palette has {len(table)} bytes of {colour.lower()}, but says {entries} "
                f"entries of {bits} bits"
            )
    coloured: Array = apply_color_lut(stored, dataset)[..., :3]  # a fourth would be alpha
    return coloured


def _lengths(entries: int, bits: int) -> tuple[int, ...]:
    """The bytes that a table may have: colours of 8 bits are stored in one byte or in two."""
    return (2 * entries,) if bits == 16 else (entries + entries % 2, entries, 2 * entries)
