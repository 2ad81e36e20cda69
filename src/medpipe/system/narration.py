"""Show what medpipe logs, where nobody has set logging up: in scripts and notebooks."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def narrated() -> Iterator[None]:
    """Write the log's lines to standard error while the block runs.

    Where the logger ``medpipe`` or the root has a handler, or that logger a level, nothing is
    changed.
    """
    logger = logging.getLogger("medpipe")
    if logger.hasHandlers() or logger.level != logging.NOTSET:
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
