"""MedNIST: the data set of the MONAI tutorial."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.builtin.datasets.listing.wording import counted, looked_in
from medpipe.plugin import (
    DataError,
    Dataset,
    DatasetStep,
    DownloadError,
    Fault,
    FolderListing,
    Sample,
    Task,
    UnreadableImageError,
    cache_directory,
    file_mode,
    find_images,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

CLASSES = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
"""The six classes, sorted by code point as MONAI sorts them; a label is an index here."""
URL = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/MedNIST.tar.gz"
)
MD5 = "0bc7306e7427e00ad1c5526a6677552d"
FOLDER = "MedNIST"
ARCHIVE = "MedNIST.tar.gz"
_MOST_DOWNLOADED = 200_000_000
_MOST_SHOWN = 10
_log = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True)
class MedNIST(DatasetStep):
    """MedNIST: 58,954 grey images of 64x64 pixels in six classes.

    Looks for the folder ``MedNIST`` or for ``MedNIST.tar.gz`` in `root`, then in the folder that
    the environment variable ``MEDPIPE_DATA`` names, then in ``datasets`` in the cache directory;
    the first that is found is used. An archive is extracted once, into the cache directory. If
    nothing is found, the archive that MONAI publishes is downloaded to the cache directory.

    Gathered from TCIA, the RSNA Bone Age Challenge and the NIH Chest X-ray data set by
    Dr. Bradley J. Erickson (Mayo Clinic), CC BY-SA 4.0; the same files, url and checksum as
    ``monai.apps.MedNISTDataset``. The images are those directly in the six class folders; other
    files are skipped and counted.

    Attributes:
        suggested: The numbers of MONAI's tutorial; see `DatasetStep.suggested`.
        augmentation: None, as in the tutorial.
        root: The folder that holds ``MedNIST`` or ``MedNIST.tar.gz``. None: only the other
            places are searched.
        download: Whether the archive may be downloaded.
    """

    name: ClassVar[str] = "mednist"
    suggested: ClassVar[Mapping[str, Any]] = {
        "loader.batch_size": 512,
        "loader.sampling": "shuffled",
        "network.init_features": 64,
        "network.growth_rate": 32,
        "trainer.max_epochs": 3,
        "trainer.learning_rate": 1e-5,
        "trainer.schedule": "constant",
    }
    augmentation: ClassVar[Sequence[str]] = ()

    root: Path | None = None
    download: bool = True

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Two pictures in each of the six folders."""
        from medpipe.builtin.datasets.drawn import draw_picture

        for place, name in enumerate(CLASSES):
            for number in range(2):
                draw_picture(folder / FOLDER / name / f"00{number}.png", 2 * place + number)
        return [cls(root=folder, download=False)]

    def build(self) -> Dataset:
        """List the images, sorted by id; the first use extracts or downloads them.

        Raises:
            DownloadError: The images are nowhere and can't be downloaded.
            DataError: A class is missing or empty, a file can't be read, or the archive is not
                safe.
        """
        return self._list(None)

    def build_with_faults(self) -> Dataset:
        """List the images as `build` does, with errors in single files as faults.

        Raises:
            DownloadError: The images are nowhere and can't be downloaded.
            DataError: A class is missing or empty, or the archive is not safe.
        """
        faults: list[Fault] = []
        dataset = self._list(faults)
        return attrs.evolve(dataset, faults=sorted(faults, key=attrgetter("sample")))

    def _list(self, faults: list[Fault] | None) -> Dataset:
        samples, notes = list_samples(self._find(), faults)
        return Dataset(samples=samples, task=Task(names=CLASSES), notes=notes)

    def _find(self) -> Path:
        places = self._places()
        for place in places:
            folder, archive = place / FOLDER, place / ARCHIVE
            if any(_is_folder(folder / name) for name in CLASSES):
                _log.debug("MedNIST is taken from %s", folder)
                return folder
            if all(_is_folder(place / name) for name in CLASSES):  # the folder itself was named
                _log.debug("MedNIST is taken from %s", place)
                return place
            if stat.S_ISREG(_mode(archive)):
                _log.debug("MedNIST is taken from %s", archive)
                return extracted(archive)
        return extracted(self._download(places))

    def _places(self) -> list[Path]:
        """The folders to search, the first one first."""
        places = []
        if self.root is not None:
            root = Path(self.root).expanduser()
            if not _is_folder(root):
                raise DataError(
                    f"dataset.root: there is no folder {root}{looked_in(root)}. Name the folder "
                    f"that holds {FOLDER}/ or {ARCHIVE}."
                )
            places.append(root)
        chosen = os.environ.get("MEDPIPE_DATA")
        if chosen:
            places.append(Path(chosen).expanduser())
        return [*places, _datasets()]

    def _download(self, searched: list[Path]) -> Path:
        where = ", ".join(str(place) for place in searched)
        missing = f"MedNIST was not found: neither {FOLDER}/ nor {ARCHIVE} is in {where}"
        remedy = (
            "Set the environment variable MEDPIPE_DATA or dataset.root to the folder that holds "
            'one of them, or use the generated data set: [dataset] step = "phantom".'
        )
        if not self.download:
            raise DownloadError(f"{missing}, and dataset.download is false. {remedy}")
        from medpipe.plugin import download

        target = _datasets() / ARCHIVE
        try:
            return download(URL, target, md5=MD5, most_bytes=_MOST_DOWNLOADED)
        except DownloadError as error:
            raise DownloadError(f"{missing}. {error} {remedy}") from error


def extracted(archive: Path) -> Path:
    """The folder with the archive's six classes; the first call extracts it.

    The folder is in the cache directory and named by the first 16 digits of the archive's SHA-256,
    so that it is never confused with another archive. The digest is cached by path, size and times,
    so that later calls need not read the whole archive.

    Raises:
        DataError: The archive is not safe, or lacks a class.
    """
    from medpipe.plugin import extract_archive

    base = _datasets() / FOLDER
    try:
        state = archive.stat()
        # Copying programs may set mtime, but not ctime.
        times = f"{state.st_mtime_ns}\n{state.st_ctime_ns}\n{state.st_ino}"
        seen = f"{archive.resolve()}\n{state.st_size}\n{times}"
        name = hashlib.sha256(os.fsencode(seen)).hexdigest()[:16]
        note = base / "notes" / f"{name}.txt"
        known = _noted(note)
        digest = known or _digest_of(archive)
        target = base / digest
        extract_archive(archive, target, check=_refuse_another(archive), replace=True)
    except OSError as error:
        raise DataError(
            f"{archive} can't be extracted to {base}: {error}. Choose a cache folder that you may "
            "write to with the environment variable MEDPIPE_CACHE."
        ) from error
    if known is None:
        with suppress(OSError):  # it only saves time
            note.parent.mkdir(exist_ok=True)
            note.write_text(digest, encoding="ascii")
    return target / FOLDER


def _noted(note: Path) -> str | None:
    """The digest that a note holds; None where there is none, or it was cut."""
    try:
        found = note.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return found if re.fullmatch(r"[0-9a-f]{16}", found) else None


def _digest_of(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _refuse_another(archive: Path) -> Callable[[Path], None]:
    """Return a check that refuses a folder that lacks one of the classes."""

    def refuse(folder: Path) -> None:
        try:
            list_samples(folder / FOLDER)
        except DataError as error:
            raise DataError(
                f"{archive} is not a MedNIST archive: it has no images in one of its folders "
                f"{', '.join(f'{FOLDER}/{name}' for name in CLASSES)}. Nothing was kept."
            ) from error

    return refuse


def list_samples(
    folder: Path, faults: list[Fault] | None = None
) -> tuple[list[Sample], tuple[str, ...]]:
    """The samples of a folder with the six classes, sorted by id, and notes on other files.

    Args:
        folder: The folder.
        faults: Collects errors in single files. None: they are raised.

    Raises:
        DataError: A class is missing or holds no image.
    """
    samples: list[Sample] = []
    listing = FolderListing(faults=faults)
    inner: list[str] = []
    for name in CLASSES:
        if not _is_folder(folder / name):
            raise DataError(
                f"MedNIST in {folder} has no folder {name}. Complete it, or remove {folder} so "
                "that the archive is used."
            )
        inner += listing.look(os.fspath(folder / name), name, required=True)
    found = find_images(listing)
    by_class: dict[str, list[str]] = {name: [] for name in CLASSES}
    for id_ in found.images:
        by_class[id_.partition("/")[0]].append(id_)
    for label, (name, ids) in enumerate(by_class.items()):
        if not ids:
            wrong = [f"\n{fault}" for fault in faults or () if fault.sample.startswith(f"{name}/")]
            raise DataError(
                f"MedNIST in {folder} has no images in {name}. Complete it, or remove {folder} so "
                f"that the archive is used.{''.join(wrong[:_MOST_SHOWN])}"
            )
        samples += [Sample(id=id_, image=found.images[id_], label=label) for id_ in sorted(ids)]
    if not inner:
        return samples, found.notes
    below = (
        f"{counted(len(inner), 'folder')} in the folders of the classes "
        f"{'was' if len(inner) == 1 else 'were'} passed over, {min(inner)!r}"
        f"{'' if len(inner) == 1 else ' for one'}."
    )
    return samples, (*found.notes, below)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """The mode of a path, 0 if it doesn't exist; a path that can't be read is an error."""
    try:
        return file_mode(os.fspath(path))
    except UnreadableImageError as error:
        raise DataError(f"{error.path} {error.reason}.") from error


def _datasets() -> Path:
    return cache_directory() / "datasets"
