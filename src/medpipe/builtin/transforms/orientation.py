"""The step that turns an image's axes to those of the patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Axcodes = Literal["RAS", "LPS", "LAS", "RPS", "RAI", "LPI", "LAI", "RPI"]


@attrs.frozen(kw_only=True)
class Orientation(TransformStep):
    """Turns the axes of a volume to those of the patient, as its affine says.

    Axes are swapped and flipped, and every value stays what it is. A volume without an affine is
    taken as it lies. MONAI's `Orientationd`.

    Attributes:
        axcodes: Where each axis points to: right or left, anterior or posterior, superior or
            inferior.
    """

    name: ClassVar[str] = "orientation"
    spatial: ClassVar[bool] = True

    axcodes: Axcodes = "RAS"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for the sample's ``image``."""
        return self._made(["image"])

    def build_with_label(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for ``image`` and ``label``."""
        return self._made(["image", "label"])

    def _made(self, keys: list[str]) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        from monai.transforms import Orientationd

        # labels: the letters for the ends of the axes; MONAI warns of its own default.
        made: Any = Orientationd(
            keys=keys, axcodes=self.axcodes, labels=(("L", "R"), ("P", "A"), ("I", "S"))
        )
        return made  # type: ignore[no-any-return]
