"""What a run on several processes needs of its settings and its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.errors import Problem
from medpipe.steps import resolved
from medpipe.system.place import place

if TYPE_CHECKING:
    from torch import nn

    from medpipe.checks.check_report import CheckReport
    from medpipe.config import Configuration

FEW = 8
"""Samples of a batch below which the means of a batch norm are rough."""


def parts_of(batch: int) -> set[int]:
    """How many samples of a batch a process gets, of all that torchrun has started."""
    count = place().world_size
    return {max(1, batch // count), -(-batch // count)}


def check_processes(
    configuration: Configuration, network: nn.Module | None, report: CheckReport
) -> None:
    """Check the batch and its norms for as many processes as there are."""
    count = place().world_size
    if count == 1:
        return
    size = resolved(configuration.loader.batch_size)
    on_gpu = report.device is not None and report.device.type == "cuda"
    if configuration.run.sync_batch_norm and not on_gpu:
        message = f"torch has it for GPUs alone, and the device is {report.device}."
        problem = Problem(path="run.sync_batch_norm", message=message, remedy="Set it to false.")
        report.problems.append(problem)
    if size < count:
        report.warnings.append(
            f"of a batch of {size} some of the {count} processes get nothing: set "
            f"loader.batch_size = {count} or more, or start fewer processes."
        )
    elif size // count < FEW and _has_batch_norm(network) and not configuration.run.sync_batch_norm:
        way = "Set run.sync_batch_norm = true, or a" if on_gpu else "Set a"
        report.warnings.append(
            f"the network has batch norms, which take their means over the {size // count} samples "
            f"of a batch that each of {count} processes has. {way} larger loader.batch_size."
        )


def _has_batch_norm(network: nn.Module | None) -> bool:
    from torch.nn.modules.batchnorm import _BatchNorm

    return network is not None and any(isinstance(m, _BatchNorm) for m in network.modules())
