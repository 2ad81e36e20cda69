"""What export formats share: what a ZIP archive keeps beside a model, and answers by torch."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from medpipe.plugin import Exported

    Array = np.ndarray[Any, np.dtype[Any]]

ABOUT = "medpipe.json"
"""The name of what a file keeps beside its model."""


def about_in_zip(content: bytes) -> Mapping[str, str]:
    """What an archive of PyTorch's keeps beside its model, which is not loaded."""
    from zipfile import ZipFile

    with ZipFile(io.BytesIO(content)) as archive:
        (name,) = [n for n in archive.namelist() if n.rpartition("/")[2] == ABOUT]
        return dict(json.loads(archive.read(name)))


def answers_of(graph: Callable[..., Any]) -> Exported:
    """Answers of a module of torch, as NumPy's arrays."""
    import torch

    def answer(images: Array) -> Mapping[str, Array]:
        with torch.no_grad():
            found = graph(torch.from_numpy(images))
        return {name: value.numpy() for name, value in found.items()}

    return answer
