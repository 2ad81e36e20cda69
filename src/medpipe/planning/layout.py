"""Find out how data lie in a folder, and name the dataset step that reads them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medpipe.data.listing.images import find_images
from medpipe.data.listing.walking import FolderListing
from medpipe.data.readers.dicom.files import dicom_identities
from medpipe.errors import DataError
from medpipe.planning import masks, tables
from medpipe.planning.choice import Choice, Layout, asked, by_pattern, identity
from medpipe.planning.names import patient_patterns, sides_in
from medpipe.system.file_errors import looked_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medpipe.steps import ImageFile

SPLITS = {
    "training": ("training", "train"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
"""What folders of splits are called, in any case."""
FEW_IMAGES, MANY_FOLDERS = 4, 6
"""So many folders with fewer images each are cases, not classes."""
SLICES = 3
"""Files of one series, on average, from which they are the slices of a volume."""


def layout_of(data: Path, label: str | None = None) -> Layout:
    """Look at a folder or a table.

    Args:
        data: A folder of class folders, a folder with one table, or a table.
        label: The column to learn.

    Raises:
        DataError: It is neither, or what is the label is not clear.
    """
    if data.is_file():
        return _of_table(data, label)
    if not data.is_dir():
        raise DataError(
            f"There is no file or folder {data}{looked_in(data)}. Name a folder of images, or a "
            "table."
        )
    known = masks.described(data) if label is None else None
    if known is not None:
        return known
    files = sorted(
        path for path in data.iterdir() if path.is_file() and path.name.endswith(tables.SUFFIXES)
    )
    naming = [
        file for file in files if tables.image_column(tables.read_columns(file), file) is not None
    ]
    if len(naming) == 1:
        return _of_table(naming[0], label)
    if len(naming) > 1:
        names = ", ".join(file.name for file in naming)
        raise DataError(f"{data} holds several tables that name images: {names}. Name one of them.")
    return masks.of_masks(data) or _of_folders(data)


def _of_table(file: Path, label: str | None) -> Layout:
    if not file.name.endswith(tables.SUFFIXES):
        raise DataError(
            f"{file} is not a text table ({', '.join(tables.SUFFIXES)}). Name a text table, or a "
            "folder."
        )
    table = tables.read_columns(file)
    image = tables.image_column(table, file)
    if image is None:
        windows = [n for n in table.header if any("\\" in value for value in table.values(n))]
        remedy = (
            f"Write / for \\ in the paths of {', '.join(windows)}."
            if windows
            else f"Check the paths in the columns {', '.join(table.header)}."
        )
        raise DataError(
            f"No column of {file} names files in {file.parent} or a folder in it. {remedy}"
        )
    image_names, mask_names = masks.mask_columns(image.names)
    if not image_names:
        image_names, mask_names = image.names, ()
    choices = [
        Choice(name="step", value="table", reason="the table has a row for each image"),
        Choice(name="file", value=str(file)),
        _image(image_names),
    ]
    if table.encoding != "utf-8":
        choices.append(
            Choice(name="encoding", value=table.encoding, reason="the table is not UTF-8")
        )
    if table.delimiter is not None:
        choices.append(Choice(name="delimiter", value=table.delimiter))
    if image.root is not None:
        choices.append(
            Choice(name="root", value=str(image.root), reason="the files are in this folder")
        )
    if image.suffixes:
        reason = "the table leaves suffixes out"
        choices.append(Choice(name="suffixes", value=list(image.suffixes), reason=reason))
    if image.missing:
        reason = "some rows name files that don't exist"
        choices.append(Choice(name="missing_files", value="drop", reason=reason))
    taken = list(image.names) + list(mask_names)
    split = tables.split_column(table, taken)
    group = tables.group_column(table, [*taken, split or ""])
    questions: list[str] = []
    if mask_names and label is None:
        choices += _masks(table, image, mask_names, file, questions)
    else:
        choices += [
            Choice(name=name, value=value, reason=reason)
            for name, value, reason in tables.label_settings(
                table, [*taken, split or "", group or ""], label
            )
        ]
    if group is not None:
        reason = "images of one patient stay in one split"
        choices.append(Choice(name="group", value=group, reason=reason))
        if len(table.values(group)) < len(table.cells[group]):
            reason = "each row without a patient is a group of its own"
            choices.append(Choice(name="ungrouped", value="own", reason=reason))
    else:
        pattern = patient_patterns(table.values(image_names[0]))
        if pattern is not None:
            choices.append(by_pattern(pattern))
            questions.append(asked(pattern))
        else:
            questions.append("No column names patients: is each image of another patient?")
    if split is not None:
        choices.append(Choice(name="split", value=split, reason="the table has its own splits"))
        reason = "otherwise a patient or a copy would be in two splits"
        choices.append(Choice(name="on_leak", value="drop_train", reason=reason))
    repeated = [n for n in Counter(table.values(image_names[0])).values() if n > 1]
    if repeated:
        reason = "several rows are of the same image and must agree"
        choices.append(Choice(name="repeated", value="agree", reason=reason))
    texts = [*table.header, *table.values(image_names[0])]
    texts += [
        value
        for name in table.header
        if len(set(table.cells[name])) < 10
        for value in set(table.cells[name])
    ]
    return Layout(choices=tuple(choices), sides=sides_in(texts), questions=tuple(questions))


def _masks(
    table: tables.TableColumns,
    image: tables.ImageColumn,
    names: tuple[str, ...],
    file: Path,
    questions: list[str],
) -> list[Choice]:
    """The parameters of the masks that columns name."""
    if len(names) > 1:
        reason = "each names the masks of a structure"
        chosen = [Choice(name="mask", value=list(names), reason=reason)]
    else:
        chosen = [Choice(name="mask", value=names[0], reason="its cells name masks")]
        root, ending = image.root or file.parent, "".join(image.suffixes)
        paths = [root / (cell + ending) for cell in table.values(names[0])]
        there = [str(path) for path in paths if path.is_file()]
        labels, asking = masks.label_choices(there, names[0])
        chosen += labels
        questions += asking
    if any(len(table.values(name)) < len(table.cells[name]) for name in names):
        reason = "cells without a mask: nobody looked"
        chosen.append(Choice(name="blank_mask", value="not_annotated", reason=reason))
        chosen.append(Choice(name="missing_labels", value="drop"))
        questions.append("Does a blank cell mean that nobody looked, or that nothing is there?")
    return chosen


def _of_folders(data: Path) -> Layout:
    choices = [
        Choice(name="step", value="image_folder", reason="each folder is a class"),
        Choice(name="root", value=str(data)),
    ]
    inner = {path.name.lower(): path.name for path in data.iterdir() if path.is_dir()}
    splits = {
        split: [inner[word] for word in words if word in inner] for split, words in SPLITS.items()
    }
    given = {split: names[0] for split, names in splits.items() if names}
    is_split = {name.lower() for name in given.values()}
    if len(given) > 1 and all(name in is_split or name.startswith(".") for name in inner):
        choices.append(Choice(name="splits", value=given, reason="these folders are splits"))
        reason = "otherwise a patient or a copy would be in two splits"
        choices.append(Choice(name="on_leak", value="drop_train", reason=reason))
    listing = FolderListing(faults=[])
    listing.look_below(str(data), "")
    images = find_images(listing).images
    if not images:
        raise DataError(
            f"{data} holds no images that medpipe reads. Name a folder with a folder of images for "
            "each class, or a table that names images."
        )
    held = Counter(id_.split("/")[0] for id_ in images)
    small = sum(count < FEW_IMAGES for count in held.values())
    if len(held) >= MANY_FOLDERS and 2 * small > len(held):
        raise DataError(
            f"{data} has {len(held)} folders with few images each, such as {min(held)!r}: they "
            "look like cases, not like classes. Write a table with a column that names the images "
            "and one with their labels, and name that table."
        )
    questions: list[str] = []
    choices += _identity(images, questions)
    return Layout(choices=tuple(choices), sides=sides_in(images), questions=tuple(questions))


def _image(names: tuple[str, ...]) -> Choice:
    if len(names) == 1:
        return Choice(name="image", value=names[0], reason="its cells name files")
    reason = "each names a file; they become the channels of one image"
    return Choice(name="image", value=list(names), reason=reason)


def _identity(images: Mapping[str, ImageFile], questions: list[str]) -> list[Choice]:
    """What makes the groups, and whether DICOM files are slices."""
    files = {id_: image for id_, image in images.items() if isinstance(image, str)}
    identities = dicom_identities(files, [])
    if len(identities) * 2 > len(files):
        series = {identity.series for identity in identities.values()}
        chosen = []
        if len(identities) >= SLICES * len(series) and None not in series:
            reason = f"{len(identities)} files are of {len(series)} series"
            chosen.append(Choice(name="unit", value="series", reason=reason))
        reason = "images of one PatientID stay in one split"
        return [*chosen, Choice(name="dicom_group", value="patient", reason=reason)]
    chosen, asking = identity(list(images))
    questions += asking
    return chosen
