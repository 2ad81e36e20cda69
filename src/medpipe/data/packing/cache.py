"""Read a packed cache.

A folder below the cache directory holds ``values.bin`` (the arrays one after the other, in C
order, each 64-byte aligned, of any shapes), ``index.npz`` (where each lies, in which type, and
its metadata) and ``about.json``, written last. numpy is imported inside functions.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from contextlib import suppress
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any

from medpipe.data.packing.folders import ABOUT, FORMAT, INDEX, VALUES, hold
from medpipe.data.packing.index import ALIGNMENT, Kind, PackedIndex
from medpipe.errors import RunError
from medpipe.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np


class PackedCache:
    """A packed cache, never changed. Pickles as its path.

    Arrays are read by their places in the file, each time from the pages that the operating
    system holds for all processes. Mapped into memory they would come in a third of the time,
    but the pages would count as the process's own, up to the size of the file; to let go of
    them again and again takes longer than reading.

    Args:
        path: Its folder.

    Raises:
        RunError: There is none, or it is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        held: Callable[[], object] | None = None
        try:
            descriptor = hold(self.path / VALUES)
            if descriptor is not None:
                held = weakref.finalize(self, os.close, descriptor)
            self.about, self._index = _read(self.path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if held is not None:  # not by the error's traceback, however long that lives
                held()
            reason = error.strerror if isinstance(error, OSError) else None
            text = (reason or str(error) or type(error).__name__).lower()
            raise RunError(
                f"The packed cache {self.path} can't be used: {text}. Start the run again: it "
                "will be made anew."
            ) from error
        self._windows: dict[int, np.ndarray[Any, Any]] = {}
        self._descriptor = descriptor

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.path = path
        self._open()

    def __len__(self) -> int:
        return len(self._index.ids)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._index.rows

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' ids, in the order in which they were added."""
        return self._index.ids

    @property
    def sources(self) -> dict[bytes, str]:
        """A sample for each digest of what samples were made from; empty where nobody said."""
        return {row.tobytes(): i for row, i in zip(self._index.sources, self.ids, strict=False)}

    def shape(self, sample_id: str) -> tuple[int, ...]:
        """The shape of a sample's array; nothing is read."""
        return self._kind(sample_id).shape

    def dtype(self, sample_id: str) -> np.dtype[Any]:
        """The number type that a sample's array had when it was added; nothing is read."""
        import numpy as np

        return np.dtype(self._kind(sample_id).original)

    def array(self, sample_id: str) -> np.ndarray[Any, Any]:
        """A copy of a sample's array, in its own number type."""
        row = self._row(sample_id)
        kind = int(self._index.kind_of[row])
        values = self._gathered(kind, self._index.offsets[row : row + 1])[0, ...]
        # What was gathered is a copy already.
        return values.astype(self._index.kinds[kind].original, copy=False)

    def rows(self, sample_ids: Sequence[str]) -> np.ndarray[Any, Any]:
        """The rows of samples, for `stacked`: int64 of shape (samples,)."""
        import numpy as np

        return np.fromiter(map(self._row, sample_ids), np.int64, len(sample_ids))

    def stacked(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        """The arrays of several samples, of shape (samples, ...), in a type that holds them.

        It is the type of the file where they share it, otherwise the one that they had when they
        were added: ``stacked(rows).astype(cache.dtype(cache.ids[rows[0]]))`` are always the exact
        values.

        Args:
            rows: What `rows` gave for the samples, or some of it.

        Returns:
            A copy; None where shapes or original types differ, or where there are no samples.

        Raises:
            RunError: The file became shorter.
        """
        import numpy as np

        if not len(rows):
            return None
        kind_of, offsets = self._index.kind_of[rows], self._index.offsets[rows]
        first = int(kind_of[0])
        if (kind_of == first).all():
            return self._gathered(first, offsets)
        found = [int(number) for number in np.unique(kind_of)]
        one = self._index.kinds[first]
        kinds = [self._index.kinds[number] for number in found]
        if any((kind.shape, kind.original) != (one.shape, one.original) for kind in kinds):
            return None
        batch = np.empty((len(rows), *one.shape), one.original)
        for number in found:
            chosen = kind_of == number
            batch[chosen] = self._gathered(number, offsets[chosen])
        return batch

    def alike(self, rows: np.ndarray[Any, Any]) -> bool:
        """Whether all these samples share shape and types, in the file and originally."""
        kind_of = self._index.kind_of[rows]
        return bool((kind_of == kind_of[:1]).all())

    def meta(self, sample_id: str) -> dict[str, Any]:
        """The metadata of a sample, which the caller may change; arrays are lists."""
        return self._index.meta(self._row(sample_id))

    def touch(self) -> None:
        """Note that the cache is in use, so that it is among the last to be cleared."""
        with suppress(OSError):  # someone else's
            os.utime(self.path / ABOUT)

    def _kind(self, sample_id: str) -> Kind:
        return self._index.kinds[int(self._index.kind_of[self._row(sample_id)])]

    def _row(self, sample_id: str) -> int:
        return self._index.rows[sample_id]

    def _gathered(self, number: int, offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A copy of arrays of one kind, of shape (offsets, ...)."""
        import numpy as np

        if self._descriptor is None or not hasattr(os, "preadv"):
            # A fancy index copies rows out of the overlapping windows; numpy.take would first
            # copy all of them.
            mapped: np.ndarray[Any, Any] = self._window(number)[offsets // ALIGNMENT]
            return mapped
        kind = self._index.kinds[number]
        batch = np.empty((len(offsets), *kind.shape), kind.stored)
        size = batch.nbytes // len(offsets)
        rows = batch.reshape(-1).view(np.uint8).reshape(len(offsets), size)
        places = offsets.tolist()
        # One call for each row, made by `map`: this is most of what a batch costs.
        into: Any = zip(rows)  # as buffers, which mypy does not see in arrays
        counts = list(map(os.preadv, repeat(self._descriptor), into, places))
        for number in [number for number, count in enumerate(counts) if count < size]:
            self._read_rest(rows[number], places[number], counts[number])
        return batch

    def _read_rest(self, row: np.ndarray[Any, Any], place: int, done: int) -> None:
        """Read what one call did not: it gives at most 2 GB, and nothing beyond the file's end."""
        assert self._descriptor is not None
        while done < len(row):
            read = os.preadv(self._descriptor, [row[done:].data], place + done)
            if not read:
                raise RunError(
                    f"{self.path / VALUES} became shorter while it was in use. Start the run "
                    "again: it will be made anew."
                )
            done += read

    @cached_property
    def _mapped(self) -> mmap.mmap:
        """The file in memory, where the operating system can't read it by place (Windows)."""
        with (self.path / VALUES).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _window(self, number: int) -> np.ndarray[Any, Any]:
        """Every place of the file at which an array of this kind could begin, as a view.

        Windows overlap: row n begins at n times the alignment. So one view serves samples that
        lie anywhere, with others between them.
        """
        import numpy as np

        window = self._windows.get(number)
        if window is None:
            kind = self._index.kinds[number]
            stored = np.dtype(kind.stored)
            alone = np.empty(kind.shape, stored)
            count = max(0, len(self._mapped) - alone.nbytes) // ALIGNMENT + 1
            window = np.ndarray(
                (count, *kind.shape), stored, self._mapped, strides=(ALIGNMENT, *alone.strides)
            )
            self._windows[number] = window
        return window


def _read(path: Path) -> tuple[dict[str, Any], PackedIndex]:
    """What is said about a cache and its index, checked."""
    about = json.loads((path / ABOUT).read_text("utf-8"))
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']!r}, and {FORMAT} is the one known")
    size = (path / VALUES).stat().st_size
    if size != about["values_bytes"]:
        raise ValueError(f"{VALUES} has {size} bytes instead of {about['values_bytes']}")
    content = (path / INDEX).read_bytes()
    if sha256_of(content) != about["index_sha256"]:
        raise ValueError(f"{INDEX} was changed")
    return about, PackedIndex.from_bytes(content)
