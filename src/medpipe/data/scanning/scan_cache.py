"""The scan's cache: fingerprints by the state of their files.

A file is recognised by its path, its size, its inode and both of its times: when its content was
written (mtime), which copying programs may set (``cp -p``, ``rsync -t``, ``unzip``), and when
anything of it was changed (ctime), which nobody can set.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from array import array
from itertools import compress
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.reader import image_files
from medpipe.data.scanning.fingerprints import Digests, Fingerprints, FoundFingerprints
from medpipe.errors import MedpipeError
from medpipe.steps import Series
from medpipe.system.cache_folder import cache_directory, warn_without_cache
from medpipe.system.files import sha256_of, write_bytes
from medpipe.system.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from medpipe.steps import Dataset, ImageFile, Reading, Sample

logger = logging.getLogger("medpipe")

CACHE_FORMAT = 7
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

FileState = tuple[str, int, int, int, int]
"""Name, size, both times and inode; see `FileStates`."""
NO_FILE: FileState = ("", 0, 0, 0, 0)
Columns = tuple[bytes, bytes, bytes, bytes, bytes]
"""The names, the sizes, both times and the inodes of `FileStates`."""
NO_COLUMNS: Columns = (b"", b"", b"", b"", b"")

TICK = 20_000_000
"""Nanoseconds within which two changes of a file may have one time: a tick of the system's clock
has ten milliseconds at most."""
COARSE_TICK = 2_000_000_000
"""The same on disks that store whole seconds."""

AT_ONCE = 4096
"""Files that are looked at together."""
_NUMBER = (1 << 64) - 1
"""The bits of an inode that are kept: it is longer on some disks under Windows."""
_BETWEEN = "\0"
"""Between names: no path holds it."""


@attrs.frozen(kw_only=True, eq=False)
class FileStates:
    """The state of the files of samples at one time, a column for each attribute.

    Attributes:
        names: The absolute path of each sample's file; of several files or a series a text that
            tells their paths, sizes and times. Empty: there is no such file.
        sizes: In bytes, of all files of a sample together.
        times: When the content was written, in nanoseconds; 0 where the name tells them.
        changed: When anything of the file was changed; of several the last one.
        numbers: The inodes; 0 where the name tells them.
    """

    names: Sequence[str]
    sizes: array[int]
    times: array[int]
    changed: array[int]
    numbers: array[int]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> FileStates:
        """Look at the files of samples, without reading them."""
        images = [sample.image for sample in samples]
        plain = _plain(images) if set(map(type, images)) == {str} else None
        if plain is not None:
            return plain
        found = [
            (_status(image) or NO_FILE)
            if isinstance(image, (str, os.PathLike))
            else _several(image)
            for image in images
        ]
        columns: list[Any] = list(zip(*found, strict=True)) or [()] * 5
        names, *counted, numbers = columns
        sizes, times, changed = (array("q", column) for column in counted)
        return cls(
            names=names, sizes=sizes, times=times, changed=changed, numbers=array("Q", numbers)
        )

    @classmethod
    def from_columns(cls, columns: Columns) -> FileStates:
        """Take back what `columns` gave."""
        text, sizes, times, changed, numbers = columns
        names = text.decode("utf-8", "surrogatepass").split(_BETWEEN) if sizes else ()
        return cls(
            names=names,
            sizes=array("q", sizes),
            times=array("q", times),
            changed=array("q", changed),
            numbers=array("Q", numbers),
        )

    def those(self, chosen: Sequence[bool]) -> FileStates:
        """Those of some samples."""
        if all(chosen):
            return self
        return FileStates(
            names=list(compress(self.names, chosen)),
            sizes=array("q", compress(self.sizes, chosen)),
            times=array("q", compress(self.times, chosen)),
            changed=array("q", compress(self.changed, chosen)),
            numbers=array("Q", compress(self.numbers, chosen)),
        )

    def columns(self) -> Columns:
        """The attributes in bytes, as they are kept."""
        text = _BETWEEN.join(self.names).encode("utf-8", "surrogatepass")
        columns = (self.sizes, self.times, self.changed, self.numbers)
        sizes, times, changed, numbers = [column.tobytes() for column in columns]
        return text, sizes, times, changed, numbers

    def rows(self) -> Iterator[FileState]:
        """One sample's after the other."""
        columns = (self.sizes, self.times, self.changed, self.numbers)
        return zip(self.names, *columns, strict=True)

    def ends(self) -> tuple[str, str] | None:
        """The first and the last of all paths, in their order as text; None where there is none."""
        first, last = min(self.names, default=""), max(self.names, default="")
        if first.startswith("/") and last.startswith("/"):  # so do all between
            return first, last
        paths = [name for name in self.names if name[:1] not in ("", "[")]
        for name in self.names:
            if name.startswith("["):
                paths += [part[0] for part in json.loads(name)[1:]]
        return (min(paths), max(paths)) if paths else None


@attrs.frozen(kw_only=True, eq=False)
class _Kept:
    """What an earlier scan wrote.

    Attributes:
        columns: The state of the files.
        fingerprints: Theirs, in their order; by no ids.
    """

    columns: Columns
    fingerprints: Fingerprints


class ScanMemory:
    """The fingerprints of a data set's images that an earlier scan found, if they didn't change.

    Args:
        dataset: The samples, and how they are decoded.

    Attributes:
        files: The state of each sample's files when this was made.
        path: Where they are kept; None for images that are in memory.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._ids = tuple([sample.id for sample in dataset.samples])
        self.files = FileStates.of(dataset.samples)
        self.path = _cache_file(self.files, dataset.reading)
        self._kept = _load(self.path) if self.path else None
        self._settled = 0

    def whole(self) -> Fingerprints | None:
        """The fingerprints, if the last scan read just these samples in this order; else None."""
        if self._kept is None or self._kept.columns != self.files.columns():
            return None
        return attrs.evolve(self._kept.fingerprints, ids=self._ids)

    def known(self) -> FoundFingerprints:
        """The fingerprints of those that were read."""
        found = FoundFingerprints()
        if self._kept is None:
            return found
        states = FileStates.from_columns(self._kept.columns).rows()
        entries = dict(zip(states, self._kept.fingerprints.each(), strict=True))
        for sample_id, state in zip(self._ids, self.files.rows(), strict=True):
            if state in entries:
                found.add(sample_id, entries[state])
        return found

    def settle(self) -> None:
        """Wait until any later write to the files gives them another time.

        To be called before they are read. Two changes within one tick of a clock leave one time:
        a file that was read between the two would count as unchanged for ever.
        """
        newest = max(self.files.changed, default=0)
        tick = TICK if newest % 1_000_000_000 else COARSE_TICK
        rest = newest + tick - time.time_ns()
        if 0 < rest <= tick:
            time.sleep(rest / 1e9)
        self._settled = time.time_ns()

    def save(self, found: FoundFingerprints) -> None:
        """Remember the fingerprints of these samples, and forget all others of these files.

        Files that a disk whose clock is ahead changed just now are not remembered.
        """
        if self.path is None:
            return
        states = zip(self._ids, self.files.names, self.files.changed, strict=True)
        limit = self._settled or time.time_ns()
        read = [bool(name) and id_ in found and changed < limit for id_, name, changed in states]
        columns = self.files.those(read).columns()
        if columns != (self._kept.columns if self._kept else NO_COLUMNS):
            prints = found.of_ids(compress(self._ids, read))
            self._kept = _Kept(columns=columns, fingerprints=prints)
            _save(self.path, self._kept)


def _plain(paths: Sequence[Any]) -> FileStates | None:
    """The states of samples that have one file each, if all files exist; else None.

    All at once takes less time than to look at each by itself.
    """
    together = _BETWEEN.join(paths)
    absolute = f"{_BETWEEN}{together}".count(f"{_BETWEEN}/") == len(paths)
    if not absolute or _roundabout(together):
        return None
    sizes, times, changed, numbers = array("q"), array("q"), array("q"), array("Q")
    try:
        for start in range(0, len(paths), AT_ONCE):  # what os.stat gives takes 500 bytes
            statuses = list(map(os.stat, paths[start : start + AT_ONCE]))
            sizes.extend([status.st_size for status in statuses])
            times.extend([status.st_mtime_ns for status in statuses])
            changed.extend([status.st_ctime_ns for status in statuses])
            numbers.extend([status.st_ino & _NUMBER for status in statuses])
    except (OSError, ValueError):
        return None
    return FileStates(names=paths, sizes=sizes, times=times, changed=changed, numbers=numbers)


def _roundabout(paths: str) -> bool:
    """Whether a path among these leads through a part that is empty, ``.`` or ``..``."""
    through = "/." in paths and ("/./" in paths or "/../" in paths)  # or a hidden folder's name
    return through or "//" in paths


def _several(image: Any) -> FileState:
    """The state of a sample of several files, or of a series."""
    parts: list[Any] = []
    total = last = 0
    for file in image_files(image) or ():
        statuses = _statuses(file)
        if statuses is None:
            return NO_FILE
        total += sum(size for _, size, *_ in statuses)
        last = max(last, *(changed for *_, changed, _ in statuses))
        if isinstance(file, Series):  # hundreds of files
            text = json.dumps(sorted(statuses)).encode("ascii")
            parts.append([min(statuses)[0], "series", sha256_of(text)])
        else:
            parts += statuses
    # Several files are another sample than each alone.
    name = json.dumps([isinstance(image, tuple), *parts])
    return (name, total, 0, last, 0) if parts else NO_FILE


def _statuses(file: ImageFile) -> list[FileState] | None:
    """The state of each file; None where one is not there."""
    paths = file.files if isinstance(file, Series) else (file,)
    found: list[FileState] = []
    for path in paths:
        status = _status(path)
        if status is None:
            return None
        found.append(status)
    return found or None


def _status(path: str | os.PathLike[str]) -> FileState | None:
    # Not by pathlib: for 59,000 files it takes twice as long.
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    text = os.fspath(path)
    if not text.startswith("/") or _roundabout(text):  # abspath takes longer than stat
        text = os.path.abspath(text)  # noqa: PTH100
    times = status.st_mtime_ns, status.st_ctime_ns
    return text, status.st_size, *times, status.st_ino & _NUMBER


def _cache_file(files: FileStates, reading: Reading) -> Path | None:
    ends = files.ends()
    made_by = [reader.made_by for reader in reading.readers]
    if ends is None or None in made_by:
        return None
    try:
        root = os.path.commonpath(ends)  # what these two share, all share
    except ValueError:  # two drives
        root = ends[0]
    found = {name: version_of(name) for name in DECODERS}
    decoders = {name: version for name, version in found.items() if version}
    named = json.dumps([CACHE_FORMAT, root, reading.plain(), made_by, decoders])
    return cache_directory() / "scans" / f"{sha256_of(named.encode('ascii'))[:32]}.prints"


def _load(cache: Path) -> _Kept | None:
    """The cache's content; None where there is none, or it is not what was written.

    A line with the digest of the rest, a line of JSON, and the columns one after the other.
    """
    try:
        content = cache.read_bytes()
    except (OSError, ValueError):
        return None
    view, start = memoryview(content), content.find(b"\n") + 1  # a view, not to copy it all
    if content[:start] != _first_line(view[start:]):
        return None
    place = content.find(b"\n", start) + 1
    about = json.loads(content[start:place])
    if about["byte_order"] != sys.byteorder:
        return None
    parts: list[bytes] = []
    for size in about["bytes"]:
        parts.append(content[place : place + size])
        place += size
    names, sizes, times, changed, numbers, sha256, pixels, kind_of = parts
    return _Kept(
        columns=(names, sizes, times, changed, numbers),
        fingerprints=Fingerprints(
            ids=(),
            sha256=Digests(width=32, packed=sha256),
            pixels=Digests(width=16, packed=pixels),
            kinds=tuple((tuple(shape), channels) for shape, channels in about["kinds"]),
            kind_of=array("I", kind_of),
            defects=dict(about["defects"]),
        ),
    )


def _save(cache: Path, kept: _Kept) -> None:
    prints = kept.fingerprints
    digests = (prints.sha256.packed, prints.pixels.packed)
    parts = (*kept.columns, *digests, prints.kind_of.tobytes())
    about = {
        "byte_order": sys.byteorder,
        "kinds": prints.kinds,
        "defects": sorted(prints.defects.items()),
        "bytes": [len(part) for part in parts],
    }
    content = (json.dumps(about).encode("ascii") + b"\n", *parts)
    try:
        write_bytes(cache, _first_line(*content), *content)
    except MedpipeError as error:
        warn_without_cache("The next start will read all images again", error)


def _first_line(*content: bytes | memoryview) -> bytes:
    """The line before the content, which tells whether it is whole."""
    return sha256_of(*content).encode("ascii") + b"\n"
