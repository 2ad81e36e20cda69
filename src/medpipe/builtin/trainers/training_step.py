"""What makes the step of `supervised` fast: channels last, fused optimizers, no waiting for losses.

Heavy things are imported inside functions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medpipe.builtin.trainers.recomputation import recomputing
from medpipe.plugin import MedpipeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from ignite.engine import Engine
    from monai.engines import SupervisedTrainer

    from medpipe.plugin import TrainingParts

UNKNOWN_SIDE = 224
"""What is tried where the images' sides vary."""

SAFE_CHANNELS = 16
"""Channels from which on torch 2.13 computes strided 1 x 1 convolutions in channels last on a CPU.

With 2 to 15 the backward pass writes past the end of its memory, and the process dies.
"""

COMPILER = "inductor"
"""The back end of ``torch.compile``."""


def to_channels_last(parts: TrainingParts) -> bool:
    """Put a network of 2-D convolutions in channels last, if it works so; give whether it is.

    Some networks take a ``view`` of what a convolution gives, which fails on this order. So a
    copy tries it first on two empty images: the meta device does not know all orders.
    """
    import torch
    from torch import nn

    network, data = parts.network, parts.data
    if data.spatial_dims != 2 or not any(isinstance(m, nn.Conv2d) for m in network.modules()):
        return False
    sides = [side or UNKNOWN_SIDE for side in data.spatial_shape]
    image = torch.zeros(2, data.channels, *sides, device=parts.device)
    if any(value.is_meta for value in network.parameters()):
        return False  # a check of shapes: there is no order
    if parts.device.type == "cpu" and any(map(_crashes, network.modules())):
        return False
    devices = [parts.device] if parts.device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            _laid_copy(network).train()(image.contiguous(memory_format=torch.channels_last))
    except Exception:  # a plugin's network may raise anything: it is trained as it is
        return False
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return True


def _crashes(module: torch.nn.Module) -> bool:
    """Whether torch's backward pass of a module in channels last ends the process on a CPU."""
    from torch import nn

    return (
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and set(module.stride) != {1}
        and module.in_channels < SAFE_CHANNELS
    )


def _laid_copy(network: torch.nn.Module) -> torch.nn.Module:
    """A copy in channels last, without the hooks that would tell of the try."""
    import copy

    import torch

    copied = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied  # type: ignore[no-any-return]


def prepare_channels_last(
    batch: Any, device: Any = None, non_blocking: bool = False, **options: Any
) -> Any:
    """MONAI's `default_prepare_batch`, with the images in channels last."""
    import torch
    from monai.engines.utils import default_prepare_batch

    image, label = default_prepare_batch(batch, device, non_blocking, **options)
    return image.contiguous(memory_format=torch.channels_last), label


def compiling() -> dict[str, Any]:
    """How to compile: what ``torch.compile`` takes beside the network.

    Each shape has a program of its own. By default the second one gets a program for any shape,
    which rounds in another way: a resumed run with the small last batch of an epoch would
    end with other weights.
    """
    return {"backend": COMPILER, "dynamic": False}


def make_inferer(parts: TrainingParts, recomputed: Sequence[torch.nn.Module]) -> Any:
    """The inferer of the parts, with blocks that are computed again.

    Args:
        parts: What the trainer step got.
        recomputed: The blocks to compute again in the backward pass.
    """
    plain = parts.inferer()
    if not recomputed:
        return plain
    from monai.inferers import Inferer

    class Recomputing(Inferer):
        def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
            with recomputing(recomputed):
                return plain(inputs, network, *args, **kwargs)

    return Recomputing()


def trainer_class(*, compiled: bool) -> type[SupervisedTrainer]:
    """MONAI's trainer; for a compiled network one whose errors name the setting."""
    from monai.engines import SupervisedTrainer

    class CompiledTrainer(SupervisedTrainer):
        def _iteration(self, engine: Any, batchdata: Any) -> Any:
            # The whole step: the programs of the forward and the backward pass are made in each.
            with _explained():
                return super()._iteration(engine, batchdata)

    return CompiledTrainer if compiled else SupervisedTrainer


@contextmanager
def _explained() -> Iterator[None]:
    """Turn an error of torch's compiler into one that says what to do.

    Raises:
        MedpipeError: The network can't be compiled here.
    """
    try:
        yield
    except Exception as error:
        # Its classes have no public names; its modules are those of torch.compile.
        if not type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.")):
            raise
        cause = " ".join(str(error).split("\n\n")[0].split()).rstrip(".")
        raise MedpipeError(
            f"The network can't be compiled: {cause}. Set trainer.compile = false, or give torch "
            "what it needs: a C++ compiler (g++ or clang++), on CUDA Triton."
        ) from error


def guard(engine: Engine, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let a fused optimizer skip every step from the first loss on that is not finite.

    The optimizer decides on the device, by its ``found_inf``, without waiting for the loss. The
    library's loop sees ``found_inf`` and looks at each loss one iteration later.
    """
    import torch
    from monai.engines.utils import IterationEvents

    found: Any = torch.zeros((), device=device)
    optimizer.found_inf = found  # type: ignore[attr-defined]

    def note(engine: Any) -> None:
        # It stays: with accumulation a loss may spoil the gradients of a later step.
        bad = engine.state.output["loss"].detach().isfinite().logical_not()
        found.copy_(torch.maximum(found, bad.to(found.dtype)))

    engine.add_event_handler(IterationEvents.LOSS_COMPLETED, note)
