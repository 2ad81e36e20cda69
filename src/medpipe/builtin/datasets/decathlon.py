"""Data sets in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge, optional

from medpipe.builtin.datasets.listing.dataset_json import DESCRIPTION, described, labels_of
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
    without_patients,
)
from medpipe.plugin import DataError, Dataset, Fault, Reading, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self


@attrs.frozen(kw_only=True)
class Decathlon(OfMasks):
    r"""Volumes and masks of the Medical Segmentation Decathlon, as ``dataset.json`` lists them.

    Of the list ``training`` each pair is a sample; its id is the image's path without ``./``.
    Pairs whose files are not there are named. A fourth axis of an image holds channels. The
    layout does not tell patients: without a `group_pattern` each volume is a group of its own.

    Attributes:
        root: The folder with ``dataset.json``.
        labels: The value or values in masks of each structure. None: as ``dataset.json`` says.
        ignore: Values in masks that count nowhere.
        folds: A CSV file with the columns ``image`` and ``fold``, below `root`, such as published
            folds. None: the library splits.
        test_fold: The fold of `folds` that is the test.
        group_pattern: A regular expression that is searched in each id; what it captures is the
            sample's group (its patient): ``(patient\d+)``. None: each is a group of its own.
    """

    name: ClassVar[str] = "decathlon"

    root: Path
    labels: Structures | None = attrs.field(default=None, validator=are_structures)
    ignore: tuple[MaskValue, ...] = attrs.field(default=(), validator=are_ignored)
    on_mismatch: OnMismatch = "error"
    tolerances: tuple[float, ...] = ()
    folds: str | None = None
    test_fold: int = attrs.field(default=0, validator=ge(0))
    group_pattern: Patterns | None = attrs.field(default=None, validator=optional(captures))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Four volumes with masks of two structures, as they are, and with given folds."""
        from medpipe.builtin.datasets.drawn import draw_volume, write_json

        pairs = []
        for number in range(4):
            image, label = (f"{name}/box_{number}.nii.gz" for name in ("imagesTr", "labelsTr"))
            draw_volume(folder / image, number, mask=folder / label)
            pairs.append({"image": f"./{image}", "label": f"./{label}"})
        labels = {"0": "background", "1": "shell", "2": "core"}
        write_json(folder / DESCRIPTION, {"labels": labels, "training": pairs, "test": []})
        rows = [f"{pair['image']},{number % 2}" for number, pair in enumerate(pairs)]
        (folder / "folds.csv").write_text("\n".join(["image,fold", *rows]), encoding="utf-8")
        return [cls(root=folder), cls(root=folder, folds="folds.csv", test_fold=1)]

    def build(self) -> Dataset:
        """List the pairs, sorted by id.

        Raises:
            DataError: ``dataset.json`` or `folds` is not there or can't be used, or files are
                missing.
        """
        return whole(self.build_with_faults())

    def build_with_faults(self) -> Dataset:
        """List the pairs as `build` does, with missing files as faults.

        Raises:
            DataError: ``dataset.json`` or `folds` is not there or can't be used.
        """
        root = Path(self.root).expanduser()
        about = described(
            root,
            "The step decathlon takes a folder in the layout of the Medical Segmentation Decathlon",
        )
        meaning = Meaning(
            self.labels or labels_of(root, about),
            self.ignore,
            self.tolerances,
            on_mismatch=self.on_mismatch,
        )
        fold_of = {} if self.folds is None else _folds(root / self.folds)
        patterns = () if self.group_pattern is None else compiled(self.group_pattern)
        samples, faults = [], []
        for image, mask in _pairs(root, about):
            missing = [path for path in (image, mask) if not (root / path).is_file()]
            if missing:
                faults.append(
                    Fault(
                        kind="missing",
                        message=f"{root / missing[0]}, which {DESCRIPTION} lists, is not there.",
                        sample=image,
                        path=str(root / missing[0]),
                    )
                )
                continue
            if self.folds is not None and image not in fold_of:
                raise DataError(f"{root / self.folds} has no fold for {image!r}.")
            samples.append(
                Sample(
                    id=image,
                    image=str(root / image),
                    label=meaning.label(str(root / mask)),
                    group=group_of(patterns, image),
                    split="test" if fold_of.get(image) == self.test_fold else None,
                )
            )
        notes = []
        if fold_of and not any(sample.split for sample in samples):
            raise DataError(f"{root / str(self.folds)} has no image of the fold {self.test_fold}.")
        if not patterns:
            notes.append(without_patients(len(samples), "volume"))
        samples.sort(key=lambda sample: sample.id)
        return Dataset(
            samples=samples,
            task=meaning.task,
            reading=Reading(channels="auto"),
            notes=tuple(notes),
            faults=faults,
        )


def _pairs(root: Path, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The image and the mask of each pair."""
    if not isinstance(about.get("training"), list):
        raise DataError(
            f"{root / DESCRIPTION} has no list 'training' with an image and a label for each pair."
        )
    pairs = []
    for number, one in enumerate(about["training"]):
        image, mask = (
            (one.get("image"), one.get("label")) if isinstance(one, dict) else (None, None)
        )
        if not isinstance(image, str) or not isinstance(mask, str):
            raise DataError(
                f"{root / DESCRIPTION}, training[{number}]: {one!r} has no image and label."
            )
        pairs.append((image.removeprefix("./"), mask.removeprefix("./")))
    return pairs


def _folds(path: Path) -> dict[str, int]:
    """The fold of each image."""
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        return {row["image"].removeprefix("./"): int(row["fold"]) for row in rows}
    except OSError as error:
        raise DataError(f"dataset.folds: {path} can't be read: {error.strerror}.") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"dataset.folds: {path} must have the columns image and fold, and a whole number for "
            "each fold."
        ) from error
