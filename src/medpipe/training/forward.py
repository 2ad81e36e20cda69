"""Call a network on batches of images, by an inferer if there is one.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from medpipe.steps import Inferer, Task
    from medpipe.system.hardware import Precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Compute in `precision`; float32 leaves everything as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@attrs.frozen(kw_only=True)
class Caller:
    """Calls a network on batches of images, by an inferer if there is one."""

    device: torch.device
    precision: Precision
    inferer: Inferer | None

    def outputs(self, images: torch.Tensor, run: Any) -> object:
        """The outputs of a batch."""
        on_device = images.to(self.device, non_blocking=True)
        with autocast(self.device, self.precision):
            return run(on_device) if self.inferer is None else self.inferer(on_device, run)

    def regions(self, images: torch.Tensor, run: Any) -> Iterator[tuple[Any, torch.Tensor]] | None:
        """The outputs of a batch in parts; None where the inferer gives none."""
        stream = getattr(self.inferer, "regions", None)
        if stream is None:
            return None

        def network(windows: torch.Tensor) -> Any:
            with autocast(self.device, self.precision):
                return run(windows)

        found: Iterator[tuple[Any, torch.Tensor]] = stream(
            images.to(self.device, non_blocking=True), network
        )
        return found


def checked_outputs(
    predicted: object, count: int, task: Task, sides: Sequence[int] = ()
) -> torch.Tensor:
    """What an inferer gave for a batch.

    Raises:
        StepError: It is no tensor of the shape (samples, outputs), with `sides` after them.
    """
    expected = (count, task.outputs, *sides)
    if not isinstance(predicted, torch.Tensor):
        given = f"a {type(predicted).__name__}"
    elif tuple(predicted.shape) != expected:
        given = f"the shape {tuple(predicted.shape)}"
    else:
        return predicted
    raise StepError(
        f"The inferer gives {given} for {count} images, not a tensor of shape {expected}. Return "
        "the network's outputs, a row for each image."
    )
