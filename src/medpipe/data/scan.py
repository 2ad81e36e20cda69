"""Read every image once: a fingerprint of each, and all that can't be read in one error."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.reading import (
    UnreadableImageError,
    decode,
    file_bytes,
    image_paths,
    read_sample_image,
    stack_channels,
)
from medpipe.errors import DataError, MedpipeError
from medpipe.files import cache_directory, sha256_of, write_text
from medpipe.progress import bar

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from medpipe.steps import Dataset, Reading, Sample

logger = logging.getLogger("medpipe")

CACHE_FORMAT = 1
CHUNK = 256
"""Samples in one task of a thread: many, because a task costs as much as an image."""
NAMED = 10
"""How many unreadable images an error names."""


@attrs.frozen(kw_only=True)
class Fingerprint:
    """What identifies one sample's image.

    Attributes:
        sha256: Of the file's bytes. For several files: of their digests, one after the other;
            for an array: of its number type, shape and values.
        pixels: Of the decoded image (number type, shape and values), so that a copy in another
            format or with other metadata has the same. BLAKE2b of 128 bits.
        shape: (height, width) or (height, width, channels), as decoded.
    """

    sha256: str
    pixels: str
    shape: tuple[int, ...]


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
    errors = _read_all(unread, dataset.reading, workers, found)
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
    paths = image_paths(sample.image)
    if not paths:
        array = read_sample_image(sample.image, reading)
        return Fingerprint(
            sha256=_digest_array(hashlib.sha256(), array),
            pixels=_digest_pixels(array),
            shape=array.shape,
        )
    contents = [file_bytes(path) for path in paths]
    digests = [hashlib.sha256(content).digest() for content in contents]
    arrays = [decode(c, p, reading) for c, p in zip(contents, paths, strict=True)]
    several = isinstance(sample.image, tuple)
    array = stack_channels(arrays, paths) if several else arrays[0]
    return Fingerprint(
        sha256=sha256_of(b"".join(digests)) if several else digests[0].hex(),
        pixels=_digest_pixels(array),
        shape=array.shape,
    )


def _read_all(
    samples: Sequence[Sample], reading: Reading, workers: int, found: dict[str, Fingerprint]
) -> list[tuple[str, DataError]]:
    """Fill `found`; give the errors with their sample's id, in the order of the ids."""

    def read(chunk: Sequence[Sample]) -> list[tuple[str, Fingerprint | DataError]]:
        results: list[tuple[str, Fingerprint | DataError]] = []
        for sample in chunk:
            try:
                results.append((sample.id, fingerprint(sample, reading)))
            except DataError as error:
                results.append((sample.id, error))
        return results

    if not samples:
        return []
    errors: list[tuple[str, DataError]] = []
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    with (
        bar("Reading images", len(samples), unit="images") as shown,
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


def _digest_pixels(array: np.ndarray[Any, Any]) -> str:
    return _digest_array(hashlib.blake2b(digest_size=16), array)


def _digest_array(digest: Any, array: np.ndarray[Any, Any]) -> str:
    import numpy as np

    # One byte order, so that a digest is the same on every machine.
    values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest.update(f"{values.dtype.str}{values.shape}".encode("ascii"))
    digest.update(values.data)
    result: str = digest.hexdigest()
    return result


Key = tuple[str | int, ...]
"""Path, size and time of change in nanoseconds, for each file of a sample; empty: not cached."""


def _key(sample: Sample) -> Key:
    # Not by pathlib: for 59,000 files it takes twice as long.
    key: list[str | int] = []
    for path in image_paths(sample.image):
        try:
            status = os.stat(path)  # noqa: PTH116  (59,000 of them: pathlib costs as much again)
        except (OSError, ValueError):
            return ()
        key += (os.path.abspath(path), status.st_size, status.st_mtime_ns)  # noqa: PTH100
    # Several files are another sample than each alone, and one in a tuple is another shape.
    return ("several", *key) if isinstance(sample.image, tuple) and key else tuple(key)


def _cache_file(keys: Iterable[Key], reading: Reading) -> Path | None:
    paths = [part for key in keys for part in key if isinstance(part, str) and part != "several"]
    if not paths:
        return None
    import PIL

    ends = (min(paths), max(paths))  # what these two share, all share
    try:
        root = os.path.commonpath(ends)
    except ValueError:  # two drives
        root = ends[0]
    # Another Pillow may decode the same bytes to other values.
    named = json.dumps([CACHE_FORMAT, root, reading.channels, PIL.__version__])
    return cache_directory() / "scans" / f"{sha256_of(named.encode('ascii'))[:32]}.json"


def _load(cache: Path) -> dict[Key, Fingerprint]:
    """The cache's content; empty where there is none, or it is not what was written."""
    try:
        written, _, text = cache.read_text("ascii").partition("\n")
        if written != sha256_of(text.encode("ascii")):
            return {}
    except (OSError, ValueError):
        return {}
    return {
        tuple(key): Fingerprint(sha256=sha256, pixels=pixels, shape=tuple(shape))
        for key, sha256, pixels, shape in json.loads(text)
    }


def _save(cache: Path, entries: Mapping[Key, Fingerprint]) -> None:
    rows = [[key, f.sha256, f.pixels, f.shape] for key, f in entries.items()]
    text = json.dumps(rows, separators=(",", ":"))
    try:
        write_text(cache, f"{sha256_of(text.encode('ascii'))}\n{text}")
    except MedpipeError as error:
        logger.warning("The next start will read all images again: %s", error)
