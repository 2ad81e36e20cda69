"""Write a packed cache: samples one after the other, and an index at the end.

numpy is imported inside functions.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from medpipe.data.cache.folders import ABOUT, FORMAT, INDEX, VALUES, PackingError
from medpipe.data.cache.index import ALIGNMENT, IndexMaker, Piece
from medpipe.errors import RunError
from medpipe.system.file_errors import failure
from medpipe.system.files import new_file, sha256_of, staged_directory, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    import numpy as np

BUFFER = 8 << 20


class PackedWriter:
    """Writes a packed cache, which exists once the block ends without an error, and not otherwise.

    Args:
        path: The folder to be made.
        about: The content of ``about.json``: plain values.

    Attributes:
        about: The same; its value at the end of the block is written.
        sources: A digest of 16 bytes for each sample of what it was made from, in the order in
            which they are added; empty, or set for all samples.
        bytes: How many bytes of values there are so far.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path = path
        self.about = about
        self.sources = b""
        self._index = IndexMaker()
        self._pending = Piece()
        self._stack, self._values = ExitStack(), ExitStack()
        self._started = time.perf_counter()
        self.bytes = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> PackedWriter:
        try:
            self._staging = self._stack.enter_context(staged_directory(self._path))
            self._file = self._values.enter_context(new_file(self._staging / VALUES))
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
        if self._pending.size >= BUFFER:
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
        self._digest.update(piece.content)
        try:
            self._file.write(piece.content)
        except OSError as error:
            raise self._failed(error) from error
        self.bytes += piece.size

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._values.__exit__(kind, error, trace)
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
        with self._values:
            self._flush()
            if not self.bytes:  # an empty file can't be mapped
                self._file.write(bytes(ALIGNMENT))
                self._digest.update(bytes(ALIGNMENT))
                self.bytes = ALIGNMENT
        index = self._index.to_bytes(self.sources)
        write_bytes(self._staging / INDEX, index)
        about = {
            "format": FORMAT,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._started, 3),
            "samples": len(self._index.ids),
            "kinds": len(self._index.kinds),
            "values_bytes": self.bytes,
            "values_sha256": self._digest.hexdigest(),
            "index_bytes": len(index),
            "index_sha256": sha256_of(index),
            "about": dict(self.about),
        }
        write_json(self._staging / ABOUT, about)

    def _failed(self, error: OSError) -> PackingError:
        return PackingError(failure(self._path, "written", error, "MEDPIPE_CACHE"))
