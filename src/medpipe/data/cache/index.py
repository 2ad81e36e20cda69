"""The index of a packed cache: offset, type and metadata of each sample's values.

Arrays are narrowed without loss before they are stored, and come back in their own number type.
numpy is imported inside functions.
"""

from __future__ import annotations

import io
import json
import pickle
from array import array
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError, StepError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

ALIGNMENT = 64
"""The alignment of arrays in bytes: a cache line, and a multiple of every number's size."""
NARROW = {"uint8": (0, 255), "uint16": (0, 65_535), "int16": (-32_768, 32_767)}
"""The types that numbers are narrowed to, with the least and the largest that each holds."""
SOURCE = 16
"""Bytes of the digest of what a sample was made from."""
KNOWN_KINDS = "biufc"


@attrs.frozen
class Kind:
    """The shape and number types that samples must share to be stacked at once.

    Attributes:
        shape: Of the array.
        stored: The number type in the file, as ``numpy.dtype.str``.
        original: The number type in which it is returned.
    """

    shape: tuple[int, ...]
    stored: str
    original: str


@attrs.define(kw_only=True, eq=False)
class Piece:
    """Samples packed one after the other, on their way from a worker to the file.

    Attributes:
        ids: Of the samples, in order.
        offsets: Where each begins in `content`.
        kinds: Of each.
        metas: The metadata of each as JSON.
        size: Bytes in `content`.
        found: Further results of the worker for its caller; must be picklable.
    """

    ids: list[str] = attrs.field(factory=list)
    offsets: list[int] = attrs.field(factory=list)
    kinds: list[Kind] = attrs.field(factory=list)
    metas: list[str] = attrs.field(factory=list)
    size: int = 0
    found: Any = None
    _arrays: list[bytes] = attrs.field(factory=list)
    # Equal kinds and texts are one object: made once, and pickled once.
    _same_kinds: dict[Any, Kind] = attrs.field(factory=dict, init=False)
    _same_metas: dict[bytes, str] = attrs.field(factory=dict, init=False)

    def __reduce__(self) -> tuple[Any, ...]:
        columns = {
            "ids": self.ids,
            "offsets": self.offsets,
            "kinds": self.kinds,
            "metas": self.metas,
            "size": self.size,
            "found": self.found,
            "arrays": [self.content],
        }
        return _piece, (columns,)

    @property
    def content(self) -> bytes:
        """The values, each array padded to the alignment; put together when asked for."""
        return self._arrays[0] if len(self._arrays) == 1 else b"".join(self._arrays)

    def add(self, sample_id: str, array: np.ndarray[Any, Any], meta: Mapping[str, Any]) -> None:
        """Narrow an array and put it at the end.

        Raises:
            StepError: The array holds no numbers, or JSON has no form for the metadata.
        """
        import numpy as np

        values = np.asarray(array)
        if values.dtype.kind not in KNOWN_KINDS:
            raise StepError(
                f"The sample {sample_id!r} left the chain's cached stage as an array of "
                f"{values.dtype}, which can't be packed. Let the steps give numbers."
            )
        text = self._text(sample_id, meta)
        stored = narrowed(values)
        described = (stored.shape, stored.dtype, values.dtype)
        kind = self._same_kinds.get(described)
        if kind is None:
            kind = Kind(stored.shape, stored.dtype.str, values.dtype.str)
            self._same_kinds[described] = kind
        self.ids.append(sample_id)
        self.offsets.append(self.size)
        self.kinds.append(kind)
        self.metas.append(text)
        self._arrays.append(stored.tobytes())
        gap = -stored.nbytes % ALIGNMENT
        if gap:
            self._arrays.append(bytes(gap))
        self.size += stored.nbytes + gap

    def _text(self, sample_id: str, meta: Mapping[str, Any]) -> str:
        """The metadata as JSON; looking up known ones is five times as fast as encoding them."""
        try:
            key = pickle.dumps(meta, pickle.HIGHEST_PROTOCOL)
        except Exception:
            return _as_json(sample_id, meta)  # which says what is wrong
        text = self._same_metas.get(key)
        if text is None:
            text = self._same_metas[key] = _as_json(sample_id, meta)
        return text


def _piece(columns: Mapping[str, Any]) -> Piece:
    return Piece(**columns)


def narrowed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in the smallest of uint8, uint16, int16 and float32 that changes no value.

    Whole floats become integers; what has a negative zero stays a float; NaN keep their bits.
    Where none of these is smaller and exact, the array is given back as it is.
    """
    import numpy as np

    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "iuf" or size == 1 or size > 8 or array.size == 0:
        return array
    if kind == "f":
        # Most images fit into uint8: a number that doesn't comes back as another one.
        with np.errstate(invalid="ignore"):
            candidate = array.astype(np.uint8)
        if _same_bits(candidate.astype(array.dtype), array):
            return candidate
    low, high = array.min(), array.max()
    for name, (least, largest) in NARROW.items():
        narrow = np.dtype(name)
        if narrow.itemsize < size and least <= low and high <= largest:
            if kind == "f" and name == "uint8":
                break  # not whole, or a negative zero: no integer type will do
            candidate = array.astype(narrow)
            if kind != "f" or _same_bits(candidate.astype(array.dtype), array):
                return candidate
            break
    if kind == "f" and size == 8:
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if _same_bits(single.astype(array.dtype), array):
            return single
    return array


def _same_bits(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether floats of one type are the same to the bit: ``==`` takes -0 for 0."""
    bits = f"u{one.dtype.itemsize}"
    return bool((one.view(bits) == other.view(bits)).all())


def _as_json(sample_id: str, meta: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(meta), default=_plain, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StepError(
            f"The metadata of the sample {sample_id!r} can't be packed: {error}. "
            "Let the steps give text, numbers, lists and arrays."
        ) from error


def _plain(value: Any) -> Any:
    """An array, a NumPy number or a tensor as plain values for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"it holds an object of the type {type(value).__name__}")


def _strings(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(items)


@attrs.frozen(kw_only=True, eq=False)
class PackedIndex:
    """Where the samples of a packed cache lie.

    Attributes:
        ids: The samples; each has a row of this number in the arrays below.
        offsets: Where each row's values begin in the file, in bytes.
        kind_of: The place of each row's kind in `kinds`.
        kinds: The kinds, each once.
        meta_of: The place of each row's metadata.
        sources: A digest of 16 bytes of what each row was made from, of shape (rows, 16); no rows
            if they were not recorded.
    """

    ids: tuple[str, ...] = attrs.field(converter=_strings)
    offsets: np.ndarray[Any, Any]
    kind_of: np.ndarray[Any, Any]
    kinds: tuple[Kind, ...]
    meta_of: np.ndarray[Any, Any]
    sources: np.ndarray[Any, Any]
    _metas: bytes
    _meta_ends: np.ndarray[Any, Any]

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """The row of each id; made when asked for, since it takes as long as all the rest."""
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def meta(self, row: int) -> dict[str, Any]:
        """The metadata of a row, made anew, so that the caller may change them."""
        place = int(self.meta_of[row])
        start = int(self._meta_ends[place - 1]) if place else 0
        # Decoded when asked for: a thousand affines would make opening slow.
        found: dict[str, Any] = json.loads(self._metas[start : int(self._meta_ends[place])])
        return found

    @classmethod
    def from_bytes(cls, content: bytes) -> PackedIndex:
        """Read what `IndexMaker.to_bytes` made."""
        import numpy as np

        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            ids = json.loads(arrays["ids"].tobytes())
            kinds = json.loads(arrays["kinds"].tobytes())
            return cls(
                ids=ids,
                offsets=arrays["offsets"],
                kind_of=arrays["kind_of"],
                kinds=tuple(Kind(tuple(shape), *types) for shape, *types in kinds),
                meta_of=arrays["meta_of"],
                sources=arrays["sources"],
                metas=arrays["metas"].tobytes(),
                meta_ends=arrays["meta_ends"],
            )


class IndexMaker:
    """Collects the index while pieces are written; kinds and metadata are kept once each."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.kinds: dict[Kind, int] = {}
        self._metas: dict[str, int] = {}
        self._offsets = array("q")
        self._kind_of = array("i")
        self._meta_of = array("i")

    def add(self, piece: Piece, start: int) -> None:
        """Add a piece that was written at `start`.

        Raises:
            DataError: A sample is in the index already.
        """
        for sample_id in piece.ids:
            if sample_id in self.ids:
                raise DataError(f"The sample {sample_id!r} was packed twice. Give each id once.")
            self.ids[sample_id] = None
        kinds, metas = self.kinds, self._metas
        self._offsets.extend([start + offset for offset in piece.offsets])
        self._kind_of.extend([kinds.setdefault(kind, len(kinds)) for kind in piece.kinds])
        self._meta_of.extend([metas.setdefault(meta, len(metas)) for meta in piece.metas])

    def to_bytes(self, sources: bytes) -> memoryview:
        """The index as an npz file without pickled objects.

        Args:
            sources: A digest of 16 bytes for each sample of what it was made from, in the order
                in which they were added; or empty.
        """
        import numpy as np

        metas = [text.encode("ascii") for text in self._metas]
        buffer = io.BytesIO()
        np.savez(
            buffer,
            ids=_text(list(self.ids)),
            kinds=_text([(kind.shape, kind.stored, kind.original) for kind in self.kinds]),
            offsets=np.asarray(self._offsets, np.int64),
            kind_of=np.asarray(self._kind_of, np.int32),
            meta_of=np.asarray(self._meta_of, np.int32),
            sources=np.frombuffer(sources, np.uint8).reshape(-1, SOURCE),
            metas=np.frombuffer(b"".join(metas), np.uint8),
            meta_ends=np.cumsum([len(meta) for meta in metas], dtype=np.int64),
        )
        return buffer.getbuffer()


def _text(content: Iterable[Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.frombuffer(json.dumps(content, separators=(",", ":")).encode("ascii"), np.uint8)
