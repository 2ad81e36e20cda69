"""Wrapped objects: ready-made transforms, networks and losses as steps.

They compare by identity, are copied for each run, and can't be written as a configuration.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs

from medpipe.steps import (
    DataInfo,
    Dataset,
    DatasetStep,
    Loss,
    LossStep,
    NetworkStep,
    Step,
    TransformStep,
)

if TYPE_CHECKING:
    from torch import nn


def is_module(value: object) -> bool:
    """Whether it is an ``nn.Module``, without importing torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _title(value: object) -> str:
    named = getattr(value, "__qualname__", None)
    return str(named or type(value).__qualname__)


class Wrapped:
    """A step that holds a ready-made object."""

    name: ClassVar[str] = "ready"
    value: Any

    @property
    def title(self) -> str:
        """The object's name, for descriptions and errors."""
        return _title(self.value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


@attrs.frozen(eq=False)
class WrappedDataset(Wrapped, DatasetStep):
    """A ready-made `Dataset`."""

    value: Dataset

    def build(self) -> Dataset:
        """Return the data set; it is frozen and needs no copy."""
        return self.value


@attrs.frozen(eq=False)
class WrappedTransform(Wrapped, TransformStep):
    """A MONAI dictionary transform, or a callable on a sample."""

    value: Callable[[dict[str, Any]], Mapping[Any, Any]]

    @property
    def random(self) -> bool:  # type: ignore[override]  # known only from the object
        """Whether it is a random transform of MONAI (``RandomizableTrait``)."""
        return any(cls.__name__ == "RandomizableTrait" for cls in type(self.value).__mro__)

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Return a copy of it."""
        return copy.deepcopy(self.value)


@attrs.frozen(eq=False)
class WrappedNetwork(Wrapped, NetworkStep):
    """An ``nn.Module``, or better a function that makes one from a `DataInfo`."""

    value: nn.Module | Callable[[DataInfo], nn.Module]

    def build(self, data: DataInfo) -> nn.Module:
        """Return a copy of the module, or the module that the function makes."""
        if is_module(self.value):
            return copy.deepcopy(cast("nn.Module", self.value))
        return cast("Callable[[DataInfo], nn.Module]", self.value)(data)


@attrs.frozen(eq=False)
class WrappedLoss(Wrapped, LossStep):
    """A callable on predictions and labels."""

    value: Loss

    def build(self, data: DataInfo) -> Loss:
        """Return a copy of it."""
        return copy.deepcopy(self.value)


def wrap(kind: type[Step], value: object) -> Step | None:
    """Wrap a ready object as a step; None if it can't be one of that kind."""
    if isinstance(value, Step):
        return value
    if kind is DatasetStep and isinstance(value, Dataset):
        return WrappedDataset(value)
    if isinstance(value, type) or not callable(value):
        return None
    wrappers: dict[type[Step], Callable[[Any], Step]] = {
        TransformStep: WrappedTransform,
        NetworkStep: WrappedNetwork,
        LossStep: WrappedLoss,
    }
    wrapper = wrappers.get(kind)
    return wrapper(value) if wrapper else None
