"""The network of a run on several processes: its gradients are averaged as they are computed.

torch is imported inside functions.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from medpipe.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

    from medpipe.distributed.processes import Processes

UNKNOWN_SIDE = 64
"""What stands for a side that varies."""


def in_parallel(
    network: nn.Module,
    device: torch.device,
    shape: Sequence[int | None],
    *,
    sync_batch_norm: bool,
) -> nn.Module:
    """Wrap a network by torch's `DistributedDataParallel`; its parameters are process 0's.

    Buffers, such as the means of a batch norm, are process 0's at every step, so that what is saved
    and resumed is what all have. Parameters that a step does not reach are allowed.

    Args:
        network: The network, on its device.
        device: The device.
        shape: Of one image: (channels, spatial...), with None where a side varies.
        sync_batch_norm: Whether a batch norm takes its means over all processes.
    """
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    if sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    reached = _reaches_all(network, [side or UNKNOWN_SIDE for side in shape])
    fixed = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    for parameter in fixed:  # else it would never be averaged, even if it is trained later
        parameter.requires_grad_(True)
    wrapped = DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=bool(fixed) or not reached,
    )
    for parameter in fixed:
        parameter.requires_grad_(False)
    return wrapped


def _reaches_all(network: nn.Module, shape: Sequence[int]) -> bool:
    """Whether every parameter is part of what a network gives, as far as shapes can tell."""
    import torch

    try:
        empty = copy.deepcopy(network).to("meta").train()
        outputs: Any = empty(torch.empty(2, *shape, device="meta"))
        heads = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        sum(head.sum() for head in heads).backward()
    except Exception:  # a plugin's network may raise anything: then it is looked for at every step
        return False
    return all(value.grad is not None for value in empty.parameters() if value.requires_grad)


def share_buffers(network: nn.Module, processes: Processes) -> None:
    """Give every process the buffers of process 0, which an evaluation uses."""
    if processes.alone or not list(network.buffers()):
        return
    state = dict(network.named_buffers()) if processes.leads else {}
    state = processes.share({name: value.cpu() for name, value in state.items()})
    for name, buffer in network.named_buffers():
        buffer.copy_(state[name])


def refuse_apart(network: nn.Module, processes: Processes, trainer: str) -> None:
    """See that all processes have the same weights.

    Raises:
        StepError: They don't: the trainer did not wrap the network.
    """
    if processes.alone:
        return
    own = _sums(network)
    if any(other != own for other in processes.gather(own)):
        raise StepError(
            f"{trainer} trains a network of its own in each process. Let its engine call "
            "TrainingParts.parallel(network) in place of the network."
        )


def _sums(network: nn.Module) -> list[str]:
    """The sum of each parameter, in words: NaN does not equal itself."""
    import torch

    with torch.no_grad():
        return [repr(float(value.double().sum())) for value in network.parameters()]
