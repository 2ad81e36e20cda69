"""Transform steps that use the affine, and refuse images whose affine is unknown."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.plugin import DataError, TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REASONS = {
    "unknown": "its file doesn't say how large its pixels are",
    "detector": "its spacing is that of the detector, which is larger than that in the patient",
}


class NeedsSpacing(TransformStep):
    """Resamples to a spacing in millimetres, which must be known in the patient."""

    name: ClassVar[str]

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make the transform, which checks each image's metadata first."""
        return functools.partial(_with_spacing, made=super().build())


def _with_spacing(
    sample: dict[str, Any], *, made: Callable[[dict[str, Any]], Mapping[Any, Any]]
) -> Mapping[Any, Any]:
    meta = _meta(sample)
    reason = REASONS.get(meta.get("spacing_of", ""))
    if reason is not None:
        raise DataError(
            f"The step 'spacing' can't resample {_title(sample, meta)}: {reason}. Leave it out, "
            "use the step 'resize', or use the step 'spacing' only where all files say "
            "their spacing in the patient (DICOM's PixelSpacing)."
        )
    return made(sample)


def _meta(sample: dict[str, Any]) -> Mapping[str, Any]:
    """The image's metadata; empty where another step made the image."""
    found: Mapping[str, Any] = getattr(sample["image"], "meta", None) or {}
    return found


def _title(sample: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    return str(meta.get("filename_or_obj") or sample.get("id", "the image"))


GUARDED: dict[str, type[TransformStep]] = {"spacing": NeedsSpacing}
"""Steps that refuse images with an unknown affine, by name."""
