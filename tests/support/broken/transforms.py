"""Transforms that each fail one check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DrawnStep, PatchSource, PatchStep, TransformStep

if TYPE_CHECKING:
    import numpy as np
    import torch

Sample = dict[str, Any]


@attrs.frozen(kw_only=True)
class Changed(TransformStep):
    """What the others extend: doubles values."""

    name: ClassVar[str] = "changed"

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        return self.changed

    def changed(self, sample: Sample) -> Sample:
        return {**sample, "image": sample["image"] * 2}


@attrs.frozen(kw_only=True)
class OtherKey(Changed):
    """Takes MONAI's usual key."""

    def changed(self, sample: Sample) -> Sample:
        return {**sample, "img": sample["img"] * 2}


@attrs.frozen(kw_only=True)
class LosesAnAxis(DrawnStep):
    """Takes the axis of a single channel away.

    Attributes:
        prob: Probability that a sample is changed.
    """

    name: ClassVar[str] = "loses_an_axis"
    prob: float = 0.5

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        return {"factor": float(rng.uniform(0.5, 2))}

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        import torch

        factors = torch.tensor([draw["factor"] for draw in draws])
        return (images * factors.reshape(-1, *(1,) * (images.ndim - 1))).squeeze(1)


@attrs.frozen(kw_only=True)
class ImagesWithoutWords(Changed):
    """Is for images alone, and does not say so."""

    def changed(self, sample: Sample) -> Sample:
        if sample["image"].ndim != 3:
            raise AssertionError
        return Changed.changed(self, sample)


@attrs.frozen(kw_only=True)
class VolumesWithoutWords(Changed):
    """Is for volumes alone, and does not say so."""

    def changed(self, sample: Sample) -> Sample:
        if sample["image"].ndim != 4:
            raise NotImplementedError
        return Changed.changed(self, sample)


@attrs.frozen(kw_only=True)
class LosesColumns(Changed):
    """Gives image, label and id alone."""

    def changed(self, sample: Sample) -> Sample:
        kept = {key: sample[key] for key in ("label", "id", "reading")}
        return {**kept, "image": sample["image"] * 2}


@attrs.frozen(kw_only=True)
class LosesColumnsOfVolumes(Changed):
    """Gives image, label and id alone, in 3-D."""

    def changed(self, sample: Sample) -> Sample:
        if sample["image"].ndim == 3:
            return Changed.changed(self, sample)
        return LosesColumns.changed(self, sample)  # type: ignore[arg-type]  # the same function


@attrs.frozen(kw_only=True)
class Divides(Changed):
    """Divides by the standard deviation."""

    def changed(self, sample: Sample) -> Sample:
        image = sample["image"]
        return {**sample, "image": (image - image.mean()) / image.std()}


@attrs.frozen(kw_only=True)
class DrawsOnce(Changed):
    """Draws a factor when it is built."""

    random: ClassVar[bool] = True

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        import numpy as np

        factor = float(np.random.default_rng(0).uniform(0.5, 2))
        return lambda sample: {**sample, "image": sample["image"] * factor}


@attrs.frozen(kw_only=True)
class DrawsByTheId(Changed):
    """Draws a factor of each sample's own."""

    random: ClassVar[bool] = True

    def changed(self, sample: Sample) -> Sample:
        import random

        return {**sample, "image": sample["image"] * random.Random(sample["id"]).uniform(0.5, 2)}


@attrs.frozen(kw_only=True)
class DrawsFromTheSystem(Changed):
    """Draws from a generator that nobody seeds."""

    random: ClassVar[bool] = True

    def changed(self, sample: Sample) -> Sample:
        import numpy as np

        return {**sample, "image": sample["image"] * float(np.random.default_rng().uniform(0.5, 2))}


@attrs.frozen(kw_only=True)
class SaysNothingOfRandomness(Changed):
    """Draws, and is not random."""

    def changed(self, sample: Sample) -> Sample:
        return DrawsFromTheSystem.changed(self, sample)  # type: ignore[arg-type]  # the same


@attrs.frozen(kw_only=True)
class RemembersTheFirst(Changed):
    """Divides by the mean of the first image that it sees."""

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        seen: list[float] = []

        def apply(sample: Sample) -> Sample:
            seen.append(float(sample["image"].mean()))
            return {**sample, "image": sample["image"] - seen[0]}

        return apply


@attrs.frozen(kw_only=True)
class OtherBatches(Changed):
    """Does something else in a batch."""

    def apply_batch(self, batch: Sample, draws: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {**batch, "image": batch["image"] * 2.001}


@attrs.frozen(kw_only=True)
class OtherBatchesOfVolumes(Changed):
    """Does something else in a batch, in 3-D."""

    def apply_batch(self, batch: Sample, draws: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {**batch, "image": batch["image"] * (2 if batch["image"].ndim == 4 else 3)}


@attrs.frozen(kw_only=True)
class OverflowsIntegers(Changed):
    """Doubles integers as they come."""

    accepts_integer_images: ClassVar[bool] = True

    def apply_batch(self, batch: Sample, draws: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {**batch, "image": batch["image"] * 2}


@attrs.frozen(kw_only=True)
class SmoothsMasks(Changed):
    """Makes image and label smaller, both by interpolation."""

    spatial: ClassVar[bool] = True

    def changed(self, sample: Sample) -> Sample:
        return {key: _smaller(value) if _shaped(value) else value for key, value in sample.items()}

    def build_with_label(self) -> Callable[[Sample], Mapping[str, Any]]:
        return self.changed


@attrs.frozen(kw_only=True)
class LeavesMasks(Changed):
    """Flips the image alone."""

    spatial: ClassVar[bool] = True

    def changed(self, sample: Sample) -> Sample:
        return {**sample, "image": sample["image"].flip(1)}


@attrs.frozen(kw_only=True)
class MovesSilently(Changed):
    """Flips, and does not say that it moves pixels."""

    def changed(self, sample: Sample) -> Sample:
        return {**sample, "image": sample["image"].flip(1)}


@attrs.frozen(kw_only=True)
class OtherGraph(Changed):
    """Does something else in a graph."""

    def graph_form(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: images * 3


def _shaped(value: Any) -> bool:
    return hasattr(value, "shape")


def _smaller(image: Any) -> Any:
    from torch.nn.functional import interpolate

    mode = "bilinear" if image.ndim == 3 else "trilinear"
    return interpolate(image[None].float(), scale_factor=0.7, mode=mode)[0]


@attrs.frozen(kw_only=True)
class Shifts(TransformStep):
    """Adds a random number, to samples and to batches.

    Attributes:
        prob: How often.
    """

    name: ClassVar[str] = "shifts"
    random: ClassVar[bool] = True
    accepts_integer_images: ClassVar[bool] = True
    prob: float = 0.1

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        return {"by": float(rng.normal()) if rng.random() < self.prob else 0.0}

    def apply(self, sample: Sample, draw: Mapping[str, Any]) -> Mapping[Any, Any]:
        return {**sample, "image": sample["image"] + draw["by"]}

    def apply_batch(self, batch: Sample, draws: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        images = batch["image"].float()
        by = images.new_tensor([draw["by"] for draw in draws])
        return {**batch, "image": images + by.reshape(-1, *[1] * (images.ndim - 1))}


@attrs.frozen(kw_only=True)
class Flips(TransformStep):
    """Flips image and mask, by Python's own random numbers."""

    name: ClassVar[str] = "flips"
    random: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        import random

        def apply(sample: Sample) -> Sample:
            if random.random() < 0.5:
                return sample
            keys = [key for key in ("image", "label") if _shaped(sample[key])]
            return {**sample, **{key: sample[key].flip(-1) for key in keys}}

        return apply


@attrs.frozen(kw_only=True)
class CropsVolumes(TransformStep):
    """Cuts the middle out of a volume.

    Attributes:
        side: Of what is left.
    """

    name: ClassVar[str] = "crops_volumes"
    spatial: ClassVar[bool] = True
    side: int = 20

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        def cut(sample: Sample) -> Sample:
            if sample["image"].ndim != 4:
                raise ValueError("crops_volumes takes volumes: use center_spatial_crop for images")
            keys = [key for key in ("image", "label") if _shaped(sample[key])]
            starts = [(side - self.side) // 2 for side in sample["image"].shape[1:]]
            place = (slice(None), *(slice(start, start + self.side) for start in starts))
            return {**sample, **{key: sample[key][place] for key in keys}}

        return cut


@attrs.frozen(kw_only=True)
class Projects(Changed):
    """Gives the largest values of a volume along its last axis."""

    spatial: ClassVar[bool] = True

    def changed(self, sample: Sample) -> Sample:
        if sample["image"].ndim != 4:
            raise ValueError("it takes volumes")
        keys = [key for key in ("image", "label") if _shaped(sample[key])]
        return {**sample, **{key: sample[key].amax(dim=-1) for key in keys}}


@attrs.frozen(kw_only=True)
class Loads(Changed):
    """Reads files by MONAI's own reader."""

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        from monai.transforms import LoadImaged

        return LoadImaged(keys="image", ensure_channel_first=True)  # type: ignore[return-value]


@attrs.frozen(kw_only=True)
class Edges(Changed):
    """Gives the edges of an image, as an array."""

    def changed(self, sample: Sample) -> Sample:
        import numpy as np

        image = np.asarray(sample["image"])
        edges = sum(abs(np.gradient(image, axis=axis)) for axis in range(1, image.ndim))
        return {**sample, "image": edges}


@attrs.frozen(kw_only=True)
class Fourier(Changed):
    """Gives the magnitudes of the Fourier transform, in which no place is one of the image."""

    def changed(self, sample: Sample) -> Sample:
        import torch

        image = torch.as_tensor(sample["image"])
        return {**sample, "image": torch.fft.fftn(image, dim=tuple(range(1, image.ndim))).abs()}


@attrs.frozen(kw_only=True)
class Seldom(Changed):
    """Adds noise to few samples, from NumPy's global generator.

    Attributes:
        share: Of the samples.
    """

    random: ClassVar[bool] = True
    share: float = 0.1

    def changed(self, sample: Sample) -> Sample:
        import numpy as np

        noise = np.random.normal(size=sample["image"].shape) * (np.random.rand() < self.share)
        return {**sample, "image": sample["image"] + noise}


@attrs.frozen(kw_only=True)
class Corner(PatchStep):
    """Cuts patches out of the corner.

    Attributes:
        spatial_size: The sides.
        num_samples: How many.
    """

    name: ClassVar[str] = "corner"
    spatial_size: tuple[int, ...] = (16, 16)
    num_samples: int = 2

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        return [float(rng.integers(16)) for _ in source.sides]


BROKEN: dict[str, list[Any]] = {
    "takes_samples": [OtherKey(), LosesAnAxis()],
    "takes_images": [VolumesWithoutWords()],
    "takes_volumes": [ImagesWithoutWords()],
    "keeps_what_else_a_sample_has": [LosesColumns(), LosesColumnsOfVolumes()],
    "gives_finite_values": [Divides()],
    "differs_between_samples": [DrawsOnce()],
    "differs_between_epochs": [DrawsByTheId()],
    "repeats_for_a_seed": [DrawsFromTheSystem()],
    "is_random_only_if_it_says_so": [SaysNothingOfRandomness()],
    "depends_on_no_other_sample": [RemembersTheFirst()],
    "changes_batches_as_samples": [OtherBatches(), OtherBatchesOfVolumes()],
    "changes_integers_as_floats": [OverflowsIntegers()],
    "keeps_labels_in_their_set": [SmoothsMasks()],
    "moves_masks_with_images": [LeavesMasks()],
    "moves_pixels_only_if_it_says_so": [MovesSilently()],
    "has_an_equal_graph_form": [OtherGraph()],
}
"""For each check steps that fail it alone."""
SOUND = [
    Changed(),
    Shifts(),
    Flips(),
    CropsVolumes(),
    Projects(),
    Corner(),
    Loads(),
    Edges(),
    Fourier(),
    Seldom(),
]
"""Steps that fail none."""
