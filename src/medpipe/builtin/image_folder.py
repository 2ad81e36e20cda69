"""Images in folders, one folder for each class."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from medpipe.plugin import DataError, Dataset, DatasetStep, Reading, Sample, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_log = logging.getLogger("medpipe")


def _has_capture(
    instance: ImageFolder, attribute: attrs.Attribute[str | None], value: str | None
) -> None:
    if value is None:
        return
    try:
        pattern = re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}.") from error
    if not pattern.groups:
        raise ValueError(
            f"{value!r} captures nothing. Put the part of the path that names the group (the "
            r"patient) in parentheses: (person\d+)."
        )


@attrs.frozen(kw_only=True)
class ImageFolder(DatasetStep):
    r"""Images in folders: one class for each folder in `root`, files at any depth below it.

    Takes ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff`` and ``.bmp`` in any case. Hidden
    files and folders and files of other kinds (``Thumbs.db``) are passed over. Links to folders
    are not followed, links to files are. Classes are sorted by name; a sample's id is its path
    below `root` with ``/`` between folders, in Unicode form NFC, the same on every machine.

    Attributes:
        root: The folder that holds the class folders.
        channels: 1: images become grey; 3: they become RGB; ``"auto"``: as the files have them,
            without alpha and with palettes resolved.
        group_pattern: A regular expression that is searched in each id; what it captures, joined
            by ``/``, is the sample's group: samples of one group (one patient) stay in one part.
            ``(person\d+)``. None: every image is a group of its own.
    """

    name: ClassVar[str] = "image_folder"

    root: Path
    channels: Literal[1, 3, "auto"] = "auto"
    group_pattern: str | None = attrs.field(default=None, validator=_has_capture)

    def build(self) -> Dataset:
        """List the images, sorted by id.

        Raises:
            DataError: The folder isn't there or isn't laid out so, a file can't be reached, or
                `group_pattern` does not fit a file.
        """
        root = Path(self.root).expanduser()
        try:
            classes = _class_folders(root)
            files = {name: _images(folder, name) for name, folder in classes.items()}
        except OSError as error:
            raise DataError(f"{error.filename or root} can't be read: {error.strerror}.") from error
        empty = [name for name, found in files.items() if not found]
        if empty:
            raise DataError(
                f"{root}: no images in the class folder{'s' * (len(empty) > 1)} "
                f"{_listed(empty)}. Images are files ending in {', '.join(SUFFIXES)}. "
                f"Remove the folder{'s' * (len(empty) > 1)} or add "
                f"{'its' if len(empty) == 1 else 'their'} images."
            )
        pattern = None if self.group_pattern is None else re.compile(self.group_pattern)
        samples = [
            Sample(id=id_, image=path, label=label, group=_group(pattern, id_, root))
            for label, name in enumerate(classes)
            for id_, path in sorted(files[name].items())
        ]
        return Dataset(
            samples=samples,
            task=Task(names=tuple(classes)),
            reading=Reading(channels=self.channels),
        )


def _class_folders(root: Path) -> dict[str, str]:
    """The class folders of `root` by name, sorted, or the error that says what it looks like."""
    if not root.exists():
        raise DataError(f"dataset.root: there is no folder {root}.")
    if not root.is_dir():
        raise DataError(
            f"dataset.root: {root} is a file. Name the folder that holds one folder for each class."
        )
    folders: dict[str, str] = {}
    images = []
    others = False
    for entry in _visible(root):
        name = _portable(entry.name, root)
        if entry.is_dir(follow_symlinks=False):
            if name in folders:
                raise DataError(
                    f"{root} holds two folders whose names are both {name!r} in Unicode form NFC. "
                    "Rename one of them."
                )
            folders[name] = entry.path
        elif entry.is_dir():
            raise DataError(
                f"{entry.path} is a link to a folder, and such links are not followed. Put the "
                "folder itself there, or remove the link."
            )
        elif _is_image(entry):
            images.append(name)
        else:
            others = True
    if images:
        raise DataError(
            f"{root} holds {len(images)} image{'s' * (len(images) > 1)} outside of any class "
            f"folder, {min(images)!r} for one. Put each into the folder of its class."
        )
    if not folders:
        state = "holds no folders" if others else "is empty"
        raise DataError(f"{root} {state}. It must hold one folder of images for each class.")
    parts = sorted(name for name in folders if name.lower() in _PARTS)
    if parts:
        raise DataError(
            f"{root} holds the folders {_listed(sorted(folders))}: {_listed(parts)} "
            f"{'looks like a given part' if len(parts) == 1 else 'look like given parts'} of a "
            "data set, not like classes. "
            "Point dataset.root at one of them; to bring your own parts, use the table data set "
            "with a split column."
        )
    if len(folders) == 1:
        raise DataError(
            f"{root} holds one class only, {next(iter(folders))!r}. A classifier needs two or "
            "more: dataset.root must be the folder above the class folders."
        )
    return dict(sorted(folders.items()))


def _images(folder: str, id_: str) -> dict[str, str]:
    """The paths of the images at any depth below a folder whose own id is `id_`, by id."""
    found: dict[str, str] = {}
    waiting = [(folder, id_)]
    while waiting:
        current, above = waiting.pop()
        for entry in _visible(current):
            inner = f"{above}/{_portable(entry.name, current)}"
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, inner))
            elif entry.is_dir():
                _log.warning("%s is a link to a folder and was not followed", entry.path)
            elif _is_image(entry):
                if inner in found:
                    raise DataError(
                        f"{entry.path} and {found[inner]} have the same name in Unicode form NFC. "
                        "Rename one of them."
                    )
                found[inner] = entry.path
    return found


def _visible(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry


def _is_image(entry: os.DirEntry[str]) -> bool:
    if not entry.name.lower().endswith(SUFFIXES):
        return False
    if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
        raise DataError(f"{entry.path} is a link to a file that is not there.")
    return entry.is_file()


def _portable(name: str, folder: str | Path) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{folder} holds a name that is not UTF-8: {os.fsencode(name)!r}. Rename it."
        ) from error
    return unicodedata.normalize("NFC", name)


def _group(pattern: re.Pattern[str] | None, id_: str, root: Path) -> str | None:
    if pattern is None:
        return None
    match = pattern.search(id_)
    if match is None:
        raise DataError(
            f"dataset.group_pattern: {pattern.pattern!r} does not match {id_!r} in {root}. "
            "It must match every file; change the pattern or rename the file."
        )
    if not any(match.groups()):
        raise DataError(
            f"dataset.group_pattern: {pattern.pattern!r} captures nothing in {id_!r} in {root}. "
            "It must capture the group of every file; change the pattern or rename the file."
        )
    return "/".join(captured or "" for captured in match.groups())


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
