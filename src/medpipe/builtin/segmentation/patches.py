"""Patch samplers: anywhere, around a structure or beside it, by class; after MONAI's crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import and_, deep_iterable, ge, min_len

from medpipe.plugin import PatchStep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    import numpy as np

    from medpipe.plugin import PatchSource

_SIDES: Any = and_(min_len(1), deep_iterable(ge(1)))


def _anywhere(source: PatchSource, size: Sequence[int], rng: np.random.Generator) -> list[float]:
    """The centre of a patch, each place being as likely."""
    return [
        int(rng.integers(max(1, side - patch + 1))) + patch // 2
        for side, patch in zip(source.sides, size, strict=False)
    ]


def _one_of(voxels: np.ndarray[Any, Any], rng: np.random.Generator) -> list[float]:
    chosen: list[float] = voxels[int(rng.integers(len(voxels)))].tolist()
    return chosen


@attrs.frozen(kw_only=True)
class _Sampler(PatchStep):
    """What the samplers have in common.

    Attributes:
        spatial_size: The sides of a patch.
        num_samples: How many patches of each image an epoch has.
    """

    spatial_size: tuple[int, ...] = attrs.field(validator=_SIDES)
    num_samples: int = attrs.field(default=1, validator=ge(1))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Two patches of an image, and of a volume."""
        return [cls(spatial_size=(16,) * dims, num_samples=2) for dims in (2, 3)]


@attrs.frozen(kw_only=True)
class RandSpatialCropSamples(_Sampler):
    """Patches anywhere in the image: MONAI's `RandSpatialCropSamplesd`."""

    name: ClassVar[str] = "rand_spatial_crop_samples"

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        """Draw each place with the same probability."""
        return _anywhere(source, self.spatial_size, rng)


def _weights(step: Any, field: attrs.Attribute[Any], value: float) -> None:
    if value < 0 or not step.pos + step.neg > 0:
        raise ValueError(f"'{field.name}' must be at least 0, and one of pos and neg above it.")


@attrs.frozen(kw_only=True)
class RandCropByPosNegLabel(_Sampler):
    """Patches around the structures, or anywhere: MONAI's `RandCropByPosNegLabeld`.

    Where MONAI's has a voxel of the background in the middle of the others, these are anywhere.

    Attributes:
        pos: With the probability ``pos / (pos + neg)`` a voxel of a structure is in the middle, as
            far as the patch lies inside of the image; each voxel of any structure is as likely.
        neg: The weight of patches anywhere, and of those of images without a structure.
    """

    name: ClassVar[str] = "rand_crop_by_pos_neg_label"

    pos: float = attrs.field(default=1.0, validator=ge(0))
    neg: float = attrs.field(default=1.0, validator=_weights)

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        """Draw a voxel of a structure, or a place anywhere."""
        around = rng.random() * (self.pos + self.neg) < self.pos
        if around and len(voxels := source.voxels()):
            return _one_of(voxels, rng)
        return _anywhere(source, self.spatial_size, rng)


def _ratios(_: object, field: attrs.Attribute[Any], value: tuple[float, ...] | None) -> None:
    if value is not None and (min(value, default=-1) < 0 or not sum(value) > 0):
        raise ValueError(f"'{field.name}' must be numbers from 0, and one of them above it.")


@attrs.frozen(kw_only=True)
class RandCropByLabelClasses(_Sampler):
    """Patches around a class, so that small structures are seen often: MONAI's step of this name.

    A class is drawn by its ratio among those that are in the image, then one of its voxels for the
    middle of the patch. MONAI's is `RandCropByLabelClassesd`.

    Attributes:
        ratios: For the background, whose patches are anywhere, and for each structure, how often
            it is drawn; None: all as often.
    """

    name: ClassVar[str] = "rand_crop_by_label_classes"

    ratios: tuple[float, ...] | None = attrs.field(default=None, validator=_ratios)

    def check_structures(self, count: int) -> None:
        """Refuse ratios that are not one for the background and one for each structure."""
        if self.ratios is not None and len(self.ratios) != count + 1:
            raise ValueError(
                f"'ratios' has {len(self.ratios)} numbers, and {count + 1} are needed: one for the "
                f"background, then one for each of the {count} structures"
            )

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        """Draw a class, then a voxel of it."""
        import numpy as np

        found = [0, *source.structures]
        ratios = self.ratios or (1.0,) * (found[-1] + 1)
        if found[-1] >= len(ratios):  # nobody asked `check_structures` before
            self.check_structures(found[-1])
        weights = np.array([ratios[number] for number in found])
        if not weights.sum():
            return _anywhere(source, self.spatial_size, rng)
        place = int(np.searchsorted(weights.cumsum() / weights.sum(), rng.random(), side="right"))
        number = found[min(place, len(found) - 1)]
        if number:
            return _one_of(source.voxels(number), rng)
        return _anywhere(source, self.spatial_size, rng)


PATCHES = (RandSpatialCropSamples, RandCropByPosNegLabel, RandCropByLabelClasses)
