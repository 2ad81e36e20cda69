"""Map the values of a packed cache into memory while batches come fast.

numpy and torch are imported inside functions.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medpipe.data.cache.index import ALIGNMENT

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

OFTEN = 0.05
"""Seconds from one batch to the next up to which they count as quick."""
IN_A_ROW = 3
"""How many batches at another pace than those before count as a change of pace."""
SHARE = 1 / 8
"""The share of the machine's memory up to which a file may be mapped."""


class Pace:
    """Measures whether batches are requested so fast that reading them is much of the time.

    Attributes:
        quick: Whether the last batches were.
    """

    def __init__(self) -> None:
        self.quick = False
        self._otherwise = 0
        self._ended = float("-inf")

    def begin(self) -> bool:
        """Note that a batch is requested; return `quick`."""
        often = time.perf_counter() - self._ended < OFTEN
        self._otherwise = self._otherwise + 1 if often != self.quick else 0
        if self._otherwise == IN_A_ROW:
            self.quick, self._otherwise = often, 0
        return self.quick

    def end(self) -> None:
        """The batch was read."""
        self._ended = time.perf_counter()


class MappedValues:
    """The file of a cache in memory, from which rows are copied without a call for each.

    Args:
        path: The file.
        descriptor: Of the open file, if it is open.
        size: Its bytes.
    """

    def __init__(self, path: Path, descriptor: int | None, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._bytes = size
        self._windows: dict[int, torch.Tensor] = {}

    @cached_property
    def fits(self) -> bool:
        """Whether the file can be mapped, and is small enough to count as the process's memory."""
        try:
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            return self._bytes <= memory * SHARE and len(self._mapped) >= self._bytes
        except (AttributeError, ValueError, OSError):  # Windows; an empty file; a file system
            return False

    @property
    def whole(self) -> bool:
        """Whether the file is as long as it was: to read beyond its end would end the process."""
        return self._descriptor is None or os.fstat(self._descriptor).st_size >= self._bytes

    def taken(self, offsets: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        """A copy of the bytes at several places: uint8 of shape (offsets, size)."""
        import torch

        # By torch's threads; numpy has but one.
        rows = torch.index_select(self._window(size), 0, torch.from_numpy(offsets // ALIGNMENT))
        taken: np.ndarray[Any, Any] = rows.numpy()
        return taken

    def let_go(self) -> None:
        """Release the pages of the file, so that none counts as the process's memory."""
        if "_mapped" in self.__dict__ and hasattr(mmap, "MADV_DONTNEED"):
            with suppress(OSError):
                self._mapped.madvise(mmap.MADV_DONTNEED)

    @cached_property
    def _mapped(self) -> mmap.mmap:
        if self._descriptor is not None:
            return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        with self._path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _window(self, size: int) -> torch.Tensor:
        """Every place of the file at which so many bytes could begin, as a view.

        Windows overlap: row n begins at n times the alignment. So one view serves samples that
        lie anywhere, with others between them.
        """
        import warnings

        import numpy as np
        import torch

        window = self._windows.get(size)
        if window is None:
            count = max(0, len(self._mapped) - size) // ALIGNMENT + 1
            places = np.ndarray((count, size), np.uint8, self._mapped, strides=(ALIGNMENT, 1))
            with warnings.catch_warnings():  # torch warns that the tensor is read-only
                warnings.simplefilter("ignore")
                window = torch.from_numpy(places)
            self._windows[size] = window
        return window
