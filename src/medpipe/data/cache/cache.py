"""Read a packed cache.

A folder below the cache directory holds ``values.bin`` (the arrays one after the other, in C
order, each 64-byte aligned, of any shapes), ``index.npz`` (where each lies, in which type, and
its metadata) and ``about.json``, written last. numpy is imported inside functions.
"""

from __future__ import annotations

import json
import math
import os
import weakref
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.cache.folders import ABOUT, FORMAT, INDEX, VALUES, hold
from medpipe.data.cache.index import Kind, PackedIndex
from medpipe.data.cache.mapped import MappedValues, Pace
from medpipe.errors import RunError
from medpipe.system.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np


class PackedCache:
    """A read-only packed cache. Pickles as its path.

    Arrays are read from the operating system's page cache, which all processes share, so that
    they don't count as the process's memory. While batches follow each other within 50 ms, as
    they do without training, the file is mapped into memory: batches take a third of the time,
    and the pages count as the process's until batches come slowly again. A file that would take
    more than an eighth of the machine's memory is never mapped.

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
        self._descriptor = descriptor
        self._mapped = MappedValues(self.path / VALUES, descriptor, int(self.about["values_bytes"]))
        self._pace = Pace()

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.path = path
        self._open()

    def __len__(self) -> int:
        return len(self._index.ids)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._index.rows

    def share(self, ids: tuple[str, ...]) -> None:
        """Replace its ids by these equal ones, so that memory holds them once."""
        self._index = attrs.evolve(self._index, ids=ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' ids, in the order in which they were added."""
        return self._index.ids

    @property
    def sources(self) -> dict[bytes, str]:
        """The sample's id by the digest of what it was made from; empty if none were recorded."""
        return {row.tobytes(): i for row, i in zip(self._index.sources, self.ids, strict=False)}

    def shape(self, sample_id: str) -> tuple[int, ...]:
        """The shape of a sample's array; nothing is read."""
        return self._kind(sample_id).shape

    def dtype(self, sample_id: str) -> np.dtype[Any]:
        """The number type that a sample's array had when it was added; nothing is read."""
        return self.dtype_of(self._row(sample_id))

    def dtype_of(self, row: int) -> np.dtype[Any]:
        """The same by a row that `rows` gave."""
        import numpy as np

        return np.dtype(self._index.kinds[int(self._index.kind_of[row])].original)

    def array(self, sample_id: str) -> np.ndarray[Any, Any]:
        """A copy of a sample's array, in its own number type."""
        row = self._row(sample_id)
        kind = int(self._index.kind_of[row])
        values = self._gathered(kind, self._index.offsets[row : row + 1])[0, ...]
        # `_gathered` gives a copy already.
        return values.astype(self._index.kinds[kind].original, copy=False)

    def slab(self, sample_id: str, start: int, stop: int) -> np.ndarray[Any, Any]:
        """A part of a sample's array along its second axis; the rest is not read.

        Args:
            sample_id: The sample, with an array of shape (channels, sides...).
            start: Where the part begins.
            stop: Where it ends.

        Returns:
            A copy, in the type of the file.

        Raises:
            RunError: The file became shorter.
        """
        import numpy as np

        row = self._row(sample_id)
        number, offsets = int(self._index.kind_of[row]), self._index.offsets[row : row + 1]
        if self._descriptor is None or not hasattr(os, "preadv"):
            whole = self._gathered(number, offsets)
            return whole[0, :, start:stop]
        kind = self._index.kinds[number]
        stored = np.dtype(kind.stored)
        channels, side, *rest = kind.shape
        inner = math.prod(rest) * stored.itemsize
        part = np.empty((channels, (stop - start) * inner), np.uint8)
        for channel, into in enumerate(part):
            self._read_rest(into, int(offsets[0]) + (channel * side + start) * inner, 0)
        return part.view(stored).reshape(channels, stop - start, *rest)

    def rows(self, sample_ids: Sequence[str]) -> np.ndarray[Any, Any]:
        """The rows of samples, for `stacked`: int64 of shape (samples,)."""
        import numpy as np

        ids, given = self._index.ids, list(sample_ids)
        among = set(given)
        # In the file's own order, as parts are: a dictionary of all would outlive this.
        rows = [row for row, sample_id in enumerate(ids) if sample_id in among]
        if [ids[row] for row in rows] != given:
            rows = [self._row(sample_id) for sample_id in given]
        return np.asarray(rows, np.int64)

    def stacked(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        """The arrays of several samples, of shape (samples, ...), in a type that holds them.

        It is the type of the file where they share it, otherwise the one that they had when they
        were added: ``stacked(rows).astype(cache.dtype_of(rows[0]))`` are always the exact values.

        Args:
            rows: What `rows` gave for the samples, or some of it.

        Returns:
            A copy; None where shapes or original types differ, or where there are no samples.

        Raises:
            RunError: The file became shorter.
        """
        if not len(rows):
            return None
        was_quick = self._pace.quick
        quick = self._pace.begin()
        if was_quick and not quick:
            self._mapped.let_go()
        try:
            return self._stacked(rows, mapped=quick and self._mapped.fits)
        finally:
            self._pace.end()

    def _stacked(self, rows: np.ndarray[Any, Any], *, mapped: bool) -> np.ndarray[Any, Any] | None:
        import numpy as np

        offsets = self._index.offsets[rows]
        if len(self._index.kinds) == 1:
            return self._gathered(0, offsets, mapped=mapped)
        kind_of = self._index.kind_of[rows]
        first = int(kind_of[0])
        if (kind_of == first).all():
            return self._gathered(first, offsets, mapped=mapped)
        found = [int(number) for number in np.unique(kind_of)]
        one = self._index.kinds[first]
        kinds = [self._index.kinds[number] for number in found]
        if any((kind.shape, kind.original) != (one.shape, one.original) for kind in kinds):
            return None
        batch = np.empty((len(rows), *one.shape), one.original)
        for number in found:
            chosen = kind_of == number
            batch[chosen] = self._gathered(number, offsets[chosen], mapped=mapped)
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
        with suppress(OSError):  # another user's
            os.utime(self.path / ABOUT)

    def _kind(self, sample_id: str) -> Kind:
        return self._index.kinds[int(self._index.kind_of[self._row(sample_id)])]

    def _row(self, sample_id: str) -> int:
        return self._index.rows[sample_id]

    def _gathered(
        self, number: int, offsets: np.ndarray[Any, Any], *, mapped: bool = False
    ) -> np.ndarray[Any, Any]:
        """A copy of arrays of one kind, of shape (offsets, ...)."""
        import numpy as np

        kind = self._index.kinds[number]
        shape, stored = (len(offsets), *kind.shape), np.dtype(kind.stored)
        size = math.prod(kind.shape) * stored.itemsize
        if not size:
            return np.empty(shape, stored)
        descriptor = self._descriptor
        # What a file that became shorter lacks is found by reading.
        mapped = mapped and self._mapped.whole
        if mapped or descriptor is None or not hasattr(os, "preadv"):
            return self._mapped.taken(offsets, size).view(stored).reshape(shape)
        rows = np.empty((len(offsets), size), np.uint8)
        places = offsets.tolist()
        # One call for each row, made by `map`: this takes three times as long as the copies.
        into: Any = zip(rows)  # as buffers, which mypy does not see in arrays
        counts = list(map(os.preadv, repeat(descriptor), into, places))
        for number in [number for number, count in enumerate(counts) if count < size]:
            self._read_rest(rows[number], places[number], counts[number])
        return rows.view(stored).reshape(shape)

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


def _read(path: Path) -> tuple[dict[str, Any], PackedIndex]:
    """Read and check a cache's ``about.json`` and its index."""
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
