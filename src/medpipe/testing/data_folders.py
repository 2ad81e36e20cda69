"""The files that a dataset step reads: copied, listed in another order, watched.

torch, NumPy and the libraries that decode are imported inside functions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.chosen import chosen
from medpipe.data.readers.reader import image_files
from medpipe.data.readers.unreadable import HEAD
from medpipe.errors import DataError
from medpipe.registry.parameters import values_of
from medpipe.steps import Dataset, LabelImage, ReaderStep, Reading, Sample, Series, listing_with
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medpipe.steps import ChosenReader, DatasetStep

MOST_FILES = 2000
MOST_BYTES = 64 << 20


def listed(case: Case, step: DatasetStep | None = None) -> Dataset:
    """What the step lists, with the faults of single samples, as runs and checks list it."""
    try:
        with listing_with(readers_for(case)):
            found: Any = (step or case.step).build_with_faults()
    except DataError as error:
        raise FailedError(f"it lists nothing: {described(error)}") from error
    if not isinstance(found, Dataset):
        raise FailedError(f"it builds {found!r:.80}, which is no Dataset")
    return found


def by_id(dataset: Dataset) -> dict[str, Sample]:
    """The samples by their ids."""
    return {sample.id: sample for sample in dataset.samples}


def paths_of(step: DatasetStep) -> dict[str, Path]:
    """The parameters that are paths which exist; texts only where they are whole paths."""
    given = {
        name: Path(value)
        for name, value in values_of(step).items()
        if isinstance(value, Path) or (isinstance(value, str) and value.startswith(os.sep))
    }
    return {name: path for name, path in given.items() if path.expanduser().exists()}


def with_paths(step: DatasetStep, paths: Mapping[str, Path]) -> DatasetStep:
    """The step with other paths, as texts where it has texts."""
    own = values_of(step)
    given = {name: type(own[name])(path) for name, path in paths.items()}
    of_attrs: Any = step
    return attrs.evolve(of_attrs, **given)  # type: ignore[no-any-return]


def moved(case: Case, name: str = "elsewhere") -> DatasetStep:
    """The step with its files in a copy of their folder.

    Raises:
        CheckSkipped: It has none, or they are too many to be copied.
    """
    paths = {key: value.expanduser().absolute() for key, value in paths_of(case.step).items()}
    if not paths:
        raise skip("it has no parameter that is a path to files")
    folders = [str(path if path.is_dir() else path.parent) for path in paths.values()]
    root = Path(os.path.commonpath(folders))
    files = bytes_ = 0
    for folder, _, names in os.walk(root):
        files += len(names)
        bytes_ += sum(os.path.getsize(os.path.join(folder, n)) for n in names)  # noqa: PTH118,PTH202
        if files > MOST_FILES or bytes_ > MOST_BYTES:
            raise skip("its files are too many to be copied")
    target = case.folder / name
    shutil.copytree(root, target, symlinks=True)
    there = {key: target / path.relative_to(root) for key, path in paths.items()}
    return with_paths(case.step, there)


def readers_for(case: Case) -> tuple[ChosenReader, ...]:
    """The readers of the step's own plugin, as a configuration would name them.

    Where it is not installed those of its module count; one that does not work is left out.
    """
    own = type(case.step)
    plugins = [plugin for plugin in case.registry.plugins if own in plugin.steps]
    if any(plugin.builtin for plugin in plugins):
        return ()
    offered = [cls for plugin in plugins for cls in plugin.steps if issubclass(cls, ReaderStep)]
    if not plugins:
        offered = [cls for cls in _below(ReaderStep) if cls.__module__ == own.__module__]
    steps: list[ReaderStep] = []
    for cls in offered:
        with contextlib.suppress(Exception):  # it has parameters without defaults, or is broken
            reader: Any = cls()
            if reader.recognises(bytes(HEAD), "file") in (True, False):
                steps.append(reader)
    return chosen(steps, case.registry)


def reading_of(case: Case, dataset: Dataset) -> Reading:
    """How its files are read, with the readers of its package."""
    return attrs.evolve(dataset.reading, readers=readers_for(case))


def files_of(sample: Sample, *, label: bool = False) -> list[str]:
    """The files of a sample's image, and of its label."""
    images = [sample.image]
    if label and isinstance(sample.label, LabelImage):
        given = sample.label.image
        images += [one for one in given if one] if isinstance(given, tuple) else [given]
    return [
        os.fspath(path)
        for image in images
        for file in image_files(image) or ()
        for path in (file.files if isinstance(file, Series) else (file,))
    ]


def few(dataset: Dataset, most: int = 4) -> list[Sample]:
    """Some samples: of each label one, as far as there may be so many."""
    firsts: dict[str, Sample] = {}
    for sample in dataset.samples:
        firsts.setdefault(repr(sample.label)[:40], sample)
        if len(firsts) == most:
            break
    return list(firsts.values())


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Each file and folder below one, with its time of change and a digest of its content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


class _Entries:
    """What `os.scandir` gives, in a given order."""

    def __init__(self, entries: list[os.DirEntry[Any]]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> os.DirEntry[Any]:
        return next(self._entries)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


@contextlib.contextmanager
def folders_listed(*, backwards: bool) -> Iterator[None]:
    """Let folders be listed by name, forwards or backwards: systems promise no order."""
    scan, names = os.scandir, os.listdir

    def scanned(path: Any = ".") -> Any:
        with scan(path) as entries:
            return _Entries(sorted(entries, key=lambda e: os.fsencode(e.name), reverse=backwards))

    def named(path: Any = ".") -> Any:
        return sorted(names(path), key=os.fsencode, reverse=backwards)

    os.scandir, os.listdir = scanned, named
    try:
        yield
    finally:
        os.scandir, os.listdir = scan, names


@contextlib.contextmanager
def decodings() -> Iterator[list[str]]:
    """Collect which decoders are called: of medpipe, Pillow, nibabel and pydicom."""
    import nibabel.arrayproxy
    import PIL.ImageFile
    import pydicom.dataset

    from medpipe.data.readers import reader

    called: list[str] = []
    watched: list[tuple[Any, str, str]] = [
        (reader, "decode_content", "medpipe's read_image"),
        (PIL.ImageFile.ImageFile, "load", "Pillow"),
        (nibabel.arrayproxy.ArrayProxy, "__array__", "nibabel"),
        (pydicom.dataset.Dataset, "convert_pixel_data", "pydicom"),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    for (owner, name, said), (_, _, original) in zip(watched, kept, strict=True):
        setattr(owner, name, _noted(original, said, called))
    try:
        yield called
    finally:
        for owner, name, original in kept:
            setattr(owner, name, original)


def _noted(original: Any, said: str, called: list[str]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        called.append(said)
        return original(*args, **kwargs)

    return noted


def _below(cls: type[Any]) -> list[type[Any]]:
    found = [inner for one in cls.__subclasses__() for inner in (one, *_below(one))]
    return [one for one in found if one.__module__ in sys.modules]
