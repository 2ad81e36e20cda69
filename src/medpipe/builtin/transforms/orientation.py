"""The step that turns an image's axes to those of the patient."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.transforms.metadata import with_metadata_of
from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from medpipe.plugin import ImageFiles

ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
"""The letters for the ends of the axes; MONAI warns of its own default."""

Axcodes = Literal["RAS", "LPS", "LAS", "RPS", "RAI", "LPI", "LAI", "RPI"]


@attrs.frozen(kw_only=True)
class Orientation(TransformStep):
    """Turns the axes of a volume to those of the patient, as its affine says.

    Axes are swapped and flipped, and every value stays what it is. A volume without an affine is
    taken as it lies. MONAI's `Orientationd`, in less time for loaded volumes: the affine is changed
    and nothing is recorded.

    Attributes:
        axcodes: Where each axis points to: right or left, anterior or posterior, superior or
            inferior.
    """

    name: ClassVar[str] = "orientation"
    spatial: ClassVar[bool] = True

    axcodes: Axcodes = "RAS"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """One that turns volumes without an affine, and one that leaves them."""
        return [cls(axcodes="LPS"), cls()]

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for the sample's ``image``."""
        return self._made(["image"])

    def build_with_label(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for ``image`` and ``label``."""
        return self._made(["image", "label"])

    def bundle_form(self, files: ImageFiles) -> Sequence[Mapping[str, Any]] | None:
        """MONAI's transform."""
        given = {"keys": "image", "axcodes": self.axcodes, "labels": ENDS}
        return [{"_target_": "Orientationd", **given}]

    def _made(self, keys: list[str]) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        from monai.transforms import Orientationd

        made: Any = Orientationd(keys=keys, axcodes=self.axcodes, labels=ENDS)

        def apply(sample: dict[str, Any]) -> Mapping[Any, Any]:
            from monai.data import MetaTensor

            images = [sample[key] for key in keys]
            if not all(isinstance(image, MetaTensor) and image.ndim == 4 for image in images):
                return made(sample)  # type: ignore[no-any-return]
            turned = [_turned(image, self.axcodes) for image in images]
            return {**sample, **dict(zip(keys, turned, strict=True))}

        return apply


@functools.lru_cache
def _change(linear: bytes, axcodes: str) -> list[list[float]]:
    """For each axis of a volume which it becomes, and 1 or -1 where it is flipped."""
    import numpy as np
    from nibabel import orientations

    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(linear).reshape(3, 3)
    now = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    wanted = orientations.axcodes2ornt(axcodes)  # type: ignore[no-untyped-call]
    change = orientations.ornt_transform(now, wanted)  # type: ignore[no-untyped-call]
    found: list[list[float]] = change.tolist()
    return found


def _turned(image: Any, axcodes: str) -> Any:
    """A volume of shape (channels, spatial...) with its axes as the codes say."""
    import numpy as np
    import torch
    from nibabel import orientations

    affine = np.asarray(image.affine, np.float64)
    change = np.array(_change(affine[:3, :3].tobytes(), axcodes))
    if np.array_equal(change, [[0, 1], [1, 1], [2, 1]]):
        return image
    sides = tuple(image.shape[1:])
    flipped = [axis + 1 for axis, (_, way) in enumerate(change) if way < 0]
    order = [0, *(int(axis) + 1 for axis in np.argsort(change[:, 0]))]
    plain = image.as_subclass(torch.Tensor).flip(flipped).permute(order).contiguous()
    result = with_metadata_of(image, plain)
    moved = affine @ orientations.inv_ornt_aff(change, sides)  # type: ignore[no-untyped-call]
    result.affine = torch.from_numpy(moved)
    return result
