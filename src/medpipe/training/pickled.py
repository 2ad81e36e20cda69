"""Convert files of `torch.save` to safetensors.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from medpipe.errors import DataError, RunError
from medpipe.system import file_errors, files
from medpipe.system.options import option
from medpipe.training.inert import Placeholder, load_inert
from medpipe.training.layouts import Recognised, recognise
from medpipe.training.weights_problems import listed

if TYPE_CHECKING:
    from pathlib import Path

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "network", "network_weights", "net")
"""Where checkpoints have a network's state dictionary."""
WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""What DistributedDataParallel, torch.compile and Lightning modules put in front of the names."""

DEEPEST = 6
"""So many tables within each other are looked into."""

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
        key: Where in the file they were; empty at the top.
        left_out: What stood among them and is no tensor.
        beside: What else the file held, with the class of what is no plain data.
        others: Where else it has tensors by name that could be a network's.
        size: Of the file, in bytes.
        sha256: Of its bytes.
        written: False where the file was there already, with the same content.
        layout: The built-in network that they are of; None where they are of another.
    """

    path: Path
    names: tuple[str, ...]
    key: str
    left_out: tuple[str, ...]
    beside: tuple[str, ...]
    others: tuple[str, ...]
    size: int
    sha256: str
    written: bool
    layout: Recognised | None

    @property
    def wrappers(self) -> tuple[str, ...]:
        """What most names begin with because the network was wrapped, from the front."""
        found: list[str] = []
        names = self.names
        while True:
            mine = [w for w in WRAPPERS if 2 * sum(n.startswith(w) for n in names) > len(names)]
            if not mine:
                return tuple(found)
            found += mine[:1]
            names = tuple(name.removeprefix(mine[0]) for name in names)


def import_pickled(
    source: Path, out: Path, *, key: str | None = None, overwrite: bool = False
) -> Imported:
    """Take the tensors out of a file of `torch.save` and write them as safetensors.

    No code in the file is run: what is neither a tensor nor plain data, such as the settings and
    callbacks of a training, is left out; see `medpipe.training.inert`.

    Args:
        source: The pickled file.
        out: The file to write.
        key: Where in it the state dictionary is, such as ``model`` or ``ema.state_dict``; by
            default under one of `USUAL_KEYS`, or where there is but one.
        overwrite: Write also where `out` holds something else.

    Raises:
        DataError: The file can't be read, or has no tensors there.
        RunError: `out` holds something else, or can't be written.
    """
    content = _read(source)
    found = dict(_tables(content))
    place = _place(found, key, source, content)
    table = found[place]
    mode = file_errors.mode_of(out)
    if mode and out.samefile(source):
        raise RunError(f"{out} is the pickled file itself. Choose another with {option('out')}.")
    if stat.S_ISDIR(mode):
        raise RunError(f"{out} is a folder. Name a file in it with {option('out')}.")
    if out.suffix != ".safetensors":
        raise RunError(f"{out} would be a safetensors file: let its name end in .safetensors.")
    taken = {name: item for name, item in table.items() if _is_tensor(name, item)}
    odd = [(name, item.named) for name, item in table.items() if _is_odd_tensor(item)]
    if odd:
        raise DataError(
            f"{source} has a tensor that is not a plain one: {odd[0][0]} is made by {odd[0][1]}. "
            f"{_SAFELY}."
        )
    left_out = tuple(str(name) for name in table if name not in taken)
    tensors = {name: _plain(name, tensor, source) for name, tensor in taken.items()}
    written = save(tensors, metadata={"format": "pt"})
    same = stat.S_ISREG(mode) and _holds(out, written)
    if mode and not same and not overwrite:
        raise RunError(
            f"{out} holds something else already. Choose another with {option('out')}, or give "
            f"{option('overwrite', True)}."
        )
    if not same:
        files.write_bytes(out, written)
    return Imported(
        path=out,
        names=tuple(tensors),
        key=place,
        left_out=left_out,
        beside=_beside(content, place),
        others=tuple(name for name in found if name != place and _is_network(found[name])),
        size=len(written),
        sha256=files.sha256_of(written),
        written=not same,
        layout=recognise({name: tuple(tensor.shape) for name, tensor in tensors.items()}),
    )


def _read(source: Path) -> object:
    try:
        content = source.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {source}.") from error
    except OSError as error:
        raise DataError(f"{source} can't be read: {file_errors.reason(error)}.") from error
    if _is_safetensors(content):
        raise DataError(
            f"{source} is a safetensors file already: name it as weights.file, as it is."
        )
    if _is_torchscript(content):
        raise DataError(
            f"{source} is refused: it is a TorchScript archive, which holds code. Write its "
            f"tensors alone: torch.save(torch.jit.load({str(source)!r}).state_dict(), "
            "'weights.pth')."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Exception):  # what wants more is read with placeholders
            return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        try:
            return load_inert(BytesIO(content))
        except Exception as error:  # whatever a damaged or hostile file may raise
            raise DataError(
                f"{source} is no whole file of torch.save. Get it again. {_SAFELY}."
            ) from error


def _is_torchscript(content: bytes) -> bool:
    """Whether it is an archive with code, which torch would run."""
    try:
        names = zipfile.ZipFile(BytesIO(content)).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names)


def _is_safetensors(content: bytes) -> bool:
    if content[8:9] != b"{":
        return False
    try:
        load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError):
        return False
    return True


def _place(
    found: Mapping[str, Mapping[Any, Any]], key: str | None, source: Path, content: object
) -> str:
    """Where the state dictionary is: at the key, where it usually is, or where there is but one."""
    if not found:
        classes = sorted({item.named for item in _placeholders(content)})
        held = f" but objects of {listed(classes, 3)}" if classes else ""
        raise DataError(f"{source} holds no tensors by name{held}. {_SAFELY}.")
    places = listed(repr(name) if name else f"the top, without {option('key')}" for name in found)
    there = f"There are some at {places}"
    if key is not None:
        if key not in found:
            raise DataError(f"{source} has no tensors by name at {key!r}. {there}.")
        return key
    usual = [name for name in USUAL_KEYS if name in found]
    networks = [name for name in found if _is_network(found[name])]
    for some in (usual, networks, list(found)):
        if len(some) == 1:
            return some[0]
        if some:
            break
    if not usual and "" in found:
        return ""
    raise DataError(
        f"{source} has tensors by name at several places. {there}: choose one with {option('key')}."
    )


def _is_network(table: Mapping[Any, Any]) -> bool:
    """Whether a table may be a network's: a score and the like are single numbers."""
    return any(_is_tensor(name, item) and item.ndim > 0 for name, item in table.items())


def _beside(content: object, place: str) -> tuple[str, ...]:
    """What a file holds at the top beside the state dictionary."""
    if not isinstance(content, Mapping) or not place:
        return ()
    mine = place.split(".")[0]
    return tuple(
        f"{name} ({item.named})" if isinstance(item, Placeholder) and item.named else str(name)
        for name, item in content.items()
        if name != mine
    )


def _placeholders(content: object) -> list[Placeholder]:
    some = list(content.values()) if isinstance(content, Mapping) else []
    return [item for item in (content, *some) if isinstance(item, Placeholder) and item.named]


def _holds(path: Path, content: bytes) -> bool:
    with suppress(OSError):  # what can't be read is something else
        return path.read_bytes() == content
    return False


def _tables(
    content: object, path: str = "", depth: int = DEEPEST
) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The tables that hold tensors by name, with where they are; not those inside of these."""
    if not isinstance(content, Mapping) or not depth:  # a table may hold itself
        return
    if any(_is_tensor(name, item) for name, item in content.items()):
        yield path, content
        if path:
            return
    for name, item in content.items():
        if isinstance(name, str):
            yield from _tables(item, f"{path}.{name}" if path else name, depth - 1)


def _is_tensor(name: object, item: object) -> bool:
    return isinstance(name, str) and isinstance(item, torch.Tensor)


def _is_odd_tensor(item: object) -> bool:
    """Whether it would have been a tensor of another kind: a quantized or a sparse one."""
    return isinstance(item, Placeholder) and item.named.startswith("torch._utils._rebuild")


def _plain(name: str, tensor: torch.Tensor, source: Path) -> torch.Tensor:
    """A tensor with memory of its own, as safetensors has it."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise DataError(
            f"{source} has a tensor that is not a plain one: {name} is "
            f"{'on the meta device' if tensor.is_meta else kind}. {_SAFELY}."
        )
    return tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
