"""Which folders below a root hold the images of which class and of which given part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from medpipe.builtin.listing.found_files import find_images, is_file, portable, visible
from medpipe.builtin.listing.parts import PART_WORDS, part_of_value
from medpipe.builtin.listing.values import Merged, composed, one_or_several
from medpipe.builtin.listing.wording import counted, listed
from medpipe.plugin import DataError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from medpipe.plugin import Part

_LIKE_PARTS: Mapping[str, Part] = {**PART_WORDS, "testing": "test"}


_PLACE = "Put it into the folder of its class."


@attrs.frozen(kw_only=True)
class ClassFolder:
    """A folder with the images of one class, or of one class in one part.

    Attributes:
        id: Its path below the root, with ``/``.
        name: Its own name.
        path: Where it is.
        part: What the folder above it stands for.
    """

    id: str
    name: str
    path: str
    part: Part | None = None


@attrs.frozen(kw_only=True)
class ClassFolders:
    """The class folders below a root.

    Attributes:
        folders: Sorted by id.
        beside: Files that lie beside them, path by id: none of them is an image.
    """

    folders: Sequence[ClassFolder]
    beside: Mapping[str, str]


def class_folders(
    root: Path,
    *,
    parts: Merged | None,
    classes: Merged | None,
    suffixes: Sequence[str] | None,
    faults: list[Fault] | None = None,
) -> ClassFolders:
    """Find the class folders: directly below the root, or below the folders of the parts.

    Args:
        root: The folder to look in.
        parts: The folders of each part, if there are such.
        classes: The folders of each class, if they aren't the classes themselves.
        suffixes: What the names of images end in; None: all kinds.
        faults: Gets the images beside the class folders. None: they are an error.

    Raises:
        DataError: They are not laid out so.
        OSError: A folder can't be read.
    """
    if not root.exists():
        raise DataError(
            f"dataset.root: there is no folder {root}. Name the folder that holds one folder for "
            "each class; on the command line by --set dataset.root=FOLDER."
        )
    if not root.is_dir():
        raise DataError(
            f"dataset.root: {root} is a file. Name the folder that holds one folder for each class."
        )
    folders, beside = _level(root, "", suffixes, faults)
    if parts is None:
        if classes is None:
            _refuse_parts(root, list(folders))
        found = [ClassFolder(id=name, name=name, path=path) for name, path in folders.items()]
        return ClassFolders(folders=found, beside=beside)
    found = []
    for name, part in _part_folders(root, list(folders), parts).items():
        inner, files = _level(Path(folders[name]), f"{name}/", suffixes, faults)
        beside.update(files)
        found += [
            ClassFolder(id=f"{name}/{inside}", name=inside, path=path, part=part)
            for inside, path in inner.items()
        ]
    return ClassFolders(folders=found, beside=beside)


def classes_of(
    root: Path, folders: Iterable[ClassFolder], classes: Merged | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The class of each folder's name; and all classes, sorted.

    Raises:
        DataError: There is one class only, or `classes` leaves a folder out.
    """
    held = list(dict.fromkeys(folder.name for folder in folders))
    if classes is None:
        if len(held) == 1:
            raise DataError(
                f"{root} holds one class only, {held[0]!r}. A classifier needs two or more: "
                "dataset.root must be the folder above the class folders."
            )
        return {name: name for name in held}, tuple(sorted(held))
    class_of = {
        composed(value): composed(name)
        for name, values in classes.items()
        for value in one_or_several(values)
    }
    unnamed = [name for name in held if name not in class_of]
    if unnamed:
        raise DataError(
            f"dataset.classes names no class for the folder{'s' * (len(unnamed) > 1)} "
            f"{listed(unnamed)} in {root}. Add each to a class, or move it away."
        )
    return class_of, tuple(sorted(set(class_of.values())))


def _level(
    folder: Path, above: str, suffixes: Sequence[str] | None, faults: list[Fault] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """The folders in a folder by name, sorted; and the files by id that are no images."""
    folders: dict[str, str] = {}
    files: dict[str, str] = {}
    for entry in visible(folder):
        name = portable(entry.name, folder)
        if entry.is_dir(follow_symlinks=False):
            if name in folders:
                raise DataError(
                    f"{folder} holds two folders whose names are both {name!r} in Unicode form "
                    "NFC. Rename one of them."
                )
            folders[name] = entry.path
        elif entry.is_dir():
            raise DataError(
                f"{entry.path} is a link to a folder, and such links are not followed. Put the "
                "folder itself there, or remove the link."
            )
        elif is_file(entry):
            files[f"{above}{name}"] = entry.path
    images = find_images(files, suffixes=suffixes, unit="file").images
    if images and faults is not None and folders:
        for id_ in images:
            path = files.pop(id_)
            message = f"The image {path} lies outside of any class folder."
            faults.append(
                Fault(kind="label", message=message, sample=id_, path=path, remedy=_PLACE)
            )
    elif images:
        raise DataError(
            f"{folder} holds {counted(len(images), 'image')} outside of any class folder, "
            f"{min(images)!r} for one. Put each into the folder of its class."
        )
    if not folders:
        state = "holds no folders" if files else "is empty"
        raise DataError(f"{folder} {state}. It must hold one folder of images for each class.")
    return dict(sorted(folders.items())), files


def _refuse_parts(root: Path, folders: Sequence[str]) -> None:
    parts: dict[Part, list[str]] = {}
    for name in folders:
        if name.lower() in _LIKE_PARTS:
            parts.setdefault(_LIKE_PARTS[name.lower()], []).append(name)
    if not parts:
        return
    like = sorted(name for names in parts.values() for name in names)
    lines = [
        f"{root} holds the folders {listed(folders)}: {listed(like)} "
        f"{'looks like a given part' if len(like) == 1 else 'look like given parts'} of a data "
        "set, not like classes. To take them as parts, write:",
        "  [dataset.parts]",
        *(f"  {part} = {_toml(names)}" for part, names in parts.items()),
        "Or point dataset.root at one of them. If they are classes, name them in dataset.classes.",
    ]
    raise DataError("\n".join(lines))


def _toml(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"


def _part_folders(root: Path, folders: Sequence[str], parts: Merged) -> dict[str, Part]:
    """The part of each folder directly below the root."""
    wanted = {composed(name): part for name, part in part_of_value(parts).items()}
    missing = [name for name in wanted if name not in folders]
    if missing:
        raise DataError(
            f"dataset.parts: {root} holds no folder {listed(missing)}. It holds {listed(folders)}."
        )
    unnamed = [name for name in folders if name not in wanted]
    if unnamed:
        raise DataError(
            f"dataset.parts names no part for the folder{'s' * (len(unnamed) > 1)} "
            f"{listed(unnamed)} in {root}. Add each to a part, or move it away."
        )
    return {name: wanted[name] for name in folders}
