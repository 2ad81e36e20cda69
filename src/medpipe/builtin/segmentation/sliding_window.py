"""The inferer ``sliding_window``: a volume window by window, and slab by slab out of memory."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import and_, ge, lt, min_len

from medpipe.builtin.inferers import Flips, Simple
from medpipe.plugin import DataError, InfererStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    import torch

    from medpipe.plugin import DataInfo, Inferer

    Region = tuple[slice[int, int, None], ...]


def _sides(_: object, field: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    if any(side < 1 and side != -1 for side in value):
        raise ValueError(f"'{field.name}' must be whole numbers from 1, or -1, got {list(value)}.")


@attrs.frozen(kw_only=True)
class SlidingWindow(InfererStep):
    """The weighted mean of overlapping windows: MONAI's `sliding_window_inference`, in less memory.

    For networks that give an output for each pixel, and images larger than the patches that they
    were trained on. Images smaller than a window are padded with 0, and the rest is cut off. Images
    of one window cost as much as with ``simple``.

    Attributes:
        roi_size: The size of a window, as a rule that of the patches in training; -1: the whole
            side of the image.
        overlap: By which share of their sides windows overlap.
        mode: The weight of a pixel of a window: more in its middle (``gaussian``), where the
            network sees more around it; or the same for all (``constant``).
        sw_batch_size: How many windows the network gets at once, of an image of several.
        inferer: How it is called for them: with ``flips`` each window is flipped.
    """

    name: ClassVar[str] = "sliding_window"

    roi_size: tuple[int, ...] = attrs.field(validator=and_(min_len(1), _sides))
    overlap: float = attrs.field(default=0.25, validator=and_(ge(0), lt(1)))
    mode: Literal["gaussian", "constant"] = "gaussian"
    sw_batch_size: int = attrs.field(default=4, validator=ge(1))
    inferer: InfererStep = Simple()

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Windows of 16 pixels, and flipped ones of 16 voxels."""
        return [
            cls(roi_size=(16, 16)),
            cls(roi_size=(16, 16, 16), overlap=0.5, mode="constant", inferer=Flips(axes=(0,))),
        ]

    def build(self, data: DataInfo) -> Inferer:
        """Give a `SlidingWindowInferer`.

        Raises:
            DataError: The windows have another number of axes than the images, or the task has no
                images as labels.
        """
        if not data.task.step.dense:
            raise DataError(
                f"sliding_window is for outputs of each pixel, and the task {data.task.kind} wants "
                "numbers for an image as a whole. Use simple or flips."
            )
        if len(self.roi_size) != data.spatial_dims:
            raise DataError(
                f"sliding_window.roi_size has {len(self.roi_size)} numbers, {list(self.roi_size)}, "
                f"and the images have {data.spatial_dims} spatial dimensions. Give one for each."
            )
        return SlidingWindowInferer(self, self.inferer.build(data))

    def bundle_form(self, data: DataInfo) -> Mapping[str, Any] | None:
        """MONAI's inferer; None where windows are not taken by ``simple``."""
        if not isinstance(self.inferer, Simple):
            return None
        names = ("roi_size", "overlap", "mode", "sw_batch_size")
        given = {name: getattr(self, name) for name in names}
        return {"_target_": "SlidingWindowInferer", **given}


class SlidingWindowInferer:
    """Calls a network for the windows of an image; outputs have no gradient.

    Args:
        step: The parameters.
        inferer: How the network is called for a batch of windows.
    """

    def __init__(self, step: SlidingWindow, inferer: Inferer) -> None:
        self._step = step
        self._inferer = inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any]) -> torch.Tensor:
        """Give the outputs, float32 of shape (batch, outputs, spatial...)."""
        return self._gathered(inputs, network, lambda outputs: outputs.float())

    def labels(
        self,
        inputs: torch.Tensor,
        network: Callable[..., Any],
        decide: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Give what the outputs decide, without ever holding those of a whole image.

        Args:
            inputs: Of shape (batch, channels, spatial...).
            network: The network.
            decide: Makes labels of outputs, pixel by pixel, such as `TaskStep.decided`.

        Returns:
            The labels, of shape (batch, channels of a label, spatial...) and their type.
        """
        return self._gathered(inputs, network, decide)

    def regions(
        self, inputs: torch.Tensor, network: Callable[..., Any]
    ) -> Iterator[tuple[Region, torch.Tensor]]:
        """Give the outputs of one region after the other, which together are the images.

        Yields:
            Where the region lies in (batch, spatial...), and its outputs of shape (batch of the
            region, outputs, spatial of the region...): good until the next one is asked for.
        """
        from torch.nn import functional

        sides = tuple(inputs.shape[2:])
        roi = tuple(
            side if size == -1 else size
            for side, size in zip(sides, self._step.roi_size, strict=True)
        )
        missing = [max(size - side, 0) for side, size in zip(sides, roi, strict=True)]
        if any(missing):
            padding = [n for gap in reversed(missing) for n in (gap // 2, gap - gap // 2)]
            inputs = functional.pad(inputs, padding)
        inside = tuple(
            slice(gap // 2, gap // 2 + side) for gap, side in zip(missing, sides, strict=True)
        )
        if inputs.shape[2:] == roi:  # as ``simple``: in the batches of the loader
            outputs = self._outputs(inputs, network)[:, :, *inside]
            yield (slice(0, len(inputs)), *(slice(0, side) for side in sides)), outputs
            return
        for place in range(len(inputs)):
            yield from self._slabs(inputs[place : place + 1], place, network, roi, inside)

    def _slabs(
        self,
        image: torch.Tensor,
        place: int,
        network: Callable[..., Any],
        roi: tuple[int, ...],
        inside: Region,
    ) -> Iterator[tuple[Region, torch.Tensor]]:
        """The regions of one image: slabs across the axis along which it has most windows.

        Of sums and weights only those are kept that windows to come will add to. Along the first
        axis they are added in MONAI's order, so that outputs are the same to the last bit where
        the network's do not depend on how many windows it gets at once.
        """
        import torch
        from monai.data.utils import compute_importance_map

        sides = image.shape[2:]
        axis = min(range(len(roi)), key=lambda a: roi[a] / sides[a])
        weights = compute_importance_map(roi, mode=self._step.mode, device=image.device)
        starts = [self._starts(side, size) for side, size in zip(sides, roi, strict=True)]
        others = [[0] if a == axis else starts[a] for a in range(len(roi))]
        slab = [size if a == axis else sides[a] for a, size in enumerate(roi)]
        across = list(product(*others))
        counts = torch.zeros(1, 1, *slab, device=image.device)
        sums: torch.Tensor | None = None
        for start, following in zip(starts[axis], [*starts[axis][1:], sides[axis]], strict=True):
            slices: list[Region] = [
                tuple(slice(at, at + size) for at, size in zip(corner, roi, strict=True))
                for corner in across
            ]
            strip = image.narrow(axis + 2, start, roi[axis])
            for first in range(0, len(slices), self._step.sw_batch_size):
                some = slices[first : first + self._step.sw_batch_size]
                windows = torch.cat([strip[:, :, *where] for where in some])
                outputs = self._outputs(windows, network)
                if sums is None:
                    sums = torch.zeros(1, outputs.shape[1], *slab, device=image.device)
                    weighted = torch.empty(outputs.shape[1], *roi, device=image.device)
                for number, where in enumerate(some):
                    output = outputs[number].detach().float()
                    sums[0][:, *where] += torch.mul(output, weights, out=weighted)
                    counts[0, 0][where] += weights
                del windows, outputs, output  # or they would stay during the next call
            assert sums is not None
            done = following - start
            finished = sums.narrow(axis + 2, 0, done)
            finished /= counts.narrow(axis + 2, 0, done)
            cut = list(inside)
            low = max(inside[axis].start, start)
            high = min(inside[axis].stop, following)
            cut[axis] = slice(low - start, high - start)
            if low < high:
                region = [slice(0, part.stop - part.start) for part in inside]
                region[axis] = slice(low - inside[axis].start, high - inside[axis].start)
                yield (slice(place, place + 1), *region), finished[:, :, *cut]
            for running in (sums, counts):
                rest = roi[axis] - done
                running.narrow(axis + 2, 0, rest).copy_(
                    running.narrow(axis + 2, done, rest).clone()
                )
                running.narrow(axis + 2, rest, done).zero_()

    def _starts(self, side: int, size: int) -> list[int]:
        """Where windows begin along an axis: the last one ends with the image."""
        step = max(int(size * (1 - self._step.overlap)), 1)
        return [min(start, side - size) for start in range(0, side - size + step, step)]

    def _outputs(self, windows: torch.Tensor, network: Callable[..., Any]) -> torch.Tensor:
        outputs = self._inferer(windows, network)
        if len(outputs) != len(windows) or outputs.shape[2:] != windows.shape[2:]:
            raise ValueError(
                f"the network gives {tuple(outputs.shape)} for windows of {tuple(windows.shape)}: "
                "after the channels they must be the same"
            )
        return outputs

    def _gathered(
        self,
        inputs: torch.Tensor,
        network: Callable[..., Any],
        change: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Put the regions together, each changed."""
        gathered: torch.Tensor | None = None
        for (some, *region), outputs in self.regions(inputs, network):
            part = change(outputs)
            if part.shape[2:] == inputs.shape[2:] and len(part) == len(inputs):
                return part  # it is all there is
            if gathered is None:
                shape = (len(inputs), part.shape[1], *inputs.shape[2:])
                gathered = part.new_empty(shape)
            gathered[some, :, *region] = part
        assert gathered is not None
        return gathered
