"""What both sides share: their arguments, the augmentation, clocks, and how they report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from benchmarks.measuring import STARTED, Figures

BEGUN = time.perf_counter()
"""When this side's own code began, after the start of the interpreter."""

ANGLE = 0.26
"""The largest rotation in radians: 15 degrees."""
ZOOM = (0.9, 1.1)
HALF = 0.5
"""The probability of each random step."""


@attrs.frozen(kw_only=True)
class Options:
    """What the benchmark asks of one side.

    Attributes:
        task: What to do; see the side's own list.
        data: The folder of class folders.
        workers: Worker processes of the loader.
        batch_size: Samples in a batch.
        held_out: The fraction for validation, and again for the test.
        epochs: Passes of the training split.
        iterations: Iterations that are timed, after as many that are not; for the recipe, all.
        blocks: Pairs of blocks of the task `overhead`.
        seconds: How long batches are counted.
        precision: In what medpipe computes; the script always computes in float32.
        recompute: Whether medpipe computes activations again; the script always keeps them.
        compile: Whether medpipe compiles the training step; the script doesn't.
        network: By medpipe's name.
        learning_rate: Of Adam.
        input_side: To which side images are resized; 0: not at all.
        augment: Whether to flip, rotate and zoom at random.
        seed: Of the run.
    """

    task: str
    data: Path
    workers: int = 0
    batch_size: int = 512
    held_out: float = 0.1
    epochs: int = 1
    iterations: int = 0
    blocks: int = 0
    seconds: float = 0.0
    precision: str = "float32"
    recompute: int = 0
    compile: int = 0
    network: str = "densenet121"
    learning_rate: float = 1e-5
    input_side: int = 0
    augment: int = 0
    seed: int = 0


Task = Callable[[Options], Figures]


def answer(tasks: Mapping[str, Task], *, importing: Collection[str]) -> None:
    """Do what was asked for on the command line, and give the figures on standard output.

    Args:
        tasks: By their names.
        importing: Those that begin when torch and MONAI are imported; the others tell themselves
            how long that took.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=list(tasks))
    kinds: dict[str, type] = {"int": int, "float": float, "str": str, "Path": Path}
    for field in attrs.fields(Options)[1:]:
        required = field.name == "data"
        default = None if required else field.default
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=kinds[str(field.type)], required=required, default=default)
    options = Options(**vars(parser.parse_args()))
    figures: dict[str, Any] = {}
    if options.task in importing:
        figures["imports"] = imported()
    figures |= tasks[options.task](options)
    sys.stdout.write("\n" + json.dumps({**figures, **device_memory()}) + "\n")


def imported() -> float:
    """Import what both sides need, and give the seconds that it took.

    It takes seconds, for both sides alike: so it is timed apart from the work.
    """
    import monai.engines  # which imports all of MONAI but for the networks
    import monai.networks.nets  # noqa: F401
    import torch

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # the driver's own start, too
    return time.perf_counter() - BEGUN


def from_command() -> float:
    """The seconds since the benchmark asked for this process."""
    return time.time() - float(os.environ[STARTED])


def now() -> float:
    """The clock, once the device has done what it was asked for."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def device_memory() -> Figures:
    """The most memory of the GPU that tensors held, in GB."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"device_memory": torch.cuda.max_memory_allocated() / 1e9}
