"""Compute a network's activations again in the backward pass, instead of keeping them.

After Chen et al. (2016, arXiv:1604.06174), and for DenseNet Pleiss et al. (2017,
arXiv:1707.06990). Heavy things are imported inside functions.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from medpipe.plugin import DataError, MedpipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import torch
    from torch import nn


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """Find the blocks that a network repeats, such as the layers of a dense block.

    A block is a module with modules of its own, of a class that the network has more than once
    at the same depth; containers don't count as depth, and what lies in a block is none. Smaller
    pieces would save less, and larger ones, such as a whole dense block, would be there at once
    when they are computed again.

    Raises:
        DataError: It repeats none.
    """
    blocks: list[nn.Module] = []
    level = [network]
    while level:
        # Once each: a network may hold a module in two places.
        found = list(dict.fromkeys(part for module in level for part in _parts(module)))
        count = Counter(type(part) for part in found)
        blocks += [part for part in found if count[type(part)] > 1]
        level = [part for part in found if count[type(part)] == 1]
    if not blocks:
        raise DataError(
            f"trainer.recompute finds no repeated blocks in the {type(network).__name__}. "
            "Set it to false, and loader.batch_size lower, with trainer.accumulation to make up "
            "for it."
        )
    return blocks


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in a module that have modules of their own, through containers of such."""
    from torch import nn

    for child in module.children():
        inner = list(child.children())
        if isinstance(child, (nn.Sequential, nn.ModuleList, nn.ModuleDict)) and any(
            list(part.children()) for part in inner
        ):
            yield from _parts(child)
        elif inner:
            yield child


@contextmanager
def recomputing(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Let what blocks compute in this context be computed again in its backward pass.

    The network's classes, hooks and names stay as they are, and after the context its blocks are
    as before. Random numbers and buffers, such as running statistics, are in the second
    computation what they were in the first, and change once.

    Args:
        blocks: None of them in another.
    """
    with ExitStack() as undo:
        for block in blocks:
            plain = block.forward
            own = vars(block).get("forward")
            if own is None:
                undo.callback(delattr, block, "forward")
            else:  # of a script that has put its own in place
                undo.callback(setattr, block, "forward", own)
            block.forward = partial(_twice, block, plain)
        yield


def _twice(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    import torch
    from torch.utils.checkpoint import checkpoint

    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    tensors = [value for value in (*inputs, *options.values()) if isinstance(value, torch.Tensor)]
    versions = [tensor._version for tensor in tensors]
    output = checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        context_fn=partial(_contexts, block),
        **options,
    )
    if versions != [tensor._version for tensor in tensors]:
        raise MedpipeError(
            f"A {type(block).__name__} changes its input in place, so that it can't be computed "
            "again. Set trainer.recompute = false, or let it change a copy."
        )
    return output


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What the first and the second computation of a block run in."""
    before = [
        (module, name, buffer.clone())
        for module in block.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    return nullcontext(), _with_buffers(before)


@contextmanager
def _with_buffers(values: list[tuple[nn.Module, str, torch.Tensor]]) -> Iterator[None]:
    """Put other tensors in the place of buffers for a while."""
    own = [(module, name, module._buffers[name]) for module, name, _ in values]
    try:
        for module, name, value in values:
            module._buffers[name] = value
        yield
    finally:
        for module, name, buffer in own:
            module._buffers[name] = buffer
