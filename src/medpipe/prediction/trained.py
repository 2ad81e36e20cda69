"""A run's network, or those of several, with all that predicting takes.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from medpipe.assembly import Assembly
    from medpipe.steps import DataInfo, Reading
    from medpipe.system.hardware import Precision


@attrs.frozen(kw_only=True, eq=False)
class TrainedNetwork:
    """A run's network, or those of several, and what is needed to preprocess as in training.

    Attributes:
        path: The run directory, or the folder of several runs.
        which: ``best`` or ``last``.
        network: The network, on the CPU until something is predicted, then on that device.
        assembly: Builds the run's parts.
        data: What was measured on the run's data.
        reading: How the run's files were decoded.
        precision: The precision that the run computed in.
        chosen: What was chosen on the run's validation split; see
            `medpipe.evaluation.frozen.chosen_on_validation`. None where it did not come to that.
        members: The networks of several runs, whose mean is predicted; the rest is the first's.
        images: What the training images look like; see
            `medpipe.data.scanning.image_facts.training_facts`. None: that is not known.
    """

    path: Path
    which: Literal["best", "last"]
    network: nn.Module
    assembly: Assembly
    data: DataInfo
    reading: Reading
    precision: Precision
    chosen: Mapping[str, Any] | None = None
    members: Members | None = None
    images: Mapping[str, Any] | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The run directories."""
        return (self.path,) if self.members is None else self.members.paths


@attrs.define(kw_only=True, eq=False)
class Members:
    """The networks of several runs, one of which is in memory.

    Attributes:
        paths: The run directories.
        load: Reads the network of one of them, by its place.
        holder: Holds the network that is in memory, and calls it.
    """

    paths: tuple[Path, ...]
    load: Callable[[int], TrainedNetwork]
    holder: nn.Sequential = attrs.field(init=False)
    _held: tuple[int, TrainedNetwork] | None = attrs.field(default=None, init=False)

    @holder.default
    def _empty(self) -> nn.Sequential:
        from torch import nn

        return nn.Sequential()

    def __len__(self) -> int:
        return len(self.paths)

    def member(self, place: int) -> TrainedNetwork:
        """A run's network, in evaluation mode; the one before it is given up first.

        Its `network` is `holder`, so that nobody else holds the network itself.
        """
        from medpipe.training.allocation import give_back

        if self._held is None or self._held[0] != place:
            self._held = None
            self.holder.to("meta")  # many networks are in cycles: what is left of them is small
            del self.holder[:]
            give_back()
            found = self.load(place)
            self.holder.append(found.network)
            self._held = place, attrs.evolve(found, network=self.holder)
        return self._held[1]

    def each(self, device: torch.device) -> Iterator[TrainedNetwork]:
        """All of them, one after the other, on a device.

        They always come in the same order: in another one a sum would be rounded otherwise, and a
        prediction that goes on after a kill would give other numbers.
        """
        for place in range(len(self)):
            member = self.member(place)
            member.network.to(device).eval()
            yield member
