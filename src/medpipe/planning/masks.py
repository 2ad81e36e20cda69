"""Recognise data sets whose labels are masks, and name the dataset step that reads them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from medpipe.data.listing.images import find_images
from medpipe.data.listing.walking import FolderListing
from medpipe.data.readers.reader import read_sample_image
from medpipe.errors import DataError
from medpipe.planning.choice import Choice, Layout, identity
from medpipe.planning.names import sides_in
from medpipe.steps import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from medpipe.steps import ImageFile

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "segmentations", "annotations", "gt", "groundtruth")
"""What folders of images and of masks are called, in any case."""
ENDINGS = ("", "_mask", "_seg", "_segmentation", "_label", "_gt", "-mask", "-seg")
"""What stands at the end of masks' names."""
MASK_COLUMN = re.compile(r"(?i)(mask|seg|contour|annotation|ground.?truth|^labels?$)")
FIRST_CHANNEL = re.compile(r"_0000\.[^/]+$")
VOLUME = (".nii.gz", ".nii")
IGNORED = 255
"""A value beside other ones that, as a rule, means: not annotated."""
MOST_VALUES = 64
"""So many values and more are no labels."""


def of_masks(data: Path) -> Layout | None:
    """The layout of a BIDS data set, or of folders of images and masks; None where it is neither.

    Raises:
        DataError: It is one, and the masks can't be used.
    """
    if (derivatives := data / "derivatives").is_dir() and any(data.glob("sub-*")):
        return _of_bids(data, derivatives)
    return _of_pairs(data)


def mask_columns(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide columns that name files into those of images and those of masks."""
    masks = tuple(name for name in names if MASK_COLUMN.search(name))
    return tuple(name for name in names if name not in masks), masks


def label_choices(masks: Iterable[ImageFile], name: str) -> tuple[list[Choice], list[str]]:
    """The structures of masks by the values that are found in them, and what to ask.

    Args:
        masks: Files, each of which is read.
        name: The name of the structure, where there is only one.

    Raises:
        DataError: A file can't be read, or they have too many values, or none but 0.
    """
    import numpy as np

    found: set[int] = set()
    last: object = None
    for mask in masks:
        values = np.unique(read_sample_image(mask, Reading(padding="keep")).values)
        last = mask
        found |= {int(value) for value in values.tolist() if float(value).is_integer()}
        if len(found) > MOST_VALUES or len(values) > MOST_VALUES:
            raise DataError(
                f"The masks have more than {MOST_VALUES} values, such as {mask}: they are no "
                "labels, or were saved as JPEG. Save masks as PNG or NIfTI with a whole number "
                "for each structure."
            )
    values_found = sorted(found - {0})
    if not values_found:
        raise DataError(f"No mask, such as {last}, has another value than 0.")
    ignored = len(values_found) > 1 and IGNORED in values_found
    if ignored:
        values_found.remove(IGNORED)
    if len(values_found) == 1:
        labels = {structure_name(name): values_found[0]}
        questions = [f"Is {next(iter(labels))!r} the right name of the structure in the masks?"]
    else:
        labels = {f"structure_{value}": value for value in values_found}
        questions = [f"What are the structures called whose values are {_listed(values_found)}?"]
    told = _listed(sorted(found))
    chosen = [Choice(name="labels", value=labels, reason=f"masks have the values {told}")]
    if ignored:
        reason = f"{IGNORED} beside other values means, as a rule, that nobody annotated"
        chosen.append(Choice(name="ignore", value=[IGNORED], reason=reason))
        questions.append(f"Does {IGNORED} mean in the masks that pixels count nowhere?")
    return chosen, questions


def structure_name(name: str) -> str:
    """A name for a structure, in letters, digits and underscores."""
    return re.sub(r"\W+", "_", name).strip("_").lower() or "structure"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def described(data: Path) -> Layout | None:
    """The decathlon or nnU-Net, as ``dataset.json`` and names of files say; None: it is neither.

    Raises:
        DataError: ``dataset.json`` can't be read.
    """
    path = data / "dataset.json"
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    folder = data / "imagesTr"
    files = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    names = [name for name in files if not name.startswith(".")]
    channels = [name for name in names if FIRST_CHANNEL.search(name)]
    if isinstance(about, dict) and ("channel_names" in about or channels):
        cases = [FIRST_CHANNEL.sub("", name) for name in channels]
        reason = "the file dataset.json and names that end in _0000 are those of nnU-Net"
        return _layout("nnunet", reason, data, cases)
    if isinstance(about, dict) and isinstance(about.get("training"), list):
        ids = [
            str(pair["image"]).removeprefix("./")
            for pair in about["training"]
            if isinstance(pair, dict) and "image" in pair
        ]
        reason = "the file dataset.json lists images and masks, as that of the decathlon"
        return _layout("decathlon", reason, data, ids)
    return None


def _layout(step: str, reason: str, data: Path, ids: Sequence[str]) -> Layout:
    chosen, questions = identity(ids)
    return Layout(
        choices=(
            Choice(name="step", value=step, reason=reason),
            Choice(name="root", value=str(data)),
            *chosen,
        ),
        sides=sides_in(ids),
        questions=tuple(questions),
    )


def _of_pairs(data: Path) -> Layout | None:
    """Folders of images and of masks, or one folder with both."""
    inner = {path.name.lower(): path.name for path in data.iterdir() if path.is_dir()}
    images = next((inner[name] for name in IMAGES if name in inner), None)
    masks = next((inner[name] for name in MASKS if name in inner), None)
    if images is None or masks is None:
        return None
    of_images, of_masks_ = _found(data / images), _found(data / masks)
    stems = {_stem(id_): id_ for id_ in of_images}
    best: tuple[int, str, dict[str, Any]] | None = None
    for ending in ENDINGS:
        matched = {
            stem.removesuffix(ending): file
            for stem, file in ((_stem(id_), file) for id_, file in of_masks_.items())
            if stem.endswith(ending) and stem.removesuffix(ending) in stems
        }
        if best is None or len(matched) > best[0]:
            best = len(matched), ending, matched
    if best is None or not best[0]:
        raise DataError(
            f"{data} has folders {images} and {masks}, and no name in {masks} is that of an image, "
            f"also not with {', '.join(ENDINGS[1:])} before the dot. Rename the masks."
        )
    count, ending, matched = best
    reason = f"{count} masks in {masks} have the names of images in {images}"
    choices = [
        Choice(name="step", value="image_masks", reason=reason),
        Choice(name="root", value=str(data)),
    ]
    if images != "images":
        choices.append(Choice(name="images", value=images))
    if masks != "masks":
        choices.append(Choice(name="masks", value=masks))
    if ending:
        reason = "names of masks have this before the dot"
        choices.append(Choice(name="mask_suffix", value=ending, reason=reason))
    labels, questions = label_choices(matched.values(), data.resolve().name)
    choices += labels
    if count < len(of_images):
        reason = f"{len(of_images) - count} of {len(of_images)} images have no mask"
        choices.append(Choice(name="without_mask", value="drop", reason=reason))
    chosen, asked = identity(list(of_images))
    return Layout(
        choices=(*choices, *chosen),
        sides=sides_in(of_images),
        questions=(*questions, *asked),
    )


def _found(folder: Path) -> Mapping[str, ImageFile]:
    listing = FolderListing(faults=[])
    listing.look_below(str(folder), "")
    return find_images(listing).images


def _stem(id_: str) -> str:
    for suffix in VOLUME:
        if id_.lower().endswith(suffix):
            return id_[: -len(suffix)]
    folder, slash, name = id_.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}"


def _of_bids(data: Path, derivatives: Path) -> Layout | None:
    """Images of subjects, and masks in the derivative that has most of them."""
    ends = {"dseg": "_dseg.nii", "mask": "_mask.nii"}
    for mask, ending in ends.items():
        files = [path for path in sorted(derivatives.rglob("sub-*")) if ending in path.name]
        folders = Counter(path.relative_to(derivatives).parts[0] for path in files)
        if not folders:
            continue
        first, count = folders.most_common(1)[0]
        inside = derivatives / first
        here = inside.is_dir() and not first.startswith("sub-")
        derivative = f"derivatives/{first}" if here else "derivatives"
        files = [path for path in files if path.is_relative_to(data / derivative)]
        image = _image_ending(data)
        if image is None:
            return None
        choices = [
            Choice(name="step", value="bids", reason="folders and names are those of BIDS"),
            Choice(name="root", value=str(data)),
            Choice(name="derivative", value=derivative, reason=f"{count} masks are in it"),
            Choice(name="image", value=image, reason="what most images end in"),
            Choice(name="mask", value=mask),
        ]
        questions = [f"Are images that end in {image!r} those to learn from?"]
        kinds = Counter(
            found[1] for path in files if (found := re.search(r"_label-([^_]+)", path.name))
        )
        if mask == "mask" and kinds:
            label = kinds.most_common(1)[0][0]
            choices.append(Choice(name="entities", value={"label": label}))
            if len(kinds) > 1:
                questions.append(f"Is {label!r} of the masks {', '.join(kinds)} the one to learn?")
        elif mask == "dseg" and not list((data / derivative).rglob("*dseg.tsv")):
            labels, asked = label_choices(map(str, files), first)
            choices += labels
            questions += asked
        reason = "images without a mask are left out"
        choices.append(Choice(name="without_mask", value="drop", reason=reason))
        return Layout(choices=tuple(choices), questions=tuple(questions))
    return None


def _image_ending(data: Path) -> str | None:
    """What most images of subjects end in: ``T1w`` where there is one."""
    found = Counter(
        path.name.split(".nii")[0].rpartition("_")[2]
        for folder in data.glob("sub-*")
        for path in folder.rglob("*.nii*")
    )
    if "T1w" in found:
        return "T1w"
    return found.most_common(1)[0][0] if found else None
