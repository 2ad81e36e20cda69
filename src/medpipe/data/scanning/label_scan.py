"""Scan labels that are images: each mask is read once, and compared with its image's grid."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.labels import read_noted
from medpipe.data.readers.reader import image_files, read_sample_image, source_of
from medpipe.errors import DataError, Fault, RunError
from medpipe.steps import LabelImage, Series
from medpipe.system.cache_folder import cache_directory, warn_without_cache
from medpipe.system.files import make_directories, sha256_of, write_bytes
from medpipe.system.progress import track
from medpipe.system.text import counted
from medpipe.system.versions import versions
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from medpipe.steps import Dataset, ImageFile, Sample

FORMAT = 2
AT_ONCE = 4
"""How many are read at a time: each may be a large volume, with its image."""
NAMED = 3
"""How many samples a note names."""
RESAMPLED = 10
"""How many resampled masks a note names: that they fit is to be looked at."""

Found = list[Any]
"""What is remembered of a mask: its digest, the voxels of each name, all voxels, and whether it was
resampled."""


@attrs.frozen(kw_only=True, eq=False)
class LabelScan:
    """What was found in the masks of a data set.

    Attributes:
        sha256: A digest of each mask as it is read, by sample id.
        counts: The pixels of each of the task's names, by sample id.
        whole: The ids of samples whose masks are of one name everywhere.
        resampled: The ids of samples whose masks were put onto their images' grids.
        notes: Sentences about what may be wrong.
    """

    sha256: Mapping[str, str] = attrs.field(repr=False)
    counts: Mapping[str, tuple[int, ...]] = attrs.field(repr=False)
    whole: tuple[str, ...] = ()
    resampled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, samples: Sequence[Sample]) -> LabelScan:
        """The same of some samples."""
        ids = {sample.id: None for sample in samples}
        return attrs.evolve(
            self,
            sha256={id_: self.sha256[id_] for id_ in ids},
            counts={id_: self.counts[id_] for id_ in ids},
            whole=tuple(id_ for id_ in self.whole if id_ in ids),
            resampled=tuple(id_ for id_ in self.resampled if id_ in ids),
        )


def scan_labels(dataset: Dataset, *, workers: int) -> tuple[LabelScan, list[Fault]]:
    """Read every mask of a data set once, with its image, whose grid it must have.

    What was found is kept in the cache directory; a mask is read again when a path, size, inode or
    time of its files or its image's differs.

    Args:
        dataset: Samples with a `LabelImage`, whose images can be read.
        workers: How many threads read.

    Returns:
        What was found, and a fault for each sample whose mask can't be used.
    """
    memory = _Memory.of(dataset)
    # Before anything is read: what changes meanwhile is read again the next time.
    keys = {sample.id: _key(sample, dataset) for sample in dataset.samples}
    known = {id_: memory.found(key) for id_, key in keys.items()}
    unread = [sample for sample in dataset.samples if known[sample.id] is None]

    def read(sample: Sample) -> Found | DataError:
        try:
            return _read(sample, dataset)
        except DataError as error:
            return error

    faults = []
    if unread:
        with ThreadPoolExecutor(max(1, min(workers, AT_ONCE))) as threads:
            results = threads.map(read, unread)
            for sample, result in zip(
                unread, track(results, "Reading masks", len(unread), unit="masks"), strict=True
            ):
                if isinstance(result, DataError):
                    faults.append(
                        Fault(
                            kind="label",
                            message=str(result),
                            sample=sample.id,
                            path=_source(sample),
                        )
                    )
                else:
                    known[sample.id] = result
                    memory.add(keys[sample.id], result)
        memory.save()
    found = {id_: one for id_, one in known.items() if one is not None}
    scan = LabelScan(
        sha256={id_: sha256 for id_, (sha256, *_) in found.items()},
        counts={id_: tuple(counts) for id_, (_, counts, *_) in found.items()},
        whole=tuple(id_ for id_, (_, counts, size, _) in found.items() if size in counts),
        resampled=tuple(id_ for id_, (*_, resampled) in found.items() if resampled),
    )
    return attrs.evolve(scan, notes=tuple(_notes(dataset, scan))), faults


def _source(sample: Sample) -> str:
    """The first file of a sample's mask, or of its image."""
    assert isinstance(sample.label, LabelImage)
    given = sample.label.image
    masks = [one for one in given if one is not None] if isinstance(given, tuple) else [given]
    files = [found for image in (*masks, sample.image) if (found := source_of(image))]
    return files[0] if files else ""


def _read(sample: Sample, dataset: Dataset) -> Found:
    """What is remembered of a sample's mask.

    Raises:
        DataError: It can't be read, or does not fit its image.
    """
    import numpy as np

    assert isinstance(sample.label, LabelImage)
    image = read_sample_image(sample.image, dataset.reading)
    label, names = sample.label, range(len(dataset.task.names))
    if label.values is None and not isinstance(label.image, tuple):  # here the names are known
        known = ((0, ()), *((place + 1, (place,)) for place in names))
        label = attrs.evolve(label, values=known)
    read = read_noted(label, image, dataset.reading)
    mask = read.mask
    values = np.ascontiguousarray(mask.values)
    if mask.channels:
        counts = [int((values[..., place] == 1).sum()) for place in names]
    else:
        every = np.bincount(values.ravel(), minlength=IGNORED + 1)
        counts = [int(every[place + 1]) for place in names]
    size = values.size // (len(names) if mask.channels else 1)
    sha256 = sha256_of(f"{values.shape}".encode(), values.data.cast("B"))
    return [sha256, counts, size, read.resampled]


def _notes(dataset: Dataset, scan: LabelScan) -> Iterator[str]:
    """What may be wrong: empty masks, structures that occur nowhere."""
    counts = scan.counts
    said = {sample.id for sample in dataset.samples if _absent(sample)}
    empty = [id_ for id_, count in counts.items() if not any(count) and id_ not in said]
    if scan.resampled:
        verb = "was" if len(scan.resampled) == 1 else "were"
        yield (
            f"{counted(len(scan.resampled), 'mask')} on another grid than the image {verb} "
            "resampled onto it by nearest neighbour (dataset.on_mismatch): "
            f"{_some(scan.resampled, RESAMPLED)}."
        )
    if empty:
        verb = "is" if len(empty) == 1 else "are"
        yield (
            f"{counted(len(empty), 'mask')} {verb} empty ({_some(empty)}), which is taken for an "
            "image without any of the structures. Leave out what is not annotated."
        )
    whole = [id_ for id_ in scan.whole if id_ in counts]
    if whole:
        verb = "is" if len(whole) == 1 else "are"
        yield (
            f"{counted(len(whole), 'mask')} {verb} of one structure everywhere, without any "
            f"background ({_some(whole)}). Look whether the values of dataset.labels are right."
        )
    for place, name in enumerate(dataset.task.names):
        if counts and not any(count[place] for count in counts.values()):
            yield f"The {dataset.task.step.word} {name!r} is in no mask."
    same: dict[str, list[str]] = {}
    for id_, sha256 in scan.sha256.items():
        if sum(counts[id_]) > NAMED:
            same.setdefault(sha256, []).append(id_)
    for ids in [ids for ids in same.values() if len(ids) > 1][:NAMED]:
        yield f"The masks of {ids[0]!r} and {ids[1]!r} are equal, though their images differ."


def _some(ids: Sequence[str], most: int = NAMED) -> str:
    """``'a', 'b', 'c' and 9 more``."""
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(map(repr, ids[:most])) + more


def _absent(sample: Sample) -> bool:
    """Whether it is said of a sample that something is not in it."""
    return isinstance(sample.label, LabelImage) and bool(sample.label.absent)


@attrs.frozen(kw_only=True, eq=False)
class _Memory:
    """What was found in masks before, by the state of their files."""

    path: Path | None
    kept: dict[str, Found]
    used: dict[str, Found] = attrs.field(factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> _Memory:
        """Read what is kept for a data set, named by its files."""
        files = sorted(str(source_of(sample.image)) for sample in dataset.samples)
        try:
            name = sha256_of("\0".join(files).encode("utf-8", "surrogateescape"))[:32]
            path = cache_directory() / "labels" / f"{name}.json"
            content = json.loads(path.read_bytes())
            kept = content["found"] if content["format"] == FORMAT else {}
        except RunError:
            return cls(path=None, kept={})
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path=path, kept={})
        return cls(path=path, kept=kept)

    def found(self, key: str | None) -> Found | None:
        """What was found in a sample's mask, if nothing of its files has changed."""
        found = None if key is None else self.kept.get(key)
        if key is not None and found is not None:
            self.used[key] = found
        return found

    def add(self, key: str | None, found: Found) -> None:
        """Remember what was found."""
        if key is not None:
            self.used[key] = found

    def save(self) -> None:
        """Write it; where that can't be done, masks are read again the next time."""
        if self.path is None or not self.used:
            return
        try:
            with suppress(FileExistsError):
                make_directories(self.path.parent)
            content = json.dumps({"format": FORMAT, "found": self.used})
            write_bytes(self.path, content.encode("ascii"))
        except (OSError, RunError) as error:
            warn_without_cache("Masks are read again the next time", error)


def _key(sample: Sample, dataset: Dataset) -> str | None:
    """The state of a sample's files, hashed; None for what is in memory, or is not there."""
    label = sample.label
    assert isinstance(label, LabelImage)
    if any(reader.made_by is None for reader in dataset.reading.readers):
        return None
    given = [sample.image, *(label.image if isinstance(label.image, tuple) else (label.image,))]
    states: list[Any] = []
    for image in given:
        files = () if image is None else image_files(image)
        if files is None:
            return None
        try:
            states.append([_state(path) for file in files for path in _paths(file)])
        except OSError:
            return None
    readers = [reader.made_by for reader in dataset.reading.readers]
    meaning = [label.values, label.ignore, label.channels, label.absent, label.on_mismatch]
    meaning.append(len(dataset.task.names))
    text = repr([states, meaning, dataset.reading.plain(), readers, versions()["medpipe"]])
    return sha256_of(text.encode("utf-8", "surrogateescape"))


def _paths(file: ImageFile) -> Sequence[str]:
    return file.files if isinstance(file, Series) else (os.fspath(file),)


def _state(path: str) -> tuple[str, int, int, int, int]:
    status = os.stat(path)  # noqa: PTH116  (many files)
    times = status.st_mtime_ns, status.st_ctime_ns
    return os.path.abspath(path), status.st_size, *times, status.st_ino  # noqa: PTH100
