"""Pause the garbage collector while many objects are made."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the garbage collector while the block makes many objects that stay alive.

    With monai imported there are two million objects: a collection takes a third of a second.
    Listing 59,000 samples triggers several, and making the classes of a hundred steps often one.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
