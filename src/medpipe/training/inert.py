"""Read a pickle without running its code: what is no tensor becomes a placeholder.

A pickle names functions and classes, and calls them. Here each name gives one of a few functions
that put tensors together, or a placeholder that takes whatever it is given and does nothing. So a
checkpoint can be read that holds a `Namespace`, a callback or a NumPy number beside its weights,
and a hostile one runs nothing either.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import pickle
import types
from collections import OrderedDict
from typing import Any, NoReturn

import torch

from medpipe.system.private_api import SUBCLASS_MAKER, tensor_makers


class Placeholder(dict[Any, Any]):
    """Stands for an object of a class that is not loaded; it keeps items and does nothing.

    It is a dictionary, since weights may lie in one of a class of its own.
    """

    named = ""

    def __new__(cls, *_: object, **__: object) -> Placeholder:
        """Take any arguments, and keep none."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        """Keep nothing."""

    def append(self, _: object) -> None:
        """Keep nothing, as for a list of its own class."""

    def extend(self, _: object) -> None:
        """Keep nothing."""

    def add(self, _: object) -> None:
        """Keep nothing, as for a set."""

    def __hash__(self) -> int:  # type: ignore[override]  # it may be a key in another dictionary
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> NoReturn:
        raise TypeError("a placeholder can't be pickled")


def _placeholder(module: str, name: str) -> type[Placeholder]:
    return type("Placeholder", (Placeholder,), {"named": f"{module}.{name}"})


def _of_subclass(make: Any, _: object, arguments: tuple[Any, ...], __: object) -> Any:
    """Make a tensor of a subclass, without the subclass and its state."""
    return make(*arguments) if make in _MAKERS.values() else Placeholder()


_MAKERS = tensor_makers()
_ALLOWED: dict[tuple[str, str], Any] = {
    **_MAKERS,
    SUBCLASS_MAKER: _of_subclass,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "UntypedStorage"): torch.UntypedStorage,
    ("torch.storage", "UntypedStorage"): torch.UntypedStorage,
}
"""All that is ever called: it makes tensors of numbers, and dictionaries."""


class _Unpickler(pickle.Unpickler):
    """Finds nothing but what is in `_ALLOWED`; torch's own subclass finds types of storages."""

    def find_class(self, module: str, name: str, /) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is not None:
            return allowed
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _placeholder(module, name)


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def load_inert(content: Any) -> Any:
    """Read what `torch.save` wrote, on the CPU, with placeholders for what is no plain data.

    Args:
        content: The file, in memory: it must not be a TorchScript archive.
    """
    reader: Any = types.ModuleType("medpipe_inert")
    reader.Unpickler, reader.load = _Unpickler, _load
    reader.UnpicklingError = pickle.UnpicklingError
    return torch.load(content, map_location="cpu", weights_only=False, pickle_module=reader)
