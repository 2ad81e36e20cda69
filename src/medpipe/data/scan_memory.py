"""What is remembered of images that were read: fingerprints by path, size and time of change."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from medpipe.data.reading import image_files
from medpipe.errors import MedpipeError
from medpipe.files import cache_directory, sha256_of, write_text
from medpipe.steps import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from medpipe.steps import Dataset, ImageFile, Reading, Sample

logger = logging.getLogger("medpipe")

CACHE_FORMAT = 3
DECODERS = (
    "pillow",
    "simplejpeg",
    "pydicom",
    "nibabel",
    "python-gdcm",
    "pyjpegls",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "pylibjpeg-libjpeg",
)
"""The distributions that decode: other versions may decode the same bytes to other values."""


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
    """

    sha256: str
    pixels: str
    shape: tuple[int, ...]
    channels: int | None = None


Key = tuple[str | int, ...]
"""Path, size and time of change in nanoseconds, for each file of a sample; empty: not cached.

For a series "series", the first path, the sum of the sizes and a digest of all its files', since
it has hundreds of them.
"""
MARKS = ("several", "series")


class ScanMemory:
    """The fingerprints of a data set's images that an earlier scan found, if they didn't change.

    Args:
        dataset: The samples, and how they are decoded.

    Attributes:
        path: Where they are kept; None for images that are in memory.
        keys: What each sample's files were when this was made; empty where that can't be said.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.keys = {sample.id: _key(sample) for sample in dataset.samples}
        self.path = _cache_file(self.keys.values(), dataset.reading)
        self._entries = _load(self.path) if self.path else {}

    def known(self) -> dict[str, Fingerprint]:
        """The fingerprints of those that were read, by sample id."""
        entries = self._entries
        return {id_: entries[key] for id_, key in self.keys.items() if key in entries}

    def save(self, found: Mapping[str, Fingerprint]) -> None:
        """Remember the fingerprints of these samples, and forget all others of these files."""
        if self.path is None:
            return
        kept = {key: found[id_] for id_, key in self.keys.items() if key and id_ in found}
        if kept.keys() != self._entries.keys():
            _save(self.path, kept)
            self._entries = kept


def _key(sample: Sample) -> Key:
    if isinstance(sample.image, (str, os.PathLike)):
        return _status(sample.image) or ()
    key: list[str | int] = []
    for file in image_files(sample.image) or ():
        statuses = _statuses(file)
        if statuses is None:
            return ()
        if isinstance(file, Series):
            text = json.dumps(sorted(statuses)).encode("utf-8", "surrogateescape")
            digest = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
            key += ("series", min(statuses)[0], sum(size for _, size, _ in statuses), digest)
        else:
            key += statuses[0]
    # Several files are another sample than each alone.
    return ("several", *key) if isinstance(sample.image, tuple) and key else tuple(key)


def _statuses(file: ImageFile) -> list[tuple[str, int, int]] | None:
    """Path, size and time of change of each file; None where there is none."""
    paths = file.files if isinstance(file, Series) else (file,)
    found: list[tuple[str, int, int]] = []
    for path in paths:
        status = _status(path)
        if status is None:
            return None
        found.append(status)
    return found or None


def _status(path: str | os.PathLike[str]) -> tuple[str, int, int] | None:
    # Not by pathlib: for 59,000 files it takes twice as long.
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    text = os.fspath(path)
    if not text.startswith("/") or "/." in text or "//" in text:  # abspath takes longer than stat
        text = os.path.abspath(text)  # noqa: PTH100
    return text, status.st_size, status.st_mtime_ns


def stored_size(key: Key) -> int:
    """About how many bytes a sample has on the disk."""
    sizes = [
        key[n + 1] for n, part in enumerate(key) if isinstance(part, str) and part not in MARKS
    ]
    return sum(size for size in sizes if isinstance(size, int))


def _cache_file(keys: Iterable[Key], reading: Reading) -> Path | None:
    paths: list[str] = []
    for key in keys:
        if len(key) == len(("path", "size", "time")):
            paths.append(key[0])  # type: ignore[arg-type]
        else:
            paths += [part for part in key if isinstance(part, str) and part not in MARKS]
    if not paths:
        return None
    ends = (min(paths), max(paths))  # what these two share, all share
    try:
        root = os.path.commonpath(ends)
    except ValueError:  # two drives
        root = ends[0]
    named = json.dumps([CACHE_FORMAT, root, reading.channels, reading.window, _decoders()])
    return cache_directory() / "scans" / f"{sha256_of(named.encode('ascii'))[:32]}.json"


def _decoders() -> dict[str, str]:
    """The versions of the libraries that decode, of those that are installed."""
    versions: dict[str, str] = {}
    for name in DECODERS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _load(cache: Path) -> dict[Key, Fingerprint]:
    """The cache's content; empty where there is none, or it is not what was written."""
    try:
        written, _, text = cache.read_text("ascii").partition("\n")
        if written != sha256_of(text.encode("ascii")):
            return {}
    except (OSError, ValueError):
        return {}
    columns = json.loads(text)
    kinds = [(tuple(shape), channels) for shape, channels in columns["kinds"]]
    parts, lengths = iter(columns["keys"]), columns["lengths"]
    keys: Iterable[Key] = (
        zip(parts, parts, parts, strict=True)
        if set(lengths) == {3}  # one file each, as almost always
        else (tuple(islice(parts, length)) for length in lengths)
    )
    each = map(kinds.__getitem__, columns["kind"])
    rows = zip(keys, columns["sha256"], columns["pixels"], each, strict=True)
    return {
        key: Fingerprint(sha256=sha256, pixels=pixels, shape=shape, channels=channels)
        for key, sha256, pixels, (shape, channels) in rows
    }


def _save(cache: Path, entries: Mapping[Key, Fingerprint]) -> None:
    # By columns: a list for each image, as for each row, takes three times as long to read.
    kinds = {(f.shape, f.channels): 0 for f in entries.values()}
    kinds = {kind: number for number, kind in enumerate(kinds)}
    columns = {
        "kinds": list(kinds),
        "keys": [part for key in entries for part in key],
        "lengths": [len(key) for key in entries],
        "sha256": [f.sha256 for f in entries.values()],
        "pixels": [f.pixels for f in entries.values()],
        "kind": [kinds[f.shape, f.channels] for f in entries.values()],
    }
    text = json.dumps(columns, separators=(",", ":"))
    try:
        write_text(cache, f"{sha256_of(text.encode('ascii'))}\n{text}")
    except MedpipeError as error:
        logger.warning("The next start will read all images again: %s", error)
