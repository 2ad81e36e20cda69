"""Decode image files: one reader for the scan, for training and for prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.steps import Reading

if TYPE_CHECKING:
    import os

    import numpy as np


def read_image(
    path: str | os.PathLike[str], reading: Reading = Reading()
) -> np.ndarray[Any, Any]:
    """Decode one image file."""
    raise NotImplementedError
