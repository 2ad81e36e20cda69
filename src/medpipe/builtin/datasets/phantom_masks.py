"""Synthetic images with masks of two structures: the same everywhere, without a download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import ge

from medpipe.plugin import (
    Dataset,
    DatasetStep,
    DecodedImage,
    LabelImage,
    Sample,
    Segmentation,
    Task,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("organ", "lesion")


@attrs.frozen(kw_only=True)
class PhantomMasks(DatasetStep):
    """Synthetic images of an organ with a lesion in it, and their masks; nothing is read.

    An organ is an ellipse (in 3-D an ellipsoid) that is brighter than the noise around it, a lesion
    a ball within it, brighter still. One in eight organs has none. Each patient has two images, and
    is a group. Images are float32, masks uint8 with 1 for the organ and 2 for the lesion.

    Attributes:
        samples: How many images.
        size: Their sides in pixels or voxels.
        dims: 2 for images, 3 for volumes.
        seed: Another seed gives other images.
    """

    name: ClassVar[str] = "phantom_masks"
    augmentation: ClassVar[Sequence[str]] = ()

    samples: int = attrs.field(default=200, validator=ge(8))
    size: int = attrs.field(default=48, validator=ge(16))
    dims: Literal[2, 3] = 2
    seed: int = attrs.field(default=0, validator=ge(0))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Few images, and few volumes; nothing is written."""
        return [cls(samples=8, size=16), cls(samples=8, size=16, dims=3)]

    def build(self) -> Dataset:
        """Draw the images."""
        samples = []
        for number in range(self.samples):
            image, mask = self._drawn(number)
            samples.append(
                Sample(
                    id=f"phantom_masks/{number:05d}",
                    image=_decoded(image),
                    label=LabelImage(image=_decoded(mask)),
                    group=f"patient{number // 2:05d}",
                )
            )
        return Dataset(samples=samples, task=Task(kind=Segmentation(), names=NAMES))

    def _drawn(self, number: int) -> tuple[Array, Array]:
        import numpy as np

        generator = np.random.default_rng([self.seed, number])
        shape = (self.size,) * self.dims
        places = np.stack(np.meshgrid(*[np.linspace(-1, 1, self.size)] * self.dims, indexing="ij"))
        column = (self.dims,) + (1,) * self.dims

        def inside(centre: Array, radii: Array) -> Array:
            away = (places - centre.reshape(column)) / radii.reshape(column)
            within: Array = (away**2).sum(0) <= 1
            return within

        centre = generator.uniform(-0.25, 0.25, self.dims)
        radii = generator.uniform(0.4, 0.65, self.dims)
        organ = inside(centre, radii)
        lesion = np.zeros(shape, bool)
        if number % 8 != 7:
            shift = generator.uniform(-0.35, 0.35, self.dims) * radii
            small = np.full(self.dims, generator.uniform(0.15, 0.25))
            lesion = inside(centre + shift, small) & organ
        brightness = generator.uniform(0.8, 1.2)
        image = generator.normal(0, 0.15, shape) + brightness * organ + 0.8 * brightness * lesion
        mask = organ.astype(np.uint8) + lesion
        return image.astype(np.float32), mask.astype(np.uint8)


def _decoded(values: Array) -> DecodedImage:
    return DecodedImage(values=values)
