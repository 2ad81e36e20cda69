"""Show what medpipe logs, where nobody has set logging up: in scripts and notebooks."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medpipe.system.notebook import NotebookLog, in_notebook
from medpipe.system.progress import progress_mode

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def narrated() -> Iterator[None]:
    """Write the log's lines to standard error, or below a notebook's cell, while the block runs.

    Where the logger ``medpipe`` or the root has a handler, or that logger a level, or where
    ``MEDPIPE_PROGRESS`` is ``off``, nothing is changed. Of several processes the first narrates.
    """
    # Ignite logs an error twice on its way, and without a handler Python would print that.
    ignite = logging.getLogger("ignite")
    if not ignite.handlers:
        ignite.addHandler(logging.NullHandler())
    logger, mode = logging.getLogger("medpipe"), progress_mode()
    if mode == "off" or logger.hasHandlers() or logger.level != logging.NOTSET:
        yield
        return
    notebook = mode == "auto" and in_notebook()
    handler = NotebookLog() if notebook else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
