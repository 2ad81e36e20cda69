"""Images and masks in folders, matched by their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import optional

from medpipe.builtin.datasets.listing.grouping import Patterns, captures, compiled, group_of
from medpipe.builtin.datasets.listing.structures import (
    MaskValue,
    Meaning,
    OfMasks,
    OnMismatch,
    Structures,
    are_ignored,
    are_structures,
    whole,
)
from medpipe.builtin.datasets.listing.wording import counted, looked_in
from medpipe.plugin import (
    DataError,
    Dataset,
    Fault,
    FolderListing,
    Reading,
    Sample,
    find_images,
    read_image,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

SUFFIXES = (".nii.gz", ".nii")


@attrs.frozen(kw_only=True)
class ImageMasks(OfMasks):
    r"""Images in one folder and their masks in another, matched by their paths without suffixes.

    ``images/a/01.png`` has the mask ``masks/a/01.png``, or ``masks/a/01_mask.png`` with
    ``mask_suffix = "_mask"``. An image without a mask and a mask without an image are named.
    Formats are those of `ImageFolder`; a sample's id is its path below the folder of images.

    Attributes:
        root: The folder that holds both.
        images: The folder of images below `root`; ``.`` is `root` itself.
        masks: The folder of masks below `root`; it may be that of the images where `mask_suffix`
            tells them apart.
        mask_suffix: What stands at the end of a mask's name before the dot.
        labels: The value or values in masks of each structure, ``{ nuclei = 255 }``, or its
            colours, ``{ tumour = "#ff0000" }``. What has several values is one structure; a value
            of several structures lets them overlap. 0, or black, is the ``background``, unless
            that has a value of its own. Of DICOM segmentations the number or the label of a
            segment.
        ignore: Values or colours in masks that count nowhere.
        without_mask: What an image without a mask is: an ``"error"``, or left out (``"drop"``).
        channels: 1: convert images to grey; 3: to RGB; ``"auto"``: keep the files' channels.
        group_pattern: A regular expression that is searched in each id; what it captures is the
            sample's group (its patient): ``(patient\d+)``. None: each is a group of its own.
    """

    name: ClassVar[str] = "image_masks"

    root: Path
    images: str = "images"
    masks: str = "masks"
    mask_suffix: str = ""
    labels: Structures = attrs.field(validator=are_structures)
    ignore: tuple[MaskValue, ...] = attrs.field(default=(), validator=are_ignored)
    on_mismatch: OnMismatch = "error"
    tolerances: tuple[float, ...] = ()
    without_mask: Literal["error", "drop"] = "error"
    channels: Literal[1, 3, "auto"] = "auto"
    group_pattern: Patterns | None = attrs.field(default=None, validator=optional(captures))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Pictures of three patients with masks of 0 and 255."""
        from medpipe.builtin.datasets.drawn import draw_picture

        for number in range(6):
            stem = f"patient{number // 2}_{number}"
            mask = folder / "masks" / f"{stem}_mask.png"
            draw_picture(folder / "images" / f"{stem}.png", number, mask=mask)
        return [
            cls(
                root=folder,
                mask_suffix="_mask",
                labels={"square": 255},
                group_pattern=r"(patient\d+)",
            )
        ]

    def build(self) -> Dataset:
        """List the pairs, sorted by id.

        Raises:
            DataError: A folder is not there, there is no pair, or images or masks stand alone.
        """
        return whole(self.build_with_faults())

    def build_with_faults(self) -> Dataset:
        """List the pairs as `build` does, with images and masks that stand alone as faults.

        Raises:
            DataError: A folder is not there, or there is no pair.
        """
        root = Path(self.root).expanduser()
        meaning = Meaning(self.labels, self.ignore, self.tolerances, on_mismatch=self.on_mismatch)
        faults: list[Fault] = []
        images, _, notes = _found(root / self.images, faults)
        masks, others, _ = _found(root / self.masks, faults)
        of_masks = {_stem(id_): path for id_, path in masks.items()}
        ends = self.mask_suffix
        if self.images == self.masks:
            images = {id_: path for id_, path in images.items() if not _stem(id_).endswith(ends)}
            of_masks = {stem: path for stem, path in of_masks.items() if stem.endswith(ends)}
        patterns = () if self.group_pattern is None else compiled(self.group_pattern)
        samples, alone = [], []
        for id_, path in sorted(images.items()):
            mask = of_masks.pop(_stem(id_) + ends, None)
            if mask is None:
                alone.append(id_)
                if self.without_mask == "error":
                    expected = f"{root / self.masks / _stem(id_)}{ends}"
                    message = f"The image {path} has no mask: there is no {expected} with a suffix."
                    remedy = 'Add it, or set dataset.without_mask = "drop".'
                    if _stem(id_) + ends in others:
                        message += f" {_why_not(others[_stem(id_) + ends])}"
                    faults.append(
                        Fault(kind="missing", message=message, sample=id_, path=path, remedy=remedy)
                    )
                continue
            samples.append(
                Sample(id=id_, image=path, label=meaning.label(mask), group=group_of(patterns, id_))
            )
        for stem, path in sorted(of_masks.items()):
            message = f"The mask {path} has no image in {root / self.images}."
            faults.append(Fault(kind="missing", message=message, sample=stem, path=path))
        if not samples:
            raise DataError(
                f"No image in {root / self.images} has a mask in {root / self.masks} of the same "
                f"name{f' and {ends!r} before the dot' if ends else ''}. Set dataset.images, "
                "dataset.masks and dataset.mask_suffix."
            )
        if alone and self.without_mask == "drop":
            notes += (f"{counted(len(alone), 'image')} without a mask left out, of {alone[0]!r}.",)
        return Dataset(
            samples=samples,
            task=meaning.task,
            reading=Reading(channels=self.channels),
            notes=notes,
            faults=faults,
        )


def _found(
    folder: Path, faults: list[Fault]
) -> tuple[Mapping[str, Any], Mapping[str, str], tuple[str, ...]]:
    """The images of a folder by id, other files by their stems, and notes on what was skipped."""
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}{looked_in(folder)}. Set dataset.images and dataset.masks."
        )
    listing = FolderListing(faults=faults)
    listing.look_below(str(folder), "")
    found = find_images(listing)
    others = {_stem(id_): path for id_, path in listing.files.items() if id_ not in found.images}
    return found.images, others, found.notes


def _why_not(path: str) -> str:
    """Why a file with the name of a mask is none."""
    try:
        read_image(path)
    except DataError as error:
        return str(error)
    return ""


def _stem(id_: str) -> str:
    """A path without its suffix; ``.nii.gz`` is one."""
    for suffix in SUFFIXES:
        if id_.lower().endswith(suffix):
            return id_[: -len(suffix)]
    folder, slash, name = id_.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}"
