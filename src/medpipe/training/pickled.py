"""The one door for pickled files: tensors out of what `torch.save` wrote, as safetensors.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from medpipe import files
from medpipe.errors import DataError, RunError
from medpipe.training.weights_problems import listed

if TYPE_CHECKING:
    from pathlib import Path

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Where checkpoints have a network's state dictionary."""

_SAFELY = (
    "Write it again where its code is trusted, with tensors alone: "
    "torch.save(net.state_dict(), 'weights.pth')"
)


@attrs.frozen(kw_only=True)
class Imported:
    """What was taken from a pickled file.

    Attributes:
        path: The safetensors file.
        names: Of its tensors.
        left_out: What stood beside them and is no tensor.
        size: Of the file, in bytes.
        sha256: Of its bytes.
        written: False where the file was there already, with the same content.
    """

    path: Path
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    size: int
    sha256: str
    written: bool


def import_pickled(
    source: Path, out: Path, *, key: str | None = None, overwrite: bool = False
) -> Imported:
    """Take the tensors out of a file of `torch.save` and write them as safetensors.

    The file is read by ``torch.load(weights_only=True)``: no code in it is run, and what is
    neither a tensor nor plain data is refused.

    Args:
        source: The pickled file.
        out: The file to write.
        key: Where in it the state dictionary is, such as ``model`` or ``ema.state_dict``; by
            default at the top or under one of `USUAL_KEYS`.
        overwrite: Write also where `out` holds something else.

    Raises:
        DataError: The file can't be read, needs code to be read, or has no tensors there.
        RunError: `out` holds something else, or can't be written.
    """
    table = _at(_read(source), key, source)
    if out.exists() and out.samefile(source):
        raise RunError(f"{out} is the pickled file itself. Choose another --out.")
    if out.is_dir():
        raise RunError(f"{out} is a folder. Name a file in it with --out.")
    if out.suffix != ".safetensors":
        raise RunError(f"{out} would be a safetensors file: let its name end in .safetensors.")
    taken = {name: item for name, item in table.items() if _is_tensor(name, item)}
    left_out = tuple(str(name) for name in table if name not in taken)
    tensors = {name: _plain(name, tensor, source) for name, tensor in taken.items()}
    content = save(tensors, metadata={"format": "pt"})
    same = out.is_file() and out.read_bytes() == content
    if out.exists() and not same and not overwrite:
        raise RunError(
            f"{out} holds something else already. Choose another --out, or give --overwrite."
        )
    if not same:
        files.write_bytes(out, content)
    return Imported(
        path=out,
        names=tuple(tensors),
        left_out=left_out,
        size=len(content),
        sha256=files.sha256_of(content),
        written=not same,
    )


def _read(source: Path) -> object:
    try:
        content = source.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {source}.") from error
    except OSError as error:
        raise DataError(f"{source} can't be read: {files.reason(error)}.") from error
    if _is_safetensors(content):
        raise DataError(
            f"{source} is a safetensors file already: name it as weights.file, as it is."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file may raise
        raise DataError(_refusal(source, error)) from error


def _refusal(source: Path, error: Exception) -> str:
    """Why a file was not read, in words."""
    text = str(error)
    # torch names the first class or function that the file wants and may not have.
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if wanted:
        return (
            f"{source} is refused: it wants {wanted[1]}, which is neither a tensor nor plain data, "
            f"and to make that would run code. {_SAFELY}."
        )
    if "TorchScript" in text:
        return (
            f"{source} is refused: it is a TorchScript archive, which holds code. Write its "
            f"tensors alone: torch.save(torch.jit.load({str(source)!r}).state_dict(), "
            "'weights.pth')."
        )
    if isinstance(error, UnpicklingError):
        return (
            f"{source} is no whole file of torch.save, or holds more than tensors and plain data. "
            f"{_SAFELY}."
        )
    return f"{source} is no whole file of torch.save. Get it again."


def _is_safetensors(content: bytes) -> bool:
    if content[8:9] != b"{":
        return False
    try:
        load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError):
        return False
    return True


def _at(content: object, key: str | None, source: Path) -> Mapping[Any, Any]:
    """The state dictionary, at the key or where it usually is."""
    found = dict(_tables(content))
    if not found:
        raise DataError(f"{source} holds no tensors by name. {_SAFELY}.")
    places = listed(repr(name) if name else "the top, without --key" for name in found)
    there = f"There are some at {places}"
    if key is not None and key not in found:
        raise DataError(f"{source} has no tensors by name at {key!r}. {there}.")
    usual = [name for name in (*USUAL_KEYS, "") if name in found]
    if key is None and (not usual or len(set(usual) - {""}) > 1):
        raise DataError(
            f"{source} has tensors by name {'at several places' if usual else 'elsewhere'}. "
            f"{there}: choose one with --key."
        )
    return found[usual[0] if key is None else key]


def _tables(content: object, path: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The tables that hold tensors by name, with where they are; not those inside of these."""
    if not isinstance(content, Mapping):
        return
    if any(_is_tensor(name, item) for name, item in content.items()):
        yield path, content
        if path:
            return
    for name, item in content.items():
        if isinstance(name, str):
            yield from _tables(item, f"{path}.{name}" if path else name)


def _is_tensor(name: object, item: object) -> bool:
    return isinstance(name, str) and isinstance(item, torch.Tensor)


def _plain(name: str, tensor: torch.Tensor, source: Path) -> torch.Tensor:
    """A tensor with memory of its own, as safetensors has it."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise DataError(
            f"{source} has a tensor that is not a plain one: {name} is "
            f"{'on the meta device' if tensor.is_meta else kind}. {_SAFELY}."
        )
    return tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
