"""Networks that each fail one check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataInfo, NetworkStep

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class Sound(NetworkStep):
    """A network that fails no check.

    Attributes:
        width: Channels of the convolution.
    """

    name: ClassVar[str] = "sound"
    width: int = 4

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(data.channels, self.width, 3, stride=4),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * self.width, data.outputs),
        )


@attrs.frozen(kw_only=True)
class ThreeOutputs(Sound):
    """Always three outputs."""

    def build(self, data: DataInfo) -> nn.Module:
        return super().build(attrs.evolve(data, outputs=3))


BROKEN: dict[str, Any] = {
    "gives_a_number_for_each_output": ThreeOutputs(),
}
"""For each check a step that fails it alone."""
SOUND = [Sound()]
"""Steps that fail none."""
