"""`PatchStep`: patches of the images that are trained on; `PatchSource`: what they are cut out of.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from medpipe.steps.kinds import TransformStep
from medpipe.steps.samples import has_image_label
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Region = tuple[slice[int, int, None], ...]

MOST = 4096
"""So many voxels of a structure are remembered, evenly from all of them."""


class PatchSource:
    """An image that patches are cut out of: its sides, and where its structures are.

    Args:
        sides: The image's sides.
        label: uint8 of shape (channels, spatial...), where the label is an image. With one channel
            it holds 0 for the background, 1 for the first structure and so on; with several, for
            structures that may overlap, 0 and 1. 255 counts nowhere.
    """

    def __init__(self, sides: Sequence[int], label: Array | None = None) -> None:
        self.sides = tuple(sides)
        self._label = label
        self._found: dict[int | None, Array] | None = None

    @property
    def structures(self) -> list[int]:
        """The structures that are in the image, by their number from 1."""
        return sorted(number for number in self._voxels if number is not None)

    def voxels(self, structure: int | None = None) -> Array:
        """Where a structure is: int64 of shape (voxels, axes), at most 4,096, evenly from all.

        Args:
            structure: Its number, from 1; None: any of them.
        """
        import numpy as np

        flat = self._voxels.get(structure, np.empty(0, np.int64))
        return np.stack(np.unravel_index(flat, self.sides), axis=-1)

    def forget_label(self) -> None:
        """Free the label; where its structures are is known from here on."""
        self._found = self._voxels
        self._label = None

    @property
    def size(self) -> int:
        """The bytes that its voxels take."""
        return sum(flat.nbytes for flat in self._voxels.values())

    @property
    def _voxels(self) -> dict[int | None, Array]:
        if self._found is None:
            self._found = {} if self._label is None else _positions(self._label)
        return self._found


def _positions(label: Array) -> dict[int | None, Array]:
    """The flat places of each structure, and of any."""
    import numpy as np

    found: dict[int | None, Array] = {}
    everywhere = []
    for channel, values in enumerate(label):
        flat = values.reshape(-1)
        places = np.flatnonzero(flat)
        kinds = flat[places]
        places, kinds = places[kinds != IGNORED], kinds[kinds != IGNORED]
        for kind in np.unique(kinds).tolist():
            found[channel + kind] = _evenly(places[kinds == kind])
        everywhere.append(places)
    anywhere = everywhere[0] if len(everywhere) == 1 else np.unique(np.concatenate(everywhere))
    if len(anywhere):
        found[None] = _evenly(anywhere)
    return found


def _evenly(places: Array) -> Array:
    import numpy as np

    if len(places) <= MOST:
        return places
    return places[np.linspace(0, len(places) - 1, MOST).astype(np.int64)]


class PatchStep(TransformStep):
    """Cuts patches out of the images that are trained on; a sampler says where.

    A subclass gives the centre of a patch. The library moves it so far that the patch lies inside
    of the image, reads no more of a cached volume than the patch, and takes `num_samples` patches
    of each sample in an epoch, each with a random state of its own, in an order of their own.
    Behind it all images have one size, so that the steps that follow can be batched. What is
    evaluated is not cut: see the inferer ``sliding_window``.

    Attributes:
        spatial_size: The sides of a patch.
        num_samples: How many patches of each sample an epoch has.
    """

    random: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    spatial_size: tuple[int, ...]
    num_samples: int

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        """Draw where the centre of a patch is, in voxels from 0, one number for each axis.

        Args:
            source: The image's sides, and where its structures are.
            rng: Seeded for the run, the epoch, the sample and the patch.
        """
        raise NotImplementedError(f"{type(self).__name__} has no centre method")

    def check_structures(self, count: int) -> None:
        """Raise a ValueError where parameters don't fit so many structures; by default they do."""

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the seed of the patch's own random state."""
        return {"seed": int(rng.integers(2**63))}

    def region(self, source: PatchSource, draw: Mapping[str, Any]) -> Region:
        """Where the patch is, as a slice for each axis.

        Raises:
            ValueError: The image is smaller than a patch, or has another number of axes; or the
                centre is no place.
        """
        import numpy as np

        size, sides = self.spatial_size, source.sides
        if len(size) != len(sides):
            raise ValueError(
                f"{self.name}.spatial_size has {len(size)} numbers, {list(size)}, and images have "
                f"{len(sides)} axes. Give one for each."
            )
        if any(side < patch for side, patch in zip(sides, size, strict=True)):
            raise ValueError(
                f"an image of {sides} is smaller than {self.name}.spatial_size = {list(size)}. "
                "Add the step 'spatial_pad' before it, with this spatial_size."
            )
        centre = _place(self.centre(source, np.random.default_rng(draw["seed"])), len(sides))
        starts = [
            min(max(round(at) - patch // 2, 0), side - patch)
            for at, patch, side in zip(centre, size, sides, strict=True)
        ]
        return tuple(slice(start, start + patch) for start, patch in zip(starts, size, strict=True))

    def apply(self, sample: dict[str, Any], draw: Mapping[str, Any]) -> Mapping[Any, Any]:
        """Cut a patch out of a sample that is in memory."""
        import numpy as np

        keys = ["image", "label"] if has_image_label(sample) else ["image"]
        label = np.asarray(sample["label"]) if len(keys) > 1 else None
        where = self.region(PatchSource(sample["image"].shape[1:], label), draw)
        return {**sample, **{key: sample[key][(slice(None), *where)] for key in keys}}


def patches_of(steps: Iterable[TransformStep]) -> int:
    """How many patches of each training sample an epoch has; 1 where none are cut."""
    return next((step.num_samples for step in steps if isinstance(step, PatchStep)), 1)


def _place(centre: Any, axes: int) -> list[float]:
    """What a sampler drew, as a number for each axis."""
    import numpy as np

    try:
        place = np.asarray(centre)
        good = place.shape == (axes,) and place.dtype.kind in "iuf" and np.isfinite(place).all()
    except (TypeError, ValueError):  # a ragged list, a tensor of a GPU
        good = False
    if not good:
        raise ValueError(
            f"its centre gave {centre!r}. Return {axes} finite numbers, a voxel for each axis"
        )
    return [float(at) for at in place]


def problem_of(step: PatchStep) -> str:
    """What is wrong with a patch step's parameters, as the end of a sentence; empty: nothing."""
    if type(step).centre is PatchStep.centre:
        return "has no centre method. Give it one that draws the middle of a patch"
    size = getattr(step, "spatial_size", None)
    if not isinstance(size, tuple) or not size or not all(_counts(side) for side in size):
        return f"has spatial_size = {size!r}. Make it a tuple with a side from 1 for each axis"
    if not hasattr(step, "num_samples"):
        return "has no num_samples. Add the field, for example num_samples: int = 1"
    if not _counts(step.num_samples):
        return f"has num_samples = {step.num_samples!r}. Give a whole number from 1"
    return ""


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
