"""What must be the same after a step was used: random states, settings, what it was given."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from medpipe.registry.parameters import values_of


def random_states() -> dict[str, Any]:
    """The states of the global generators."""
    import numpy as np
    import torch

    return {
        "random": random.getstate(),
        "numpy.random": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }


def settings_of_torch() -> dict[str, Any]:
    """What a step could change for all others: torch's settings and the process's."""
    import torch

    return {
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's number of threads": torch.get_num_threads(),
        "whether torch computes gradients": torch.is_grad_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's anomaly detection": torch.is_anomaly_enabled(),
        "torch's cuDNN settings": _cudnn(),
        "the working directory": str(Path.cwd()),
        "the environment variables": dict(os.environ),
    }


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Put random states and settings back after a block.

    What a step under test changes is neither the next check's nor the caller's; and the next check
    can see that it is changed again.
    """
    import numpy as np
    import torch

    states, folder, variables = random_states(), Path.cwd(), dict(os.environ)
    kept: tuple[tuple[Callable[[Any], object], Any], ...] = (
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_num_threads, torch.get_num_threads()),
        (torch.set_grad_enabled, torch.is_grad_enabled()),
        (torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled()),
        (torch.autograd.set_detect_anomaly, torch.is_anomaly_enabled()),
    )
    device, flags = torch.get_default_device(), _cudnn()
    try:
        yield
    finally:
        random.setstate(states["random"])
        np.random.set_state(states["numpy.random"])
        torch.set_rng_state(states["torch"])
        for put, value in kept:
            put(value)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        cudnn = torch.backends.cudnn
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic = flags
        os.chdir(folder)
        if variables != dict(os.environ):
            os.environ.clear()
            os.environ.update(variables)


def _cudnn() -> tuple[bool, bool, bool]:
    import torch

    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def difference(before: Any, after: Any, where: str = "") -> str:
    """Where two things differ: tensors, arrays and what is made of them; empty: nowhere."""
    import numpy as np
    import torch

    if isinstance(before, Mapping):
        if not isinstance(after, Mapping) or set(before) != set(after):
            return where or "its keys"
        return _first(
            difference(before[key], after[key], f"{where}.{key}" if where else str(key))
            for key in before
        )
    if isinstance(before, torch.Tensor):
        same = (
            isinstance(after, torch.Tensor)
            and before.dtype == after.dtype
            and before.shape == after.shape
            and bool(torch.equal(torch.nan_to_num(before), torch.nan_to_num(after)))
        )
        return "" if same else where or "a tensor"
    if isinstance(before, np.ndarray):
        same = isinstance(after, np.ndarray) and before.dtype == after.dtype
        if same and before.dtype.kind in "fc":
            same = np.array_equal(before, after, equal_nan=True)
        elif same:
            same = np.array_equal(before, after)
        return "" if same else where or "an array"
    if isinstance(before, Sequence) and not isinstance(before, str | bytes):
        if not isinstance(after, Sequence) or len(before) != len(after):
            return where or "its length"
        return _first(
            difference(one, other, where or f"item {place}")
            for place, (one, other) in enumerate(zip(before, after, strict=True))
        )
    if attrs.has(type(before)) and type(after) is type(before):
        return difference(values_of(before), values_of(after), where)
    if before is after or before == after:
        return ""
    both_nan = before != before and after != after
    return "" if both_nan else where or repr(before)[:40]


def _first(found: Any) -> str:
    return next((said for said in found if said), "")
