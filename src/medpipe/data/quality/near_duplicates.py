"""Near duplicates: perceptual hashes of 64 bits, and a search for close ones."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from medpipe.steps import DecodedImage, Sample

SIDE = 32
"""An image is made this small first, which leaves noise and compression out."""
LOWEST = 8
"""So many frequencies each way: 64 bits."""
TOGETHER = 512
"""Images that are hashed together."""
NEAR = 3
"""In how many bits the hashes of near-duplicates differ at most."""
BANDS = NEAR + 1
"""Of two hashes that differ in so many bits at most, one band at least is the same."""
AT_ONCE = 1 << 22
"""Pairs that are compared together."""


@attrs.frozen(kw_only=True)
class NearPairs:
    """Pairs of near hashes.

    Attributes:
        count: How many.
        crossing: How many of them are in two splits.
        pairs: The places of some, those in two splits first, the nearest first.
    """

    count: int
    crossing: int
    pairs: Sequence[tuple[int, int]]


class PerceptualHashes:
    """Computes perceptual hashes of images that many threads read.

    Of a volume the middle slice counts, of colours the mean. Copies in another size or quality, or
    a little brighter, differ in few bits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hashes: dict[str, int] = {}
        self._waiting: dict[str, np.ndarray[Any, Any]] = {}

    def see(self, sample: Sample, image: DecodedImage) -> None:
        """Take an image."""
        small = shrunk(image)
        with self._lock:
            self._waiting[sample.id] = small
            # Together they take a tenth of the time that each by itself takes.
            if len(self._waiting) >= TOGETHER:
                self._hash()

    def hashes(self) -> dict[str, int]:
        """The hash of every image, by the sample's id."""
        with self._lock:
            self._hash()
        return self._hashes

    def _hash(self) -> None:
        if self._waiting:
            import numpy as np

            hashes = hashes_of(np.stack(list(self._waiting.values())))
            self._hashes.update(zip(self._waiting, hashes, strict=True))
            self._waiting.clear()


def hashes_of(small: np.ndarray[Any, Any]) -> list[int]:
    """The signs of the lowest frequencies of images of 32 x 32 pixels (pHash), 64 bits each."""
    import numpy as np

    waves = _cosines()
    with np.errstate(invalid="ignore", over="ignore"):  # of NaN, whose hashes are not used
        frequencies = (waves @ small @ waves.T).reshape(len(small), -1)
    # The first is the mean: how bright an image is, not what it shows.
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    hashes: list[int] = packed.view(">u8")[:, 0].tolist()
    return hashes


def shrunk(image: DecodedImage) -> np.ndarray[Any, Any]:
    """An image as the means of 32 x 32 blocks, float32."""
    import numpy as np
    from PIL import Image

    values = image.values
    volume = values.ndim - image.channels == 3
    values = values[:, :, values.shape[2] // 2] if volume else values
    if image.channels:
        values = values.mean(axis=-1, dtype=np.float32)
    if values.dtype != np.uint8:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    picture = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


@cache
def _cosines() -> np.ndarray[Any, Any]:
    import numpy as np

    rows, columns = np.arange(LOWEST)[:, None], np.arange(SIDE)
    waves: np.ndarray[Any, Any] = np.cos(np.pi * rows * (2 * columns + 1) / (2 * SIDE))
    return waves.astype(np.float32)


def near_pairs(hashes: Sequence[int], splits: Sequence[int], *, most: int) -> NearPairs:
    """Find all pairs of hashes that differ in at most `NEAR` bits.

    Images of one hash are compared with others once, not each: there may be thousands.

    Args:
        hashes: Of 64 bits.
        splits: A number from 0 for the split that each is in.
        most: How many pairs to name; all are counted. Of two near hashes one pair is named, in
            two splits if possible.
    """
    import numpy as np

    words, which = np.unique(np.array(hashes, dtype=np.uint64), return_inverse=True)
    placed = np.array(splits, dtype=np.int64)
    held = np.zeros((len(words), max(splits, default=0) + 1), dtype=np.int64)
    np.add.at(held, (which, placed), 1)  # how many images of each hash are in each split
    count = crossing = 0
    named: list[tuple[bool, int, int, int]] = []
    for one, other in _near(words, held.sum(axis=1) > 1):
        pairs = held[one].sum(axis=1) * held[other].sum(axis=1)
        alike = (held[one] * held[other]).sum(axis=1)
        between = pairs - alike
        same = one == other
        # Of one hash with itself each pair counts twice, and each image with itself.
        between[same] //= 2
        alike[same] = (alike[same] - held[one[same]].sum(axis=1)) // 2
        count += int(between.sum() + alike.sum())
        crossing += int(between.sum())
        apart = np.bitwise_count(words[one] ^ words[other])
        order = np.lexsort((other, one, apart, between == 0))[:most]
        columns = (between[order] == 0, apart[order], one[order], other[order])
        named = sorted([*named, *zip(*(some.tolist() for some in columns), strict=True)])[:most]
    order = np.argsort(which, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(which, minlength=len(words)))[:-1])
    examples = [_example(members[one], members[other], placed) for *_, one, other in named]
    return NearPairs(count=count, crossing=crossing, pairs=examples)


def _example(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], splits: np.ndarray[Any, Any]
) -> tuple[int, int]:
    """Two images, given those of two hashes or twice those of one; in two splits if possible."""
    elsewhere = other[splits[other] != splits[one[0]]]
    if len(elsewhere):
        return int(one[0]), int(elsewhere[0])
    elsewhere = one[splits[one] != splits[other[0]]]
    if len(elsewhere):
        return int(elsewhere[0]), int(other[0])
    return int(one[0]), int(other[1] if other[0] == one[0] else other[0])


def _near(
    words: np.ndarray[Any, Any], several: np.ndarray[Any, Any]
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Pairs of near hashes, each once; those that several images have also with themselves."""
    import numpy as np

    themselves = np.flatnonzero(several)
    yield themselves, themselves
    for one, other in _candidates(words):
        near = np.bitwise_count(words[one] ^ words[other]) <= NEAR
        yield one[near], other[near]


def _candidates(
    words: np.ndarray[Any, Any],
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Pairs that have a band in common, each once; the smaller place comes first."""
    import numpy as np

    width = 64 // BANDS
    mask = np.uint64((1 << width) - 1)
    bands = [(words >> np.uint64(width * band)) & mask for band in range(BANDS)]
    for band, values in enumerate(bands):
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        # For each place in this order, how many that follow it have the same band.
        ends = np.searchsorted(ordered, ordered, side="right")
        following = ends - np.arange(len(ordered)) - 1
        for start, stop in _portions(following):
            counts = following[start:stop]
            firsts = np.repeat(np.arange(start, stop), counts)
            offsets = np.arange(len(firsts)) - np.repeat(np.cumsum(counts) - counts, counts)
            one, other = order[firsts], order[firsts + 1 + offsets]
            # Found by an earlier band already.
            new = np.ones(len(one), dtype=bool)
            for earlier in bands[:band]:
                new &= earlier[one] != earlier[other]
            yield one[new], other[new]


def _portions(counts: np.ndarray[Any, Any]) -> Iterator[tuple[int, int]]:
    """Ranges of places whose counts are about `AT_ONCE` together, or one that has more."""
    import numpy as np

    totals = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = int(totals[start - 1]) if start else 0
        stop = int(np.searchsorted(totals, before + AT_ONCE, side="right"))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop
