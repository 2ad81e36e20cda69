"""Checkpoints: tensors in one safetensors file, everything else as JSON in its header.

Nothing is ever unpickled. Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from medpipe import files
from medpipe.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

_TENSOR = "$tensor"
_PAIRS = "$pairs"
_TUPLE = "$tuple"


def save_checkpoint(path: Path, state: Mapping[str, Any], *, about: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file.
        state: Objects with ``state_dict``, by name.
        about: What else to keep with them, such as the epoch and its metrics; plain data.

    Raises:
        RunError: The file can't be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = {name: _pack(item.state_dict(), name, tensors) for name, item in state.items()}
    header = {"state": json.dumps(plain), "about": json.dumps(about)}
    files.write_bytes(path, save(tensors, metadata=header))


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint.

    Returns:
        The state dictionaries by name, and what was kept with them.

    Raises:
        RunError: The file is not there, or is no whole checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        plain, about = json.loads(header["state"]), json.loads(header["about"])
        return {name: _unpack(item, tensors) for name, item in plain.items()}, about
    except FileNotFoundError as error:
        raise RunError(f"There is no checkpoint {path}.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"{path} is no whole medpipe checkpoint: {error}.") from error


class Gradients:
    """The gradients of a network, for a checkpoint in the middle of their accumulation.

    Args:
        network: The network.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The gradients that are there, by their parameters' names."""
        named = self._network.named_parameters()
        return {name: value.grad for name, value in named if value.grad is not None}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for name, parameter in self._network.named_parameters():
            gradient = state.get(name)
            parameter.grad = None if gradient is None else gradient.to(parameter.device)


def _pack(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Plain data with a reference where a tensor was."""
    if isinstance(value, torch.Tensor):
        # A copy for itself: safetensors refuses tensors that share memory.
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        # Optimizers have whole numbers for keys, which JSON would turn into text.
        return {
            _PAIRS: [[key, _pack(item, f"{path}.{key}", tensors)] for key, item in value.items()]
        }
    if isinstance(value, (list, tuple)):
        packed = [_pack(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return {_TUPLE: packed} if isinstance(value, tuple) else packed
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise RunError(
        f"The checkpoint can't hold {path}: a {type(value).__name__} is neither a tensor nor "
        "plain data. Leave it out of the trainer's state."
    )


def _unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_unpack(item, tensors) for item in value[_TUPLE])
    return {key: _unpack(item, tensors) for key, item in value[_PAIRS]}
