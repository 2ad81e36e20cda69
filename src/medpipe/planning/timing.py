"""Measure how long a step of training takes on this machine.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpipe.assembly import Assembly
    from medpipe.steps import DataInfo

MEASURED = 2
"""Steps that are measured, after a first one."""


def seconds_of_step(assembly: Assembly, data: DataInfo, batch_size: int, device: str) -> float:
    """The seconds for a batch of noise, forward and backward.

    On a GPU, and where labels are images, in the precision ``auto``, which the plan has there.

    Raises:
        MedpipeError: The network can't be built.
    """
    import torch

    from medpipe.system.hardware import choose_precision
    from medpipe.training.determinism import seeded
    from medpipe.training.forward import autocast

    where = torch.device(device)
    narrow = device != "cpu" or data.task.step.dense
    precision = choose_precision("auto" if narrow else "float32", where)
    with seeded(0):
        network = assembly.network(data).to(where).train()
        sides = [side or 64 for side in data.spatial_shape]
        images = torch.rand(batch_size, data.channels, *sides, device=where)
        for number in range(1 + MEASURED):
            if number == 1:
                _wait(where.type)
                started = time.perf_counter()
            with autocast(where, precision):
                outputs = network(images)
            outputs.float().square().mean().backward()
        _wait(where.type)
    return (time.perf_counter() - started) / MEASURED


def _wait(kind: str) -> None:
    import torch

    if kind == "cuda":
        torch.cuda.synchronize()
