"""How a MONAI bundle reads the files of images as the step ``load_image`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.plugin import ImageFiles


def _by_mode(modes: Mapping[str, str]) -> str:
    return f"image.convert({modes}[image.mode]) if image.mode in {[*modes]} else None"


# Pillow's modes of 8 bits, and what they become. A mode that is not in a table gives None, which
# MONAI refuses; after an error it would try its other readers, which give something else.
_RGB = dict.fromkeys(("P", "PA", "LA", "RGB", "RGBA"), "RGB")
_GREY = ("L", "I;16")
_TO_GREY = f"image.convert({_RGB}[image.mode]).convert('L') if image.mode in {[*_RGB]} else None"
_CONVERTED = {
    1: f"image if image.mode in {_GREY} else {_TO_GREY}",
    3: _by_mode({**_RGB, "L": "RGB"}),
    "auto": _by_mode({**_RGB, "LA": "L", "L": "L", "I;16": "I;16"}),
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
            f"$lambda given: (lambda image: {change})(ImageOps.exif_transpose(given))"
        )
    loaded = [{"_target_": "LoadImaged", "keys": "image", "reader": readers}]
    if axes == "hw":
        turned = "$lambda image: image.transpose(0, 1)"
        loaded.append({"_target_": "Lambdad", "keys": "image", "func": turned})
    return loaded
