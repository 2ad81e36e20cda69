"""Checkpoint files: tensors as safetensors, everything else as JSON in the header.

Every part has its SHA-256 in the file, and is compared with it before anything is used. Nothing is
ever unpickled. Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from medpipe.errors import CheckpointError, RunError
from medpipe.system import file_errors, files
from medpipe.system.plain_numbers import plain_number

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "2"
"""How the file is laid out; 1 had no digests."""
STATE, ABOUT = "state", "about"
_SCHEMA, _DIGESTS = "medpipe", "sha256"
_TENSOR = "$tensor"
_PAIRS = "$pairs"
_TUPLE = "$tuple"


def save_checkpoint(
    path: Path, state: Mapping[str, Any], *, about: Mapping[str, Any], keep: Path | None = None
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file.
        state: Objects with ``state_dict``, by name.
        about: What else to keep with them, such as the epoch and its metrics; plain data.
        keep: Where the one before it stays.

    Raises:
        RunError: The file can't be written, or the state holds what is neither a tensor nor
            plain data.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = {name: _pack(item.state_dict(), name, tensors) for name, item in state.items()}
    header = {_SCHEMA: SCHEMA, STATE: json.dumps(plain), ABOUT: json.dumps(about)}
    header[_DIGESTS] = json.dumps(_digests(header, tensors))
    files.write_bytes(path, save(tensors, metadata=header), keep=keep)


class Tensors:
    """Tensors by name, as an object with a state.

    Args:
        state: The tensors.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def state_dict(self) -> Mapping[str, Any]:
        """The tensors."""
        return self._state


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint, once every part of it is seen to be what was written.

    Returns:
        The state dictionaries by name, and what was kept with them.

    Raises:
        RunError: The file is not there, can't be read, or is of another version of medpipe.
        CheckpointError: It is damaged; the error names the part.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"There is no checkpoint {path}.") from error
    except OSError as error:
        raise RunError(file_errors.failure(path, "read", error)) from error
    try:
        tensors = load(content)
        header = header_of(content)
        verify(path, header, tensors)
        plain, about = json.loads(header[STATE]), json.loads(header[ABOUT])
        return {name: _unpack(item, tensors) for name, item in plain.items()}, about
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {_line(error)}.") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} is damaged: its header is nested too deeply.") from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} is damaged: its header is not as medpipe writes it "
            f"({type(error).__name__}: {_line(error)})."
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


_UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, RuntimeError)
"""What may come of a header that says something else than what was written."""


def header_of(content: bytes) -> dict[str, str]:
    """What a safetensors file says beside its tensors; empty where it says nothing.

    Raises:
        ValueError: It is no such file.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(header.get("__metadata__") or {})


def is_checkpoint(header: Mapping[str, str]) -> bool:
    """Whether a file's header is that of a checkpoint of medpipe."""
    return {STATE, ABOUT} <= header.keys()


def verify(path: Path, header: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> None:
    """See that every part is what was written.

    Raises:
        RunError: It is of another version of medpipe.
        CheckpointError: It is damaged; the error names the part.
    """
    schema = header.get(_SCHEMA)
    if schema != SCHEMA:
        if not is_checkpoint(header):
            raise CheckpointError(
                f"{path} is not a checkpoint of medpipe, or its header is damaged."
            )
        raise RunError(
            f"{path} is a checkpoint of version {schema or 1}, and this medpipe reads version "
            f"{SCHEMA}. Resume with the medpipe that wrote it, or begin a new run."
        )
    written, found = json.loads(header[_DIGESTS]), _digests(header, tensors)
    differ = [
        name for name in dict.fromkeys([*written, *found]) if written.get(name) != found.get(name)
    ]
    if differ:
        more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
        raise CheckpointError(
            f"{path} is damaged: {differ[0]!r}{more} does not have the SHA-256 that was written."
        )


def _digests(header: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The SHA-256 of every part, by its name; a tensor's with its type and shape."""
    digests = {f"${name}": files.sha256_of(header[name].encode()) for name in (STATE, ABOUT)}
    for name, tensor in sorted(tensors.items()):
        digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        digests[name] = digest.hexdigest()
    return digests


def on_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dictionary of a network as it is now, with tensors of its own on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


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
    value = plain_number(value)
    if isinstance(value, Mapping):
        # Optimizers have whole numbers for keys, which JSON would turn into text.
        return {
            _PAIRS: [
                [plain_number(key), _pack(item, f"{path}.{key}", tensors)]
                for key, item in value.items()
            ]
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
