"""Reuse the memory of a training step for the next, on CPUs under Linux.

glibc gives large blocks back to the system as soon as they are freed, and takes them anew in the
next step, page by page. What is computed does not change.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from ignite.engine import Engine

# The numbers of mallopt's parameters, from glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
MMAP_MAX = -4

NEVER = -1
MIB = 2**20

KEEPING = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER))
"""No block has a mapping of its own, and what is freed at the end is not given back."""

MAPPING = ((MMAP_THRESHOLD, 8 * MIB), (MMAP_MAX, 65536))
"""A large block for which there is no room among what is kept has a mapping of its own."""

USUAL = ((MMAP_MAX, 65536), (MMAP_THRESHOLD, 32 * MIB), (TRIM_THRESHOLD, 64 * MIB))
"""What glibc comes to by itself in a process that has freed a block of 32 MiB: its default of
128 KiB grows with the blocks that are freed. A call of mallopt ends this growth, and the
default itself would leave the process slower than it was."""

OWN_SETTINGS = (
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
OTHER_ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")

_lock = threading.Lock()
_open_blocks = 0


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Keep memory that is freed in the block for what is allocated next.

    It does something on a CPU under glibc alone, and nothing where the environment has
    settings of its own for glibc's malloc or puts another allocator in its place. After the
    outermost block glibc maps large blocks again, and what is free is given back.

    Args:
        device: Where the block computes.
    """
    if device.type != "cpu" or not _is_ours():
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def follow_steps(engine: Engine) -> None:
    """Let what an engine's steps keep not grow beyond what a forward pass takes.

    In the backward pass large blocks are freed between small ones and taken in other sizes, so
    that there is often no room for them: what they take beside the rest is given back as it is
    freed. The first step leaves the optimizer's state amid what is free: so all of that is given
    back once, and the next step takes what it needs. It does something within `kept_memory` alone.

    Args:
        engine: An engine that has not run yet. Without MONAI's iteration events the end of its
            forward passes is not known, and only the first step's memory is given back.
    """
    from ignite.engine import Events
    from monai.engines.utils import IterationEvents

    def give_back() -> None:
        engine.remove_event_handler(give_back, Events.ITERATION_COMPLETED)
        _while_kept(_trim)

    engine.add_event_handler(Events.ITERATION_COMPLETED, give_back)
    with suppress(ValueError):  # it is not one of its events
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, lambda: _while_kept(_set, MAPPING))
        engine.add_event_handler(Events.ITERATION_STARTED, lambda: _while_kept(_set, KEEPING))


def give_back() -> None:
    """Give what is freed back to the system, where glibc would keep it: after a network is."""
    if _is_glibc():
        _trim()


def _enter() -> None:
    global _open_blocks
    with _lock:
        _open_blocks += 1
        if _open_blocks == 1:
            _set(KEEPING)


def _leave() -> None:
    global _open_blocks
    with _lock:
        _open_blocks -= 1
        if _open_blocks == 0:
            _set(USUAL)
            _trim()


def _while_kept(do: Callable[..., None], *arguments: Any) -> None:
    """Do something if memory is kept."""
    with _lock:
        if _open_blocks:
            do(*arguments)


def _trim() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _set(options: tuple[tuple[int, int], ...]) -> None:
    library = ctypes.CDLL(None)
    for option, value in options:
        library.mallopt(option, value)


def _is_ours() -> bool:
    """Whether memory comes from glibc with its default settings."""
    environment = os.environ
    preloaded = environment.get("LD_PRELOAD", "")
    return (
        _is_glibc()
        and not any(name in environment for name in OWN_SETTINGS)
        and "glibc.malloc." not in environment.get("GLIBC_TUNABLES", "")
        and not any(name in preloaded for name in OTHER_ALLOCATORS)
    )


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
