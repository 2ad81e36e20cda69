"""The length that learning-rate schedules were made for.

A one-cycle or cosine schedule is laid out over all steps. A resumed run with more epochs, or
with other batches, would follow it past its end, or jump to another place of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from medpipe.system.plain_numbers import plain

if TYPE_CHECKING:
    from medpipe.steps import Training

LENGTHS = (
    "total_steps",
    "total_iters",
    "total_size",
    "T_max",
    "T_0",
    "T_mult",
    "step_size",
    "step_ratio",
    "milestones",
    "_milestones",
    "num_training_steps",
    "num_warmup_steps",
    "num_iter",
    "t_total",
    "warmup_steps",
    "warm_steps",
    "cycle_size",
    "cycle_mult",
)
"""How the schedules of torch, Ignite, MONAI and transformers call what they know beforehand."""
_INNER = ("_schedulers", "schedulers", "lr_scheduler", "lr_lambdas")
"""Where they keep others, or functions, that know it."""


def planned(training: Training) -> dict[str, Any]:
    """What the schedules were laid out for, as plain numbers by name; empty where for nothing.

    That is what the trainer says of it, or else what is found in the objects of its state.
    """
    if training.planned is not None:
        return {name: _plain(value) for name, value in training.planned.items()}
    found: dict[str, Any] = {}
    for name, item in training.state.items():
        if not (hasattr(item, "parameters") or hasattr(item, "param_groups")):
            found.update(_lengths(name, item, depth=3))
    return found


def _lengths(name: str, item: object, *, depth: int) -> dict[str, Any]:
    """The lengths that an object keeps under the usual names, and those of the objects in it."""
    # What functools.partial was given, and then what the object itself keeps.
    kept = {**(getattr(item, "keywords", None) or {}), **getattr(item, "__dict__", {})}
    found = {f"{name}.{key}": _plain(kept[key]) for key in LENGTHS if _is_length(kept.get(key))}
    for key in _INNER if depth else ():
        inner = kept.get(key)
        for place, each in enumerate(inner if isinstance(inner, (list, tuple)) else [inner]):
            if each is not None:
                found.update(_lengths(f"{name}.{key}[{place}]", each, depth=depth - 1))
    return found


def _is_length(value: object) -> bool:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return all(isinstance(item, Real) for item in value)
    return isinstance(value, Real)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):  # MultiStepLR counts how often each milestone is named
        return sorted(map(plain, value))
    return list(plain(list(value))) if isinstance(value, Iterable) else plain(value)
