"""`Truths`: the labels of a segmentation as they are measured, on the grids of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.readers.labels import read_label
from medpipe.steps import LabelImage, Reading

if TYPE_CHECKING:
    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.steps import Sample

KEPT_BYTES = 1 << 28
"""Bytes of labels that are kept between evaluations."""


class Truths:
    """The labels of samples on the grids of their files; a few are kept.

    Args:
        reading: How the files of the samples are decoded.
    """

    def __init__(self, reading: Reading = Reading()) -> None:
        self._reading = reading
        self._kept: dict[str, Any] = {}
        self._bytes = 0

    def of(self, sample: Sample, grid: FileGrid) -> Any:
        """uint8 of shape (channels, spatial...); 255 counts nowhere."""
        found = self._kept.get(sample.id)
        if found is None:
            assert isinstance(sample.label, LabelImage)
            found = grid.of_file(read_label(sample.label, None, self._reading, of=sample.image))
            if self._bytes + found.nbytes <= KEPT_BYTES:
                self._kept[sample.id] = found
                self._bytes += found.nbytes
        return found
