"""Fingerprints of images by column: 52 bytes an image."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from medpipe.data.scanning.pixel_defects import PixelDefect

ImageKind = tuple[tuple[int, ...], int | None]
"""The shape and the channels of an image, see `Fingerprint`."""


@attrs.frozen(kw_only=True)
class Fingerprint:
    """What identifies one sample's image.

    Attributes:
        sha256: Of the file's bytes. For a series: of its files' digests in their own order, so
            that names don't matter; for several images: of their digests, one after the other;
            for an array: of its number type, shape and values.
        pixels: Of the decoded image (number type, shape and values), so that a copy in another
            format or with other metadata has the same. BLAKE2b of 128 bits.
        shape: (height, width) or (height, width, depth), as decoded.
        channels: How many channels there are on a last axis; None where there is no such axis.
        defect: What is wrong with the values; None for nearly all.
    """

    sha256: str
    pixels: str
    shape: tuple[int, ...]
    channels: int | None = None
    defect: PixelDefect | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Digests(Sequence[str]):
    """Many digests of one length, two hexadecimal digits in a byte.

    Texts that are no such digests stay as they are.

    Attributes:
        width: The bytes of each; 0 where they are in `texts`.
        packed: All of them, one after the other.
        texts: What can't be packed.
    """

    width: int
    packed: bytes = b""
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str]) -> Digests:
        """Pack texts where they can be packed."""
        joined = "".join(texts)
        digits = len(texts[0]) if texts else 0
        if digits and digits % 2 == 0 and set(map(len, texts)) == {digits}:
            try:
                packed = bytes.fromhex(joined)
            except ValueError:
                packed = b""
            if packed.hex() == joined:
                return cls(width=digits // 2, packed=packed)
        return cls(width=0, texts=tuple(texts))

    def __len__(self) -> int:
        return len(self.packed) // self.width if self.width else len(self.texts)

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # no slices
        if not self.width:
            return self.texts[place]
        return self.packed[place * self.width : (place + 1) * self.width].hex()

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_texts())

    def as_texts(self) -> Sequence[str]:
        """All of them as texts."""
        if not self.width:
            return self.texts
        digits, joined = 2 * self.width, self.packed.hex()
        return [joined[start : start + digits] for start in range(0, len(joined), digits)]

    def as_bytes(self) -> bytes:
        """All digests as bytes, which differ if one of them does."""
        return self.packed if self.width else "\0".join(self.texts).encode("utf-8", "surrogatepass")

    def heads(self, count: int) -> bytes:
        """The first bytes of each, one after the other."""
        if not self.width:
            return bytes.fromhex("".join([text[: 2 * count] for text in self.texts]))
        import numpy as np

        rows = np.frombuffer(self.packed, np.uint8).reshape(-1, self.width)
        return rows[:, :count].tobytes()

    def copies(self) -> list[list[int]]:
        """The places of each digest that occurs more than once, in the order of the first ones."""
        places: Iterable[int] = range(len(self))
        if self.width >= 8:  # few are left by the first eight bytes, and those without texts
            import numpy as np

            heads = np.frombuffer(self.heads(8), np.uint64)
            _, which, counts = np.unique(heads, return_inverse=True, return_counts=True)
            places = np.flatnonzero(counts[which] > 1).tolist()
        same: dict[str, list[int]] = {}
        for place in places:
            same.setdefault(self[place], []).append(place)
        return [found for found in same.values() if len(found) > 1]

    def at(self, places: Iterable[int]) -> Digests:
        """Those at some places, in this order."""
        if not self.width:
            return Digests(width=0, texts=tuple(map(self.texts.__getitem__, places)))
        width, packed = self.width, self.packed
        chosen = b"".join([packed[place * width : (place + 1) * width] for place in places])
        return Digests(width=width, packed=chosen)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Fingerprints(Mapping[str, Fingerprint]):
    """The fingerprints of many images by sample id, one column for each of their attributes.

    Attributes:
        ids: The samples, in an order.
        sha256: Theirs, in the same order.
        pixels: Theirs, in the same order.
        kinds: The shapes and channels that there are, each once.
        kind_of: The place in `kinds` of each sample.
        defects: What is wrong with some, by their place.
    """

    ids: tuple[str, ...]
    sha256: Digests
    pixels: Digests
    kinds: tuple[ImageKind, ...]
    kind_of: array[int]
    defects: Mapping[int, PixelDefect] = attrs.field(factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Fingerprint]) -> Fingerprints:
        """Take fingerprints apart."""
        if isinstance(found, Fingerprints):
            return found
        kinds: dict[ImageKind, int] = {}
        prints = found.values()
        numbers = [kinds.setdefault((f.shape, f.channels), len(kinds)) for f in prints]
        return cls(
            ids=tuple(found),
            sha256=Digests.of([fingerprint.sha256 for fingerprint in prints]),
            pixels=Digests.of([fingerprint.pixels for fingerprint in prints]),
            kinds=tuple(kinds),
            kind_of=array("I", numbers),
            defects={place: f.defect for place, f in enumerate(prints) if f.defect is not None},
        )

    def __getitem__(self, sample_id: str) -> Fingerprint:
        place = self._places[sample_id]
        shape, channels = self.kinds[self.kind_of[place]]
        return Fingerprint(
            sha256=self.sha256[place],
            pixels=self.pixels[place],
            shape=shape,
            channels=channels,
            defect=self.defects.get(place),
        )

    def each(self) -> Iterator[Fingerprint]:
        """All of them, in their order."""
        columns = zip(self.sha256, self.pixels, self.kind_of, strict=True)
        for place, (sha256, pixels, number) in enumerate(columns):
            shape, channels = self.kinds[number]
            defect = self.defects.get(place) if self.defects else None
            yield Fingerprint(
                sha256=sha256, pixels=pixels, shape=shape, channels=channels, defect=defect
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._places

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def numbers(self, ids: Sequence[str]) -> Sequence[int]:
        """The place in `kinds` of some samples."""
        if len(self.kinds) == 1:  # as in most data sets
            return bytes(len(ids))
        return [self.kind_of[self._places[sample_id]] for sample_id in ids]

    def of_ids(self, ids: Iterable[str]) -> Fingerprints:
        """Those of some samples, in this order.

        Raises:
            KeyError: A sample is not among them.
        """
        wanted = tuple(ids)
        if wanted == self.ids:
            return self
        places = [self._places[sample_id] for sample_id in wanted]
        defects = self.defects
        if defects:
            defects = {new: defects[old] for new, old in enumerate(places) if old in defects}
        return Fingerprints(
            ids=wanted,
            sha256=self.sha256.at(places),
            pixels=self.pixels.at(places),
            kinds=self.kinds,
            kind_of=array("I", map(self.kind_of.__getitem__, places)),
            defects=defects,
        )

    def with_defect(self) -> list[tuple[str, PixelDefect]]:
        """The samples with a pixel defect, and which, in their order."""
        return [(self.ids[place], defect) for place, defect in sorted(self.defects.items())]


class FoundFingerprints:
    """Collects fingerprints in any order, and returns them in the order that is asked for."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._sha256 = bytearray()
        self._pixels = bytearray()
        self._kinds: dict[ImageKind, int] = {}
        self._kind_of = array("I")
        self._defects: dict[int, PixelDefect] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._places

    def add(self, sample_id: str, found: Fingerprint) -> None:
        """Add the fingerprint of a sample that is not there yet."""
        self._places[sample_id] = len(self._places)
        self._sha256 += bytes.fromhex(found.sha256)
        self._pixels += bytes.fromhex(found.pixels)
        kind = (found.shape, found.channels)
        self._kind_of.append(self._kinds.setdefault(kind, len(self._kinds)))
        if found.defect is not None:
            self._defects[len(self._places) - 1] = found.defect

    def extend(self, others: FoundFingerprints) -> None:
        """Add all those of samples that are not there yet."""
        start = len(self._places)
        self._places.update(zip(others._places, count(start)))
        self._sha256 += others._sha256
        self._pixels += others._pixels
        numbers = [self._kinds.setdefault(kind, len(self._kinds)) for kind in others._kinds]
        self._kind_of.extend([numbers[number] for number in others._kind_of])
        self._defects.update((start + place, defect) for place, defect in others._defects.items())

    def of_ids(self, ids: Iterable[str]) -> Fingerprints:
        """Those of some samples, in this order.

        Raises:
            KeyError: A sample is not among them.
        """
        all_of_them = Fingerprints(
            ids=tuple(self._places),
            sha256=Digests(width=32, packed=bytes(self._sha256)),
            pixels=Digests(width=16, packed=bytes(self._pixels)),
            kinds=tuple(self._kinds),
            kind_of=self._kind_of,
            defects=self._defects,
        )
        return all_of_them.of_ids(ids)
