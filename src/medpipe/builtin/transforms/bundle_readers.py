"""How a MONAI bundle reads the files of images as the step ``load_image`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.plugin import ImageFiles

COLOURS = dict.fromkeys(("P", "PA", "LA", "RGB", "RGBA"), "RGB")
GREY = ("L", "I;16")
"""Pillow's modes of 8 and 16 bits."""
# A mode that is not in a table is refused by its KeyError: it would be read as something else.
_CONVERTED = {
    1: f"image if image.mode in {GREY} else image.convert({COLOURS}[image.mode]).convert('L')",
    3: f"image.convert({ {**COLOURS, 'L': 'RGB'} }[image.mode])",
    "auto": f"image.convert({ {**COLOURS, 'LA': 'L', 'L': 'L', 'I;16': 'I;16'} }[image.mode])",
}
READERS = {"dicom": "PydicomReader", "nifti": "NibabelReader", "pictures": "PILReader"}
"""MONAI's reader of each format; it asks the last one first."""


def bundle_readers(files: ImageFiles, *, axes: str) -> Sequence[Mapping[str, Any]] | None:
    """MONAI's `LoadImaged` with its readers, and what swaps the axes where the height comes first.

    Returns:
        None where MONAI's readers can't read so: another format, or a window of DICOM.
    """
    reading = files.reading
    if not files.formats <= READERS.keys():
        return None
    if "dicom" in files.formats and reading.window != "none":
        return None
    readers: list[dict[str, Any]] = [
        {"_target_": name} for form, name in READERS.items() if form in files.formats
    ]
    if "pictures" in files.formats and reading.channels is not None:
        change = _CONVERTED[reading.channels]
        readers[-1]["converter"] = (
            f"$lambda given: (lambda image: {change})(PIL.ImageOps.exif_transpose(given))"
        )
    loaded = [{"_target_": "LoadImaged", "keys": "image", "reader": readers}]
    if axes == "hw":
        turned = "$lambda image: image.transpose(0, 1)"
        loaded.append({"_target_": "Lambdad", "keys": "image", "func": turned})
    return loaded
