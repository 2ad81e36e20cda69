"""`DrawnStep`: random steps that draw a sample's values first, then apply them to whole batches.

torch, MONAI and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.errors import DataError
from medpipe.steps.kinds import TransformStep
from medpipe.steps.samples import has_image_label

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import numpy as np
    import torch


class DrawnStep(TransformStep):
    """A random step that draws a sample's values before it applies them, to a batch at a time.

    The values depend on the sample's own generator alone, so that a sample gets the same in any
    batch. Subclasses implement the drawing (`values`) and the transform (`changed`).

    Attributes:
        gives_float: Whether the images become float32.
        prob: Probability that a sample is changed, from 0 to 1: a parameter that each subclass
            declares, with its default.
    """

    random: ClassVar[bool] = True
    gives_float: ClassVar[bool] = True
    prob: float

    def __attrs_post_init__(self) -> None:
        """Check `prob`.

        Raises:
            ValueError: It is not from 0 to 1.
        """
        if not 0 <= self.prob <= 1:
            raise ValueError(f"'prob' must be from 0 to 1: {self.prob!r}")

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw the values of a sample that is to be changed; not empty."""
        raise NotImplementedError(f"{type(self).__name__} has no values method")

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Change images of one group, of shape (group, channels, spatial...), but not in place."""
        raise NotImplementedError(f"{type(self).__name__} has no changed method")

    def moved(self, labels: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """As `changed`, for labels of the images of a `spatial` step: by nearest neighbour.

        By default what the step does with ``mode = "nearest"``.
        """
        step: Any = self
        return attrs.evolve(step, mode="nearest").changed(labels, draws)  # type: ignore[no-any-return]

    def group(self, draw: Mapping[str, Any], sides: Sequence[int]) -> Hashable:
        """The key of samples that can be changed together; None: the sample is left unchanged.

        Args:
            draw: What was drawn for a sample.
            sides: The sides of its image.
        """
        return True if draw else None

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw a sample's values; empty with probability 1 - `prob`."""
        return self.values(rng) if rng.random() < self.prob else {}

    def apply(self, sample: dict[str, Any], draw: Mapping[str, Any]) -> Mapping[Any, Any]:
        """Change one sample, as a batch of one.

        A `MetaTensor` keeps its type and its metadata; the transform is not recorded in them.
        """
        import torch
        from monai.data import MetaTensor

        keys = ["image", "label"] if self.spatial and has_image_label(sample) else ["image"]
        given = {key: torch.as_tensor(sample[key]) for key in keys}
        alone = {key: values.as_subclass(torch.Tensor)[None] for key, values in given.items()}
        made = self.apply_batch(alone, [draw])
        changed = dict(sample)
        for key, values in given.items():
            changed[key] = made[key][0]
            if isinstance(values, MetaTensor):
                changed[key] = changed[key].as_subclass(MetaTensor)
                changed[key].copy_meta_from(values)
        return changed

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Change the images of a batch by the values that were drawn."""
        images = batch["image"].float() if self.gives_float else batch["image"]
        groups = [self.group(draw, images.shape[2:]) for draw in draws]
        changed = in_groups(
            images,
            groups,
            lambda some, places: self.changed(some, [draws[p] for p in places]),
            step=self.name,
        )
        if not (self.spatial and has_image_label(batch)):
            return {**batch, "image": changed}
        labels = batch["label"].float() if self.gives_float else batch["label"]
        moved = in_groups(
            labels,
            groups,
            lambda some, places: self.moved(some, [draws[p] for p in places]),
            step=self.name,
        )
        return {**batch, "image": changed, "label": moved.to(batch["label"].dtype)}


def in_groups(
    images: torch.Tensor,
    groups: Sequence[Hashable],
    change: Callable[[torch.Tensor, list[int]], torch.Tensor],
    *,
    step: str,
) -> torch.Tensor:
    """Change images group by group and put them back in their order.

    Args:
        images: Of shape (batch, channels, spatial...).
        groups: The group of each image; None: it is left unchanged.
        change: Changes some images, given their places in the batch.
        step: The name of the step that changes them, for errors.

    Raises:
        DataError: The images differ in shape afterwards.
    """
    import torch

    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    if len(places) == 1:
        return images if groups[0] is None else change(images, next(iter(places.values())))
    order = torch.tensor([place for some in places.values() for place in some])
    order = on_device(order, images)
    result = images.clone() if None in places else None
    start = 0
    for group, some in places.items():
        index = order[start : start + len(some)]
        start += len(some)
        if group is None:
            continue
        part = change(images.index_select(0, index), some)
        if result is None:
            result = part.new_empty((len(images), *part.shape[1:]))
        _one_shape(result, part, step)
        result.index_copy_(0, index, part)
    assert result is not None
    return result


def _one_shape(one: torch.Tensor, other: torch.Tensor, step: str) -> None:
    shapes = sorted({tuple(one.shape[1:]), tuple(other.shape[1:])})
    if len(shapes) > 1:
        raise DataError(
            f"The random step {step!r} leaves images of the shapes {shapes[0]} and {shapes[1]} in "
            "one batch. Let it give all images one size, changed or not (quarter turns do where "
            "images are square, for example by 'resize' with spatial_size before), or set "
            "loader.batch_size = 1."
        )


def on_device(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Copy small values to the images' device, without waiting for it."""
    return values.to(images.device, non_blocking=True)
