"""Pause the garbage collector while many objects are made."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def paused_collector() -> Iterator[None]:
    """Make many small objects that all live on, without the collector walking through them.

    With monai imported there are two million objects: each walk takes a third of a second. To list
    59,000 samples sets off several, and to make the classes of a hundred steps often one.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
