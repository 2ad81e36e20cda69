"""The sample layout that the tags of a TIFF page describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.data.readers.tiff.data import (
    KNOWN,
    OLD_JPEG,
    broken,
)
from medpipe.data.readers.tiff.tags import (
    BLACK_IS_ZERO,
    CMYK,
    COMPLEX,
    COMPLEX_INTEGER,
    FLOAT,
    LAB,
    PALETTE,
    RGB,
    SIGNED,
    SUPPORT,
    UNSIGNED,
    VOID,
    WHITE_IS_ZERO,
    YCBCR,
    Page,
)
from medpipe.data.readers.unreadable import UnreadableImageError

if TYPE_CHECKING:
    import os


COUNTS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
"""The samples that a photometric interpretation takes; more are extra ones."""


WHOLE = (8, 16, 32, 64)
"""The depths that NumPy has a type of."""


FORMATS = {
    COMPLEX_INTEGER: "complex whole numbers",
    COMPLEX: "complex numbers",
}


DEPTHS = {
    UNSIGNED: frozenset({*range(1, 17), 32, 64}),
    SIGNED: frozenset({8, 16, 32, 64}),
    FLOAT: frozenset({16, 32, 64}),
}


@attrs.frozen(kw_only=True)
class Layout:
    """What the tags of a page say, checked for contradictions."""

    width: int
    height: int
    samples: int
    bits: int
    form: int
    photometric: int
    planar: bool
    order: str


def layout_of(page: Page, path: str | os.PathLike[str]) -> Layout:
    """How the samples of a page lie.

    Raises:
        UnreadableImageError: Its tags lack something or contradict each other.
    """
    for name in ("ImageWidth", "ImageLength"):
        if page.number(name) is None:
            raise broken(path, f"it has no tag {name}")
    for name in ("Compression", "PhotometricInterpretation"):
        # Some writers leave them out. But where the tags are out of order too, or say what only a
        # palette has, it is their codes that are damaged.
        if name not in page.tags and (not page.ascending or "ColorMap" in page.tags):
            raise broken(path, f"it has no tag {name}, and its tags don't fit together")
    width, height = page.tags["ImageWidth"], page.tags["ImageLength"]
    compression = page.number("Compression")
    samples = page.number("SamplesPerPixel") or 0
    if compression == OLD_JPEG:
        samples = page.tags.get("SamplesPerPixel", len(page.numbers("BitsPerSample")))
    if width < 1 or height < 1 or samples < 1:
        raise broken(path, f"it says {width} x {height} pixels of {samples} samples")
    bits = _same(page, "BitsPerSample", 1, samples, path)
    form = _same(page, "SampleFormat", UNSIGNED, samples, path)
    form = UNSIGNED if form == VOID else form  # as if it were not said, by the standard
    if form not in DEPTHS or bits not in DEPTHS[form]:
        what = FORMATS.get(form, f"SampleFormat {form}")
        raise UnreadableImageError(
            path, f"has samples of {bits} bits ({what}), which aren't decoded", SUPPORT
        )
    planar = page.number("PlanarConfiguration")
    # Without a word about it, more is brighter, and three samples are colours.
    photometric = page.tags.get("PhotometricInterpretation", RGB if samples == 3 else BLACK_IS_ZERO)
    if planar not in (1, 2) or page.number("FillOrder") not in (1, 2):
        told = f"PlanarConfiguration {planar}, FillOrder {page.number('FillOrder')}"
        raise broken(path, f"it says {told}")
    if photometric not in COUNTS:
        raise UnreadableImageError(
            path,
            f"has colours of the kind PhotometricInterpretation {photometric}, which aren't "
            "decoded",
            SUPPORT,
        )
    if compression not in KNOWN:
        raise UnreadableImageError(
            path,
            f"is compressed in a way (Compression {compression}) that isn't decoded",
            SUPPORT,
        )
    extra = page.numbers("ExtraSamples")
    if samples < COUNTS[photometric] + len(extra):
        reason = (
            f"it says {samples} samples for PhotometricInterpretation {photometric} with "
            f"{len(extra)} ExtraSamples"
        )
        raise broken(path, reason)
    return Layout(
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        form=form,
        photometric=photometric,
        planar=planar == 2 and samples > 1,
        order=page.order,
    )


def _same(page: Page, name: str, missing: int, samples: int, path: str | os.PathLike[str]) -> int:
    """The one value that a tag gives for all samples."""
    values = page.numbers(name) or (missing,)
    if len(set(values)) > 1:
        told = ", ".join(str(value) for value in values)
        raise UnreadableImageError(
            path, f"has samples that differ ({name} {told}), which aren't decoded", SUPPORT
        )
    if len(values) not in (1, samples) and len(values) < samples:
        raise broken(path, f"its tag {name} has {len(values)} values for {samples} samples")
    return int(values[0])


def check_colours(page: Page, kind: int, path: str | os.PathLike[str]) -> None:
    """Refuse inks and primaries that Pillow's formulas are not for."""
    usual = {
        "YCbCrCoefficients": (0.299, 0.587, 0.114),
        "ReferenceBlackWhite": (0, 255, 128, 255, 128, 255),
    }
    if kind == CMYK and page.number("InkSet") != 1:
        raise UnreadableImageError(path, "has inks other than CMYK (InkSet), which aren't decoded")
    for name, expected in usual.items():
        found = page.numbers(name)
        far = any(abs(a - b) > 1e-3 for a, b in zip(found, expected, strict=False))
        if kind == YCBCR and found and (far or len(found) != len(expected)):
            raise UnreadableImageError(path, f"has colours by a {name} of its own", SUPPORT)
