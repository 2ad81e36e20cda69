"""Scan the images: each is read once, and all that can't be read are named in one error."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from medpipe.data.ids import check_ids, portable_id
from medpipe.data.readers.reader import (
    UnreadableImageError,
    decode_content,
    file_bytes,
    image_files,
    read_heard,
    read_sample_image,
    source_of,
    stack_channels,
)
from medpipe.data.scanning.fingerprints import Fingerprint, Fingerprints, FoundFingerprints
from medpipe.data.scanning.pixel_defects import defect_of
from medpipe.data.scanning.scan_cache import ScanMemory
from medpipe.errors import DataError
from medpipe.steps import Series
from medpipe.system.files import sha256_of
from medpipe.system.locks import locked
from medpipe.system.progress import bar

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from medpipe.steps import Dataset, DecodedImage, ImageFile, Reading, Sample

__all__ = ["Fingerprint", "Scan", "fingerprint", "look_through", "read", "scan"]

CHUNK = 256
"""Samples in one task of a thread: many, because a task costs as much as an image."""
TINY = 1 << 12
"""Bytes on the disk below which the GIL keeps a second thread from helping."""
LARGE = 1 << 20
"""Bytes on the disk from which a sample is a task of its own, and may be a large volume."""
LARGE_AT_ONCE = 4
"""How many of these are in memory together, however many threads read."""
NAMED = 10
"""How many unreadable images an error names."""


def _by_column(found: Mapping[str, Fingerprint]) -> Fingerprints:
    return Fingerprints.of(found)


@attrs.frozen(kw_only=True)
class Scan:
    """The fingerprints of a data set.

    Attributes:
        fingerprints: By sample id.
    """

    fingerprints: Fingerprints = attrs.field(
        converter=_by_column, repr=lambda fingerprints: f"<{len(fingerprints)} images>"
    )

    @property
    def digest(self) -> str:
        """A fingerprint of the whole: ids and contents, whatever the order."""
        pairs = zip(self.fingerprints.ids, self.fingerprints.sha256, strict=True)
        lines = sorted(f"{portable_id(id_)}\0{sha256}\n" for id_, sha256 in pairs)
        return sha256_of("".join(lines).encode("utf-8"))

    def of(self, samples: Iterable[Sample]) -> Fingerprints:
        """The fingerprints of some samples, in their order."""
        return self.fingerprints.of_ids([sample.id for sample in samples])


Ahead = Callable[[Sequence["Sample"], FoundFingerprints], object]
"""Reads samples, also for a purpose of its own, and adds the fingerprints of those that it read."""
Seen = Callable[["Sample", "DecodedImage"], object]
"""Looks at an image while it is in memory."""


def scan(dataset: Dataset, *, workers: int, ahead: Ahead | None = None) -> Scan:
    """Read and decode every image of a data set.

    Fingerprints are kept in the cache directory; a file is read again when its path, its size, its
    inode or one of its times differs.

    Args:
        dataset: The samples, and how to decode them.
        workers: How many threads read.
        ahead: Called with the samples that must be read, if they are most: it may read them first.

    Raises:
        DataError: There are no samples, ids occur twice, or images can't be read: the error
            names the first ten with their reasons, and how many there are.
    """
    check_ids(dataset.samples)
    found, errors = look_through(dataset, workers=workers, ahead=ahead)
    if errors:
        raise _unreadable(errors, len(dataset.samples))
    return found


def look_through(
    dataset: Dataset, *, workers: int, ahead: Ahead | None = None, seen: Seen | None = None
) -> tuple[Scan, list[tuple[str, DataError]]]:
    """As `scan`, but what can't be read is given back, and ids must be right already.

    Args:
        dataset: The samples, and how to decode them.
        workers: How many threads read.
        ahead: See `scan`.
        seen: Called in any thread with each sample that could be read and its image. Then
            everything is read, whatever is cached.

    Returns:
        The fingerprints of the samples that could be read, in their order; and the errors of the
        others with their ids, in the order of the ids.
    """
    samples = dataset.samples
    memory = ScanMemory(dataset)
    whole = memory.whole() if seen is None else None
    if whole is not None:
        return Scan(fingerprints=whole), []
    found = memory.known() if seen is None else FoundFingerprints()
    if ahead is not None and memory.path is not None and _most(samples, found):
        with _turn(memory.path.with_suffix(".lock")):
            memory = ScanMemory(dataset)
            found = memory.known()
            if _most(samples, found):
                memory.settle()
                unread = [sample for sample in samples if sample.id not in found]
                ahead(unread, found)
                memory.save(found)
    stored = zip(samples, memory.files.sizes, strict=True)
    chunks = _chunks([(sample, size) for sample, size in stored if sample.id not in found])
    if chunks:
        memory.settle()
    errors = _read_all(chunks, dataset.reading, workers, found, seen or _nothing)
    memory.save(found)
    ids = [sample.id for sample in samples if sample.id in found]
    return Scan(fingerprints=found.of_ids(ids)), errors


def _nothing(*_: object) -> None:
    pass


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Wait while another process scans; where no lock can be made, both scan."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(locked(lock))
        yield


def _most(samples: Sequence[Sample], found: FoundFingerprints) -> bool:
    return 2 * len(found) < len(samples)


def fingerprint(sample: Sample, reading: Reading) -> Fingerprint:
    """Read one sample; the bytes of a file are read once, for both digests.

    Raises:
        DataError: The image can't be read.
    """
    return read(sample, reading)[0]


def read(sample: Sample, reading: Reading) -> tuple[Fingerprint, DecodedImage]:
    """As `fingerprint`, with the image as `read_sample_image` gives it."""
    files = image_files(sample.image)
    if files is None:
        try:
            decoded = read_sample_image(sample.image, reading)
        except UnreadableImageError as error:
            named = f"of the sample {sample.id!r}"
            raise UnreadableImageError(
                named, error.reason, error.remedy, kind=error.kind
            ) from error
        return _fingerprint(sample, decoded, None), decoded
    if len(files) == 1:
        decoded, digest = _read(files[0], reading)
        return _fingerprint(sample, decoded, digest.hex()), decoded
    pairs = [_read(file, reading) for file in files]
    decoded = stack_channels([image for image, _ in pairs], files)
    sha256 = sha256_of(b"".join(digest for _, digest in pairs))
    return _fingerprint(sample, decoded, sha256), decoded


def _read(file: ImageFile, reading: Reading) -> tuple[DecodedImage, bytes]:
    """The image and the digest of its bytes, which are read once."""
    digests: list[bytes] = []
    decoded = read_heard(file, reading, lambda c: digests.append(hashlib.sha256(c).digest()))
    if not isinstance(file, Series):
        return decoded, digests[0]
    return decoded, hashlib.sha256(b"".join(sorted(digests))).digest()


def content_digest(sample: Sample) -> str | None:
    """As `Fingerprint.sha256`, from the files as they are now; None for an image in memory.

    Raises:
        DataError: A file can't be read.
    """
    files = image_files(sample.image)
    if files is None:
        return None
    digests = [_digest_of(file) for file in files]
    return digests[0].hex() if len(digests) == 1 else sha256_of(b"".join(digests))


def _digest_of(file: ImageFile) -> bytes:
    if not isinstance(file, Series):
        return hashlib.sha256(file_bytes(file)).digest()
    digests = sorted(hashlib.sha256(file_bytes(path)).digest() for path in file.files)
    return hashlib.sha256(b"".join(digests)).digest()


def _fingerprint(sample: Sample, decoded: DecodedImage, sha256: str | None) -> Fingerprint:
    """The fingerprint of an image; without the digest of a file, that of its values is taken."""
    values = decoded.values
    shape = values.shape
    refuse_no_numbers(sample, decoded)
    return Fingerprint(
        sha256=_digest_array(hashlib.sha256(), values) if sha256 is None else sha256,
        pixels=_digest_array(hashlib.blake2b(digest_size=16), values),
        shape=shape[:-1] if decoded.channels else shape,
        channels=shape[-1] if decoded.channels else None,
        defect=defect_of(decoded),
    )


def refuse_no_numbers(sample: Sample, decoded: DecodedImage) -> None:
    """Refuse an image without pixels, or whose values are no numbers.

    Raises:
        UnreadableImageError: It is such an image.
    """
    values = decoded.values
    if values.size and values.dtype.kind in "biuf":
        return
    named = source_of(sample.image) or f"of the sample {sample.id!r}"
    if values.size == 0:
        reason = f"has no pixels: its shape is {values.shape}"
        raise UnreadableImageError(named, reason, kind="empty")
    raise UnreadableImageError(named, f"holds no numbers but {values.dtype.name}")


Size = Literal["tiny", "small", "large"]


@attrs.frozen(kw_only=True)
class _Chunk:
    """The samples of one task of a thread: many small images, or one that is large."""

    samples: Sequence[Sample]
    size: Size


def _chunks(samples: Sequence[tuple[Sample, int]]) -> list[_Chunk]:
    """Samples with their bytes on the disk, in tasks."""
    large: list[_Chunk] = []
    small: list[Sample] = []
    tiny: list[Sample] = []
    for sample, stored in samples:
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
    found: FoundFingerprints,
    seen: Seen,
) -> list[tuple[str, DataError]]:
    """Fill `found`; return the errors with their sample's id, in the order of the ids."""
    # Tiny images are read ahead by all threads and decoded by one at a time: threads that hand
    # over the GIL eight times for each take longer than one alone.
    turns: dict[Size, AbstractContextManager[object]] = {
        "tiny": threading.Semaphore(1),
        "small": nullcontext(),
        "large": threading.Semaphore(LARGE_AT_ONCE),
    }

    def read(chunk: _Chunk) -> list[tuple[str, Fingerprint | DataError]]:
        contents = [_ahead(sample) if chunk.size == "tiny" else None for sample in chunk.samples]
        with turns[chunk.size]:
            return [
                (sample.id, _result(sample, reading, content, seen))
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
                        found.add(sample_id, result)
                shown.advance(len(results))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(errors, key=lambda pair: pair[0])


def _ahead(sample: Sample) -> bytes | None:
    """The content of a sample's only file; None where to read it again will say what is wrong."""
    try:
        return file_bytes(cast("str", sample.image))
    except DataError:
        return None


def _result(
    sample: Sample, reading: Reading, content: bytes | None, seen: Seen
) -> Fingerprint | DataError:
    try:
        if content is None:
            found, decoded = read(sample, reading)
        else:
            decoded = decode_content(content, cast("str", sample.image), reading)
            found = _fingerprint(sample, decoded, sha256_of(content))
    except DataError as error:
        return error
    seen(sample, decoded)
    return found


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
