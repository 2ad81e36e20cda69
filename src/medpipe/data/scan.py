"""Read every image once: a fingerprint of each, and all that can't be read in one error."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from medpipe.data.reading import (
    UnreadableImageError,
    decode_content,
    file_content,
    image_files,
    read_heard,
    read_sample_image,
    stack_channels,
)
from medpipe.errors import DataError, MedpipeError
from medpipe.files import cache_directory, sha256_of, write_text
from medpipe.progress import bar
from medpipe.steps import Series

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from medpipe.steps import Dataset, DecodedImage, ImageFile, Reading, Sample

logger = logging.getLogger("medpipe")

CACHE_FORMAT = 3
CHUNK = 256
"""Samples in one task of a thread: many, because a task costs as much as an image."""
TINY = 1 << 12
"""Bytes on the disk below which Python's share of the work keeps a second thread from helping."""
LARGE = 1 << 20
"""Bytes on the disk from which a sample is a task of its own, and may be a large volume."""
LARGE_AT_ONCE = 4
"""How many of these are in memory together, however many threads read."""
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
NAMED = 10
"""How many unreadable images an error names."""


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


@attrs.frozen(kw_only=True)
class Scan:
    """The fingerprints of a data set.

    Attributes:
        fingerprints: By sample id.
    """

    fingerprints: Mapping[str, Fingerprint] = attrs.field(
        repr=lambda fingerprints: f"<{len(fingerprints)} images>"
    )

    @property
    def digest(self) -> str:
        """A fingerprint of the whole: ids and contents, whatever the order."""
        lines = sorted(f"{portable_id(i)}\0{f.sha256}\n" for i, f in self.fingerprints.items())
        return sha256_of("".join(lines).encode("utf-8"))


def portable_id(sample_id: str) -> str:
    """An id as it is on every machine: composed letters (Unicode NFC) and forward slashes."""
    return unicodedata.normalize("NFC", sample_id).replace("\\", "/")


def scan(dataset: Dataset, *, workers: int) -> Scan:
    """Read and decode every image of a data set.

    What was read is kept in the cache directory; a file is read again when its path, size or
    time of change differs.

    Args:
        dataset: The samples, and how to decode them.
        workers: How many threads read.

    Raises:
        DataError: There are no samples, ids occur twice, or images can't be read: the error
            names the first ten with their reasons, and how many there are.
    """
    _check_ids(dataset.samples)
    keys = {sample.id: _key(sample) for sample in dataset.samples}
    cache = _cache_file(keys.values(), dataset.reading)
    cached = _load(cache) if cache else {}
    found: dict[str, Fingerprint] = {}
    unread: list[Sample] = []
    for sample in dataset.samples:
        key = keys[sample.id]
        if key in cached:
            found[sample.id] = cached[key]
        else:
            unread.append(sample)
    chunks = _chunks(unread, keys)
    errors = _read_all(chunks, dataset.reading, workers, found)
    kept = {key: found[i] for i, key in keys.items() if key and i in found}
    if cache and kept.keys() != cached.keys():
        _save(cache, kept)
    if errors:
        raise _unreadable(errors, len(dataset.samples))
    return Scan(fingerprints={sample.id: found[sample.id] for sample in dataset.samples})


def fingerprint(sample: Sample, reading: Reading) -> Fingerprint:
    """Read one sample; the bytes of a file are read once, for both digests.

    Raises:
        DataError: The image can't be read.
    """
    files = image_files(sample.image)
    if files is None:
        decoded = read_sample_image(sample.image, reading)
        return _fingerprint(decoded, _digest_array(hashlib.sha256(), decoded.values))
    pairs = [_read(file, reading) for file in files]
    decoded = stack_channels([image for image, _ in pairs], files)
    digests = [digest for _, digest in pairs]
    alone = len(digests) == 1
    return _fingerprint(decoded, digests[0].hex() if alone else sha256_of(b"".join(digests)))


def _read(file: ImageFile, reading: Reading) -> tuple[DecodedImage, bytes]:
    """The image and the digest of its bytes, which are read once."""
    digests: list[bytes] = []
    decoded = read_heard(file, reading, lambda c: digests.append(hashlib.sha256(c).digest()))
    if not isinstance(file, Series):
        return decoded, digests[0]
    return decoded, hashlib.sha256(b"".join(sorted(digests))).digest()


def _fingerprint(decoded: DecodedImage, sha256: str) -> Fingerprint:
    shape = decoded.values.shape
    return Fingerprint(
        sha256=sha256,
        pixels=_digest_array(hashlib.blake2b(digest_size=16), decoded.values),
        shape=shape[:-1] if decoded.channels else shape,
        channels=shape[-1] if decoded.channels else None,
    )


Size = Literal["tiny", "small", "large"]


@attrs.frozen(kw_only=True)
class _Chunk:
    """The samples of one task of a thread: many small images, or one that is large."""

    samples: Sequence[Sample]
    size: Size


def _chunks(samples: Sequence[Sample], keys: Mapping[str, Key]) -> list[_Chunk]:
    large: list[_Chunk] = []
    small: list[Sample] = []
    tiny: list[Sample] = []
    for sample in samples:
        stored = _size(keys[sample.id])
        if stored >= LARGE:
            large.append(_Chunk(samples=[sample], size="large"))
        elif 0 < stored < TINY and isinstance(sample.image, (str, os.PathLike)):
            tiny.append(sample)
        else:
            small.append(sample)
    return [*large, *_cut(small, "small"), *_cut(tiny, "tiny")]


def _cut(samples: Sequence[Sample], size: Size) -> list[_Chunk]:
    starts = range(0, len(samples), CHUNK)
    return [_Chunk(samples=samples[start : start + CHUNK], size=size) for start in starts]


def _read_all(
    chunks: Sequence[_Chunk],
    reading: Reading,
    workers: int,
    found: dict[str, Fingerprint],
) -> list[tuple[str, DataError]]:
    """Fill `found`; give the errors with their sample's id, in the order of the ids."""
    # Tiny images are read ahead by all threads and decoded by one at a time: threads that hand
    # the interpreter over eight times for each take longer than one alone.
    turns: dict[Size, AbstractContextManager[object]] = {
        "tiny": threading.Semaphore(1),
        "small": nullcontext(),
        "large": threading.Semaphore(LARGE_AT_ONCE),
    }

    def read(chunk: _Chunk) -> list[tuple[str, Fingerprint | DataError]]:
        contents = [_ahead(sample) if chunk.size == "tiny" else None for sample in chunk.samples]
        with turns[chunk.size]:
            return [
                (sample.id, _result(sample, reading, content))
                for sample, content in zip(chunk.samples, contents, strict=True)
            ]

    if not chunks:
        return []
    errors: list[tuple[str, DataError]] = []
    with (
        bar("Reading images", sum(len(chunk.samples) for chunk in chunks), unit="images") as shown,
        ThreadPoolExecutor(max(1, min(workers, len(chunks)))) as threads,
    ):
        tasks = [threads.submit(read, chunk) for chunk in chunks]
        try:
            for task in as_completed(tasks):
                results = task.result()
                for sample_id, result in results:
                    if isinstance(result, DataError):
                        errors.append((sample_id, result))
                    else:
                        found[sample_id] = result
                shown.advance(len(results))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(errors, key=lambda pair: pair[0])


def _ahead(sample: Sample) -> bytes | None:
    """The content of a sample's only file; None where to read it again will say what is wrong."""
    try:
        return file_content(cast("str", sample.image))
    except DataError:
        return None


def _result(sample: Sample, reading: Reading, content: bytes | None) -> Fingerprint | DataError:
    try:
        if content is None:
            return fingerprint(sample, reading)
        decoded = decode_content(content, cast("str", sample.image), reading)
        return _fingerprint(decoded, sha256_of(content))
    except DataError as error:
        return error


def _unreadable(errors: Sequence[tuple[str, DataError]], total: int) -> DataError:
    lines = [f"{len(errors)} of {total} images can't be read:"]
    for sample_id, error in errors[:NAMED]:
        if isinstance(error, UnreadableImageError):
            own = "" if error.remedy == UnreadableImageError.REMEDY else f" {error.remedy}"
            lines.append(f"  {error.path} {error.reason}.{own}")
        else:
            lines.append(f"  {sample_id}: {error}")
    if len(errors) > NAMED:
        lines.append(f"  and {len(errors) - NAMED} more.")
    lines.append("Remove or repair them.")
    return DataError("\n".join(lines))


def _check_ids(samples: Sequence[Sample]) -> None:
    if not samples:
        raise DataError("The data set has no samples.")
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for sample in samples:
        name = portable_id(sample.id)
        if name in seen:
            twice[name] = None
        seen.add(name)
        if not name.isprintable() and _has_surrogates(name):
            raise DataError(
                f"The id {sample.id!r} is no valid Unicode text. Rename the file in UTF-8."
            )
    if twice:
        named = ", ".join(repr(name) for name in sorted(twice)[:NAMED])
        more = f" and {len(twice) - NAMED} more" if len(twice) > NAMED else ""
        raise DataError(
            f"Several samples have the same id: {named}{more}. Each sample needs an id of its own."
        )


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _digest_array(digest: Any, array: np.ndarray[Any, Any]) -> str:
    import numpy as np

    values, kind = array, array.dtype.str
    if kind[0] not in "<|" or not array.flags.c_contiguous:
        # One byte order, so that a digest is the same on every machine.
        values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        kind = values.dtype.str
    digest.update(f"{kind}{values.shape}".encode("ascii"))
    digest.update(values.data)
    result: str = digest.hexdigest()
    return result


Key = tuple[str | int, ...]
"""Path, size and time of change in nanoseconds, for each file of a sample; empty: not cached.

For a series "series", the first path, the sum of the sizes and a digest of all its files', since
it has hundreds of them.
"""
MARKS = ("several", "series")


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
    return os.path.abspath(path), status.st_size, status.st_mtime_ns  # noqa: PTH100


def _size(key: Key) -> int:
    """About how many bytes a sample has on the disk."""
    sizes = [
        key[n + 1] for n, part in enumerate(key) if isinstance(part, str) and part not in MARKS
    ]
    return sum(size for size in sizes if isinstance(size, int))


def _cache_file(keys: Iterable[Key], reading: Reading) -> Path | None:
    paths = [p for key in keys for p in key if isinstance(p, str) and p not in MARKS]
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
    parts = iter(columns["keys"])
    rows = zip(
        columns["lengths"], columns["sha256"], columns["pixels"], columns["kind"], strict=True
    )
    entries: dict[Key, Fingerprint] = {}
    for length, sha256, pixels, kind in rows:
        shape, channels = kinds[kind]
        entries[tuple(islice(parts, length))] = Fingerprint(
            sha256=sha256, pixels=pixels, shape=shape, channels=channels
        )
    return entries


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
