"""What a trainer is built from, in a run on several processes.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.distributed.losses import SharedLoss
from medpipe.distributed.wrapping import in_parallel

if TYPE_CHECKING:
    from torch import nn

    from medpipe.data.loading.loader import Loader
    from medpipe.distributed.processes import Processes
    from medpipe.steps import TrainingParts


def shared_parts(
    parts: TrainingParts, loader: Loader, processes: Processes, *, sync_batch_norm: bool
) -> TrainingParts:
    """The same parts, with a loss of whole batches and a network that averages its gradients.

    Args:
        parts: Those of one process.
        loader: The training batches of this process.
        processes: Those of the run.
        sync_batch_norm: See `in_parallel`.
    """
    loss = SharedLoss(parts.loss, parts.denominator, processes, lambda: loader.counts)
    shape = (parts.data.channels, *parts.data.spatial_shape)

    def parallel(network: nn.Module) -> nn.Module:
        return in_parallel(network, parts.device, shape, sync_batch_norm=sync_batch_norm)

    return attrs.evolve(
        parts,
        loss=loss,
        denominator=None if parts.denominator is None else loss.denominator,
        parallel=parallel,
    )
