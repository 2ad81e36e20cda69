"""The class folders below a root: their classes and, where given, their splits."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import attrs

from medpipe.builtin.datasets.listing.predefined_splits import SPLIT_WORDS, split_of_value
from medpipe.builtin.datasets.listing.spellings import alike
from medpipe.builtin.datasets.listing.values import Merged, one_or_several
from medpipe.builtin.datasets.listing.wording import counted, listed, looked_in
from medpipe.plugin import DataError, Fault, FolderListing, find_images, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from medpipe.plugin import Split

_LIKE_SPLITS: Mapping[str, Split] = {**SPLIT_WORDS, "testing": "test"}


_PLACE = "Put it into the folder of its class."


@attrs.frozen(kw_only=True)
class ClassFolder:
    """A folder with the images of one class, or of one class in one split.

    Attributes:
        id: Its path below the root, with ``/``.
        name: Its own name.
        path: Where it is.
        split: The split of the folder above it; None: there is none.
    """

    id: str
    name: str
    path: str
    split: Split | None = None


def class_folders(
    root: Path,
    listing: FolderListing,
    *,
    splits: Merged | None,
    classes: Merged | None,
    suffixes: Sequence[str] | None,
) -> list[ClassFolder]:
    """Find the class folders: directly below the root, or below the folders of the splits.

    Args:
        root: The folder to look in.
        listing: Collects the files outside of class folders; images among them are an error, or
            faults if it collects these.
        splits: The folders of each split; None: there are none.
        classes: The folders of each class; None: each folder is a class.
        suffixes: What the names of images end in; None: all kinds.

    Raises:
        DataError: The root has another layout, or can't be read.
    """
    _require_folder(root)
    folders = _level(os.fspath(root), "", suffixes, listing)
    if splits is None:
        if classes is None:
            _refuse_splits(root, list(folders))
        return [ClassFolder(id=name, name=name, path=path) for name, path in folders.items()]
    found = []
    for name, split in _split_folders(root, list(folders), splits).items():
        inner = _level(folders[name], name, suffixes, listing)
        found += [
            ClassFolder(id=f"{name}/{inside}", name=inside, path=path, split=split)
            for inside, path in inner.items()
        ]
    return found


def _require_folder(root: Path) -> None:
    try:
        mode = os.stat(root).st_mode  # noqa: PTH116  (pathlib treats unreadable paths as absent)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"dataset.root: there is no folder {root}{looked_in(root)}. Name the folder that holds "
            "one folder for each class."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"dataset.root: {root} can't be read: {reason.lower()}.") from error
    if not stat.S_ISDIR(mode):
        raise DataError(
            f"dataset.root: {root} is a file. Name the folder that holds one folder for each class."
        )


def classes_of(
    root: Path, folders: Iterable[ClassFolder], classes: Merged | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The class of each folder's name; and all classes, sorted.

    Names that look the same are one class.

    Raises:
        DataError: There is one class only, or `classes` leaves a folder out.
    """
    held = list(dict.fromkeys(folder.name for folder in folders))
    if classes is None:
        of_name = {name: visible(name) or name for name in held}
        if len(set(of_name.values())) == 1:
            raise DataError(
                f"{root} holds only one class, {held[0]!r}. A classifier needs two or more: "
                "dataset.root must be the folder above the class folders."
            )
        return of_name, tuple(sorted(set(of_name.values())))
    class_of = {
        visible(value): visible(name)
        for name, values in classes.items()
        for value in one_or_several(values)
    }
    unnamed = [name for name in held if visible(name) not in class_of]
    if unnamed:
        raise DataError(
            f"dataset.classes names no class for the folder{'s' * (len(unnamed) > 1)} "
            f"{listed(unnamed)} in {root}. Add each to a class, or move it away."
        )
    return {name: class_of[visible(name)] for name in held}, tuple(sorted(set(class_of.values())))


def class_remarks(
    folders: Iterable[ClassFolder], class_of: Mapping[str, str], *, merged: bool
) -> list[str]:
    """Sentences about class folders whose names look alike.

    Args:
        folders: The class folders.
        class_of: The class of each name.
        merged: Whether `dataset.classes` merges folders.
    """
    by_look: dict[str, set[str]] = {}
    for folder in folders:
        by_look.setdefault(visible(folder.name), set()).add(folder.name)
    remarks = [
        f"The class folders {listed(sorted(names))} differ only in invisible characters, and are "
        f"one class, {class_of[min(names)]!r}."
        for names in by_look.values()
        if len(names) > 1
    ]
    same = [] if merged else alike(set(class_of.values()))
    remarks += [
        f"The classes {listed(names)} differ only in case, in spaces or in how a number is "
        "written. If they are the same class, merge them in dataset.classes."
        for names in same
    ]
    return remarks


def _level(
    folder: str, above: str, suffixes: Sequence[str] | None, listing: FolderListing
) -> dict[str, str]:
    """The folders in a folder by name, sorted; images beside them are an error or faults."""
    known, links = set(listing.files), len(listing.folder_links)
    start = f"{above}/" if above else ""
    folders = {
        id_.removeprefix(start): path
        for id_, path in listing.look(folder, above, required=True).items()
    }
    if len(listing.folder_links) > links:
        link = os.path.join(folder, listing.folder_links[links].removeprefix(start))  # noqa: PTH118
        raise DataError(
            f"{link} is a link to a folder, and links to folders are not followed. Put the folder "
            "itself there, or remove the link."
        )
    files = {id_: path for id_, path in listing.files.items() if id_ not in known}
    # Their errors are found again and reported with those of all other files.
    beside = FolderListing(files=files, broken=listing.broken, faults=[])
    images = find_images(beside, suffixes=suffixes).images
    if images and listing.faults is not None and folders:
        for id_ in images:
            path = listing.files.pop(id_)
            message = f"The image {path} is not in a class folder."
            listing.faults.append(
                Fault(kind="label", message=message, sample=id_, path=path, remedy=_PLACE)
            )
    elif images:
        raise DataError(
            f"{folder} holds {counted(len(images), 'image')} that are not in a class folder, "
            f"{min(images)!r} for one. Put each into the folder of its class."
        )
    if not folders:
        state = "holds no folders" if files else "is empty"
        raise DataError(f"{folder} {state}. It must hold one folder of images for each class.")
    return dict(sorted(folders.items()))


def _refuse_splits(root: Path, folders: Sequence[str]) -> None:
    splits: dict[Split, list[str]] = {}
    for name in folders:
        like = _LIKE_SPLITS.get(visible(name).lower())
        if like is not None:
            splits.setdefault(like, []).append(name)
    if not splits:
        return
    alike_splits = sorted(name for names in splits.values() for name in names)
    lines = [
        f"{root} holds the folders {listed(folders)}: {listed(alike_splits)} "
        f"{'looks like a split' if len(alike_splits) == 1 else 'look like splits'} of a data set, "
        "not like classes. To take them as splits, write:",
        "  [dataset.splits]",
        *(f"  {split} = {_toml(names)}" for split, names in splits.items()),
        "Or point dataset.root at one of them. If they are classes, name them in dataset.classes.",
    ]
    raise DataError("\n".join(lines))


def _toml(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"


def _split_folders(root: Path, folders: Sequence[str], splits: Merged) -> dict[str, Split]:
    """The split of each folder directly below the root."""
    wanted = {visible(name): split for name, split in split_of_value(splits).items()}
    held = set(map(visible, folders))
    missing = [name for name in wanted if name not in held]
    if missing:
        raise DataError(
            f"dataset.splits: {root} holds no folder {listed(missing)}. It holds {listed(folders)}."
        )
    unnamed = [name for name in folders if visible(name) not in wanted]
    if unnamed:
        raise DataError(
            f"dataset.splits names no split for the folder{'s' * (len(unnamed) > 1)} "
            f"{listed(unnamed)} in {root}. Add each to a split, or move it away."
        )
    return {name: wanted[visible(name)] for name in folders}
