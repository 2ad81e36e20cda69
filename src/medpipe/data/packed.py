"""The packed cache: arrays of all samples in one memory-mapped file, made once, opened at once.

A folder below the cache directory holds ``values.bin`` (the arrays one after the other, in C
order, each 64-byte aligned, of any shapes), ``index.npz`` (where each lies, in which type, and
its metadata) and ``about.json``, written last. numpy is imported inside functions.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import time
import weakref
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from medpipe.data.packed_folders import (
    ABOUT,
    INDEX,
    VALUES,
    PackedFolder,
    PackingError,
    cache_limit,
    folder_of,
    hold,
    lock_of,
    make_room,
    packed_folders,
    remove_all_leftovers,
    remove_broken,
    remove_folder,
    remove_leftovers,
    size_text,
    tried_lock,
)
from medpipe.data.packed_index import ALIGNMENT, IndexMaker, Kind, PackedIndex, Piece
from medpipe.data.packed_work import making, try_out, workers_for
from medpipe.errors import RunError
from medpipe.files import locked, sha256_of, staged_directory, write_bytes, write_json
from medpipe.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np

    from medpipe.data.packed_work import Produce

__all__ = [
    "PackedCache",
    "PackedFolder",
    "PackedWriter",
    "PackingError",
    "build_or_open",
    "cache_limit",
    "packed_folders",
    "remove_all_leftovers",
    "remove_folder",
    "size_text",
]

logger = logging.getLogger("medpipe")

FORMAT = 1
BUFFER = 8 << 20
MAPPED = 256 << 20
"""Up to which size a file is read through memory mapping. The pages count as the process's own,
and a larger file would fill its memory; it is read row by row, at half the rate."""


class PackedWriter:
    """Writes a packed cache, which is there when the block ends well, and not at all otherwise.

    Args:
        path: The folder to be made.
        about: What is said in ``about.json``: plain values.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path = path
        self._about = about
        self._index = IndexMaker()
        self._pending = Piece()
        self._stack = ExitStack()
        self._started = time.perf_counter()
        self.bytes = 0
        """How many bytes of values there are so far."""

    def __enter__(self) -> PackedWriter:
        try:
            self._staging = self._stack.enter_context(staged_directory(self._path))
            self._file = (self._staging / VALUES).open("wb")
        except (OSError, RunError) as error:
            self._stack.close()
            raise PackingError(str(error)) from error
        return self

    def add(self, sample_id: str, array: np.ndarray[Any, Any], meta: Mapping[str, Any]) -> None:
        """Put a sample at the end.

        Args:
            sample_id: Its id, which no sample before it has.
            array: Numbers of any shape and type; stored narrower where no value changes.
            meta: Plain values; arrays in it come back as lists.

        Raises:
            StepError: The array holds no numbers, or JSON has no form for the metadata.
            DataError: The id occurs a second time.
            PackingError: It can't be written.
        """
        self._pending.add(sample_id, array, meta)
        if len(self._pending.content) >= BUFFER:
            self._flush()

    def append(self, piece: Piece) -> None:
        """Put samples at the end that a worker has packed; see `add`."""
        self._flush()
        self._write(piece)

    def _flush(self) -> None:
        piece, self._pending = self._pending, Piece()
        self._write(piece)

    def _write(self, piece: Piece) -> None:
        self._index.add(piece, self.bytes)
        try:
            self._file.write(piece.content)
        except OSError as error:
            raise self._failed(error) from error
        self.bytes += len(piece.content)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            with suppress(OSError):  # what the buffer holds may not fit on the disk either
                self._file.close()
            self._stack.__exit__(kind, error, trace)
            return
        try:
            with self._stack:
                self._finish()
        except OSError as problem:
            raise self._failed(problem) from problem
        except PackingError:
            raise
        except RunError as problem:
            raise PackingError(str(problem)) from problem

    def _finish(self) -> None:
        with self._file:
            self._flush()
            if not self.bytes:  # an empty file can't be mapped
                self.bytes = self._file.write(bytes(ALIGNMENT))
            self._file.flush()
            os.fsync(self._file.fileno())
        index = self._index.to_bytes()
        write_bytes(self._staging / INDEX, index)
        about = {
            "format": FORMAT,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._started, 3),
            "samples": len(self._index.rows),
            "kinds": len(self._index.kinds),
            "values_bytes": self.bytes,
            "index_bytes": len(index),
            "index_sha256": sha256_of(index),
            "about": dict(self._about),
        }
        write_json(self._staging / ABOUT, about)

    def _failed(self, error: OSError) -> PackingError:
        reason = (error.strerror or str(error)).lower()
        return PackingError(f"{self._path} can't be written: {reason}.")


class PackedCache:
    """A packed cache, mapped into memory and never changed. Pickles as its path.

    Args:
        path: Its folder.

    Raises:
        RunError: There is none, or it is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        import numpy as np

        held: Callable[[], object] | None = None
        try:
            descriptor = hold(self.path / VALUES)
            if descriptor is not None:
                held = weakref.finalize(self, os.close, descriptor)
            self.about, self._index = _read(self.path)
            with (self.path / VALUES).open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if held is not None:  # not by the error's traceback, however long that lives
                held()
            reason = error.strerror if isinstance(error, OSError) else None
            text = (reason or str(error) or type(error).__name__).lower()
            raise RunError(
                f"The packed cache {self.path} can't be used: {text}. Start the run again: it "
                "will be made anew."
            ) from error
        self._bytes: np.ndarray[Any, Any] = np.frombuffer(self._map, np.uint8)
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

    def stacked(self, sample_ids: Sequence[str]) -> np.ndarray[Any, Any] | None:
        """The arrays of several samples, of shape (samples, ...), in a type that holds them.

        It is the type of the file where they share it, otherwise the one that they had when they
        were added: ``stacked(ids).astype(cache.dtype(ids[0]))`` are always the exact values.

        Returns:
            A copy; None where shapes or original types differ, or where there are no samples.
        """
        import numpy as np

        rows = np.fromiter(map(self._row, sample_ids), np.int64, len(sample_ids))
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
            count = max(0, len(self._bytes) - alone.nbytes) // ALIGNMENT + 1
            window = np.ndarray(
                (count, *kind.shape), stored, self._map, strides=(ALIGNMENT, *alone.strides)
            )
            self._windows[number] = window
        return window

    def _gathered(self, number: int, offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A copy of arrays of one kind, of shape (offsets, ...)."""
        import numpy as np

        batch: np.ndarray[Any, Any]
        if self._descriptor is None or len(self._bytes) <= MAPPED or not hasattr(os, "preadv"):
            # A fancy index copies rows out of the overlapping windows; numpy.take would first
            # copy all of them.
            batch = self._window(number)[offsets // ALIGNMENT]
            return batch
        kind = self._index.kinds[number]
        batch = np.empty((len(offsets), *kind.shape), kind.stored)
        size = batch.nbytes // len(offsets)
        target = batch.reshape(-1).view(np.uint8).data
        for row, offset in enumerate(offsets.tolist()):
            done = 0
            while done < size:
                part = target[row * size + done : (row + 1) * size]
                read = os.preadv(self._descriptor, [part], offset + done)
                if not read:
                    raise RunError(
                        f"{self.path / VALUES} became shorter while it was in use. Start the run "
                        "again: it will be made anew."
                    )
                done += read
        return batch


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


def build_or_open(
    key: str,
    about: Mapping[str, Any],
    ids: Sequence[str],
    produce: Produce,
    *,
    workers: int,
    total_bytes_estimate: int | None = None,
) -> PackedCache | None:
    """Open the packed cache of a key, and make it first where it isn't there.

    Of several processes one makes it and the others wait for it. One that is damaged is made
    anew.

    Args:
        key: What the values depend on, hashed: steps, parameters, versions, files.
        about: The same in words.
        ids: All samples, in the order in which they are to lie in the file.
        produce: Makes samples; it may be called in several processes or threads at once, and
            gives an array and its metadata for each of the ids that it gets, in their order.
        workers: How many processors to use.
        total_bytes_estimate: About how large it will be; None: the first samples tell.

    Returns:
        The cache; None, after a warning, where it can't be written.

    Raises:
        MedpipeError: What `produce` raises, or ``MEDPIPE_CACHE_LIMIT`` holds no size.
    """
    try:
        with _locked(key):
            cache = _opened(key, ids)
            if cache is None:
                remove_leftovers(key)
                if total_bytes_estimate is not None:
                    make_room(total_bytes_estimate, keep=key)
                _build(key, about, ids, produce, workers=workers)
                cache = PackedCache(folder_of(key))
    except PackingError as error:
        logger.warning("Going on without a packed cache: %s", error)
        return None
    cache.touch()
    return cache


@contextmanager
def _locked(key: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            lock_of(key).parent.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(tried_lock(key)):
                logger.info("Waiting for another process, which makes the packed cache.")
                stack.enter_context(locked(lock_of(key)))
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PackingError(f"{lock_of(key)} can't be locked: {reason.lower()}.") from error
        yield


def _opened(key: str, ids: Sequence[str]) -> PackedCache | None:
    """The cache if there is a good one; one that isn't is removed."""
    path = folder_of(key)
    if not path.exists():
        return None
    try:
        cache = PackedCache(path)
    except RunError as error:
        logger.warning("A packed cache is made anew. %s", error.__cause__ or error)
    else:
        if cache.ids == tuple(ids) or set(cache.ids) == set(ids):
            return cache
        del cache
        logger.warning("The packed cache %s holds other samples. It is made anew.", path)
    remove_broken(key)
    return None


def _build(
    key: str, about: Mapping[str, Any], ids: Sequence[str], produce: Produce, *, workers: int
) -> None:
    limit = cache_limit()
    with PackedWriter(folder_of(key), about) as writer:
        trial = try_out(ids, produce)
        for piece in trial.pieces:
            writer.append(piece)
        size = trial.bytes_each * len(ids)
        make_room(int(size), keep=key)
        rest = ids[trial.count :]
        if not rest:
            return
        used = workers_for(len(rest), trial, workers)
        seconds = len(rest) * trial.seconds_each / used
        logger.info(
            "Packing %d samples: about %s and %.0f s. Later runs open them at once.",
            len(ids),
            size_text(size),
            seconds,
        )
        with (
            making(rest, produce, trial, workers=used) as pieces,
            bar(f"Packing ({size_text(size)})", len(rest), unit="samples") as shown,
        ):
            for piece in pieces:
                writer.append(piece)
                shown.advance(len(piece.ids))
                if writer.bytes > limit:
                    raise PackingError(
                        f"The packed cache grew beyond the limit of {size_text(limit)}. "
                        "Set MEDPIPE_CACHE_LIMIT higher to have it."
                    )
