"""`ResampledStep`: steps that move pixels, of which neighbours in a chain are one resampling.

torch and NumPy are imported inside functions.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.steps.drawn import DrawnStep, in_groups
from medpipe.steps.spatial_map import SpatialMap, fitting, resampled

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import numpy as np
    import torch

    from medpipe.steps.kinds import TransformStep


class ResampledStep(DrawnStep):
    """A random step that resamples images and labels: it says where their voxels come from.

    Of steps of this kind that follow each other in a chain, the library makes one resampling.

    Attributes:
        reorders: Whether voxels are only reordered, so that values are exact: such steps alone are
            applied one after the other.
    """

    spatial: ClassVar[bool] = True
    reorders: ClassVar[bool] = False

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Say where the voxels of some images come from.

        Args:
            draws: What was drawn for each image; where it is empty, the image stays.
            sides: The images' sides.

        Returns:
            None where a map can't say it: then the step is applied by itself.
        """
        raise NotImplementedError(f"{type(self).__name__} has no spatial_map method")

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the images."""
        return resampled(images, self._map(draws, images.shape[2:]))

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the labels by nearest neighbour, and swap what `swapped` swaps."""
        found = resampled(labels, self._map(draws, labels.shape[2:]), mode="nearest")
        return self.swapped(found, draws)

    def swapped(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Swap structures whose sides a flip swaps; by default none.

        It changes each voxel by its own value alone, so that several steps may be one resampling.

        Args:
            labels: After they were moved, of shape (batch, 1 or names, spatial...).
            draws: What was drawn for each.
        """
        return labels

    def _map(self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]) -> SpatialMap:
        found = self.spatial_map(draws, sides)
        if found is None:
            raise ValueError(
                f"the spatial_map of {self.name!r} gave None. Return a SpatialMap, or give the "
                "step methods changed and moved of its own"
            )
        return fitting(found, len(draws), len(sides), self.name)


@attrs.frozen(kw_only=True)
class FusedStep(ResampledStep):
    """Several steps that move pixels as one resampling.

    Attributes:
        steps: The steps, in order.
    """

    name: ClassVar[str] = "fused"

    steps: tuple[ResampledStep, ...]
    prob: float = 1.0

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the values of each step; empty where none changes the sample."""
        drawn = [step.draw(rng) for step in self.steps]
        return {"steps": drawn} if any(drawn) else {}

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """Whether a sample is changed; all are where the last step gives another size."""
        if draw:
            return True
        last = self.steps[-1].group({}, sides)
        return None if last is None else "resized"

    def spatial_map(
        self, draws: Sequence[Mapping[str, Any]], sides: Sequence[int]
    ) -> SpatialMap | None:
        """Compose the maps of the steps."""
        whole: SpatialMap | None = None
        for place, step in enumerate(self.steps):
            found = step.spatial_map(_draws_of(place, draws), sides)
            if found is None:
                return None
            fitting(found, len(draws), len(sides), step.name)
            whole = found if whole is None else found.after(whole)
            if whole is None:
                return None
        return whole

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the images once, or step by step where that can't be."""
        found = self._one_map(images, draws)
        return resampled(images, found) if found else self._one_by_one(images, draws, "changed")

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Resample the labels once, by nearest neighbour, then swap as each step does."""
        found = self._one_map(labels, draws)
        if found is None:
            return self._one_by_one(labels, draws, "moved")
        return self.swapped(resampled(labels, found, mode="nearest"), draws)

    def swapped(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Swap what each step swaps, in their order."""
        for place, step in enumerate(self.steps):
            labels = step.swapped(labels, _draws_of(place, draws))
        return labels

    def _one_map(
        self, values: torch.Tensor, draws: Sequence[Mapping[str, Any]]
    ) -> SpatialMap | None:
        """The map to resample by; None where the steps are applied one by one."""
        found = self.spatial_map(draws, values.shape[2:])
        return None if found is None or found.mode is None else found

    def _one_by_one(
        self, values: torch.Tensor, draws: Sequence[Mapping[str, Any]], method: str
    ) -> torch.Tensor:
        for place, step in enumerate(self.steps):
            some = _draws_of(place, draws)
            groups = [step.group(draw, values.shape[2:]) for draw in some]
            change = partial(_changed, getattr(step, method), some)
            values = in_groups(values, groups, change, step=step.name)
        return values


def _draws_of(place: int, draws: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was drawn for one of several steps."""
    return [draw["steps"][place] if draw else {} for draw in draws]


def _changed(
    change: Callable[[torch.Tensor, Sequence[Mapping[str, Any]]], torch.Tensor],
    draws: Sequence[Mapping[str, Any]],
    values: torch.Tensor,
    places: Sequence[int],
) -> torch.Tensor:
    return change(values, [draws[place] for place in places])


def fused(steps: Sequence[tuple[str, TransformStep]]) -> Iterator[tuple[str, TransformStep]]:
    """The steps of a chain and their titles, with neighbours that resample as one."""
    for resamples, some in groupby(steps, key=lambda pair: _resamples(pair[1])):
        group = list(some)
        if not resamples or len(group) == 1 or _all_reorder(group):
            yield from group
        else:
            title = " and ".join(title.removesuffix(",") for title, _ in group)
            together = tuple(step for _, step in group if isinstance(step, ResampledStep))
            yield f"{title},", FusedStep(steps=together)


def _resamples(step: TransformStep) -> bool:
    return isinstance(step, ResampledStep) and step.batched


def _all_reorder(group: Sequence[tuple[str, TransformStep]]) -> bool:
    return all(isinstance(step, ResampledStep) and step.reorders for _, step in group)
