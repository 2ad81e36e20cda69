"""Data sets in the layout of BIDS, whose masks are derivatives."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import attrs

from medpipe.builtin.datasets.listing.bids_names import BidsName, bids_files
from medpipe.builtin.datasets.listing.structures import (
    BACKGROUND,
    MaskValue,
    Meaning,
    OfMasks,
    OnMismatch,
    Structures,
    are_ignored,
    are_structures,
    whole,
)
from medpipe.builtin.datasets.listing.values import one_or_several
from medpipe.builtin.datasets.listing.wording import counted, listed
from medpipe.plugin import DataError, Dataset, Fault, Reading, Sample


def _are_endings(instance: object, attribute: object, value: str | tuple[str, ...]) -> None:
    endings = one_or_several(value)
    if not endings or not all(ending.isalnum() for ending in endings):
        raise ValueError("name what images end in before the dot, such as 'T1w'.")


@attrs.frozen(kw_only=True)
class Bids(OfMasks):
    """Images of a BIDS data set, and masks of one of its derivatives.

    ``sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`` has the mask ``sub-01_ses-1_..._dseg.nii.gz`` or
    ``..._label-lesion_mask.nii.gz`` in the folder of the derivative: its name has all entities of
    the image's name, with the same values. A sample's group is its subject, in all sessions; its id
    is the path of its (first) image below `root`.

    Attributes:
        root: The folder of the data set.
        derivative: The folder with the masks, below `root`: ``derivatives/manual``.
        image: What names of images end in: ``T1w``. Several are stacked as channels.
        mask: What names of masks end in: ``dseg`` (a value for each structure) or ``mask`` (one).
        entities: Entities that names of masks must have, where several fit an image:
            ``{ label = "lesion", desc = "manual" }``.
        labels: The value or values in masks of each structure. None: of ``dseg`` what the table
            ``*dseg.tsv`` in `derivative` names; of ``mask`` 1 is the structure of the entity
            ``label`` in `entities`, or else ``mask``.
        ignore: Values in masks that count nowhere.
        without_mask: What an image without a mask is: an ``"error"``, or left out (``"drop"``).
    """

    name: ClassVar[str] = "bids"

    root: Path
    derivative: str = "derivatives"
    image: str | tuple[str, ...] = attrs.field(default="T1w", validator=_are_endings)
    mask: str = attrs.field(default="dseg", validator=_are_endings)
    entities: Mapping[str, str] = attrs.field(factory=dict)
    labels: Structures | None = attrs.field(default=None, validator=are_structures)
    ignore: tuple[MaskValue, ...] = attrs.field(default=(), validator=are_ignored)
    on_mismatch: OnMismatch = "error"
    tolerances: tuple[float, ...] = ()
    without_mask: Literal["error", "drop"] = "error"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """An image of each of three subjects, with a mask of two structures."""
        from medpipe.builtin.datasets.drawn import draw_volume, write_json

        for number in range(3):
            where, name = f"sub-{number}/anat", f"sub-{number}_space-orig_dseg.nii.gz"
            mask = folder / "derivatives" / "manual" / where / name
            draw_volume(folder / where / f"sub-{number}_T1w.nii.gz", number, mask=mask)
        write_json(folder / "dataset_description.json", {"Name": "Boxes"})
        table = folder / "derivatives" / "manual" / "dseg.tsv"
        table.write_text("index\tname\n1\tshell\n2\tcore\n", encoding="utf-8")
        return [cls(root=folder, derivative="derivatives/manual")]

    def build(self) -> Dataset:
        """List the images, sorted by id.

        Raises:
            DataError: A folder is not there, there is no pair, images lack a mask or a channel,
                have several masks, or masks stand alone.
        """
        return whole(self.build_with_faults())

    def build_with_faults(self) -> Dataset:
        """List the images as `build` does, with what is wrong with single ones as faults.

        Raises:
            DataError: A folder is not there, there is no image or no pair, or structures are not
                named.
        """
        root = Path(self.root).expanduser()
        faults: list[Fault] = []
        masks = [
            name
            for name in bids_files(root / self.derivative, faults)
            if name.ending == self.mask and self.entities.items() <= name.entities.items()
        ]
        meaning = Meaning(
            self._structures(root), self.ignore, self.tolerances, on_mismatch=self.on_mismatch
        )
        samples: list[Sample] = []
        images = self._images(root, faults)
        of_image, alone = _matched([files[0] for files in images], masks)
        dropped = []
        for files in images:
            first = files[0]
            found = of_image.get(first.id, [])
            if not found and self.without_mask == "drop":
                dropped.append(first.id)
                continue
            if len(found) != 1:
                faults.append(_no_mask(first, found, root / self.derivative, self.mask))
                continue
            paths = tuple(file.path for file in files)
            samples.append(
                Sample(
                    id=first.id,
                    image=paths[0] if len(paths) == 1 else paths,
                    label=meaning.label(found[0].path),
                    group=first.entities["sub"],
                )
            )
        for name in alone:
            message = f"The mask {name.path} has no image in {root}."
            faults.append(Fault(kind="missing", message=message, sample=name.id, path=name.path))
        if not samples:
            raise DataError(
                "\n".join(
                    [
                        f"No image {listed(one_or_several(self.image))} in {root} has a mask "
                        f"{self.mask!r} in {root / self.derivative}. Set dataset.image, "
                        "dataset.derivative, dataset.mask and dataset.entities.",
                        *(str(fault) for fault in faults[:3]),
                    ]
                )
            )
        notes = []
        if dropped:
            notes.append(
                f"{counted(len(dropped), 'image')} without a mask left out, of {dropped[0]!r}."
            )
        return Dataset(
            samples=samples,
            task=meaning.task,
            reading=Reading(channels="auto"),
            notes=notes,
            faults=faults,
        )

    def _images(self, root: Path, faults: list[Fault]) -> list[list[BidsName]]:
        """The files of each sample, in the order of `image`."""
        endings = one_or_several(self.image)
        together: dict[frozenset[tuple[str, str]], dict[str, BidsName]] = {}
        for name in bids_files(root, faults, subjects_alone=True):
            if name.ending in endings:
                together.setdefault(frozenset(name.entities.items()), {})[name.ending] = name
        whole = []
        for files in together.values():
            lacking = [ending for ending in endings if ending not in files]
            if lacking:
                one = next(iter(files.values()))
                message = f"The image {one.path} has none of the same name with {lacking[0]!r}."
                faults.append(Fault(kind="missing", message=message, sample=one.id, path=one.path))
            else:
                whole.append([files[ending] for ending in endings])
        return sorted(whole, key=lambda files: files[0].id)

    def _structures(self, root: Path) -> Structures:
        """The values of each structure.

        Raises:
            DataError: No table names them, or it can't be read.
        """
        if self.labels is not None:
            return self.labels
        if self.mask == "mask":
            return {self.entities.get("label", "mask"): 1}
        folder = root / self.derivative
        tables = sorted(folder.rglob("*dseg.tsv"))
        if not tables:
            raise DataError(
                f"There is no table *dseg.tsv in {folder} that names the values of masks. Name "
                "them with dataset.labels."
            )
        try:
            rows = list(csv.DictReader(tables[0].open(encoding="utf-8-sig"), delimiter="\t"))
            named = {row["name"]: int(row["index"]) for row in rows}
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{tables[0]} must have the columns index and name, and a whole number for each "
                "index. Or name the values with dataset.labels."
            ) from error
        return {BACKGROUND if value == 0 else name: value for name, value in named.items()}


def _matched(
    images: list[BidsName], masks: list[BidsName]
) -> tuple[dict[str, list[BidsName]], list[BidsName]]:
    """The masks of each image, by its id, and those without an image.

    A mask belongs to the image with the most entities of those whose entities it has.
    """
    subjects: dict[str, list[BidsName]] = {}
    for image in images:
        subjects.setdefault(image.entities["sub"], []).append(image)
    found: dict[str, list[BidsName]] = {}
    alone = []
    for mask in masks:
        fitting = [
            image
            for image in subjects.get(mask.entities["sub"], [])
            if image.entities.items() <= mask.entities.items()
        ]
        if fitting:
            image = max(fitting, key=lambda image: len(image.entities))
            found.setdefault(image.id, []).append(mask)
        else:
            alone.append(mask)
    return found, alone


def _no_mask(image: BidsName, found: list[BidsName], folder: Path, ending: str) -> Fault:
    """The fault of an image with no mask, or with several."""
    if not found:
        message = (
            f"The image {image.path} has no mask in {folder} whose name ends in {ending} and has "
            f"{image.entities_text}."
        )
        remedy = 'Add it, or set dataset.without_mask = "drop".'
        return Fault(
            kind="missing", message=message, sample=image.id, path=image.path, remedy=remedy
        )
    names = listed(sorted(Path(name.path).name for name in found))
    message = f"The image {image.path} has {len(found)} masks: {names}."
    remedy = "Say which with dataset.entities, such as { label = 'lesion' }."
    return Fault(kind="row", message=message, sample=image.id, path=image.path, remedy=remedy)
