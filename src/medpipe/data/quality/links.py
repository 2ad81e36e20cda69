"""Links in a data set's folder that lead out of it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from medpipe.data.quality.faults import fault
from medpipe.data.readers.reader import image_files
from medpipe.steps import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.errors import Fault
    from medpipe.steps import Sample


def link_faults(samples: Sequence[Sample]) -> Iterator[Fault]:
    """Samples whose files are links that lead out of the folder in which the ids begin.

    That folder itself may be a link, and so may be what lies above it.
    """
    real_roots: dict[str, str] = {}
    for sample in samples:
        for path in _files(sample):
            text = os.path.abspath(path)  # noqa: PTH100  (many files)
            root = _root(text, sample.id)
            if root not in real_roots:
                real_roots[root] = os.path.realpath(root)
            try:
                target = _target(text, root)
            except (OSError, ValueError):
                break  # a fault of its own: it can't be read either
            if target is not None and not _below(target, real_roots[root]):
                yield fault(
                    sample,
                    "link",
                    f"{text} is a link that leads out of {root or os.sep}, to {target}.",
                )
                break


def _files(sample: Sample) -> Iterator[str]:
    for file in image_files(sample.image) or ():
        yield from file.files if isinstance(file, Series) else (os.fspath(file),)


def _root(path: str, sample_id: str) -> str:
    """The folder in which the id begins; where it is no part of the path, the file's own."""
    tail = os.sep + sample_id.replace("/", os.sep)
    return path.removesuffix(tail) if path.endswith(tail) else os.path.dirname(path)  # noqa: PTH120


def _target(path: str, root: str) -> str | None:
    """Where a file below a root really is, if it or a folder between the two is a link."""
    place = path
    while len(place) > len(root):
        if stat.S_ISLNK(os.lstat(place).st_mode):
            return os.path.realpath(path)
        place = os.path.dirname(place)  # noqa: PTH120
    return None


def _below(path: str, root: str) -> bool:
    return path.startswith(os.path.join(root, ""))  # noqa: PTH118
