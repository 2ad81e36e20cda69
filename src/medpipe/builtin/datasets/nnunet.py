"""Data sets in the raw layout of nnU-Net, version 2 or 1."""

from __future__ import annotations

import json
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
    several,
    whole,
    without_patients,
)
from medpipe.builtin.datasets.listing.wording import looked_in
from medpipe.plugin import DataError, Dataset, Fault, FolderListing, Reading, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

PICTURES = (".png", ".bmp", ".tif", ".tiff")
IGNORE = "ignore"
"""The name by which version 2 says what counts nowhere."""


@attrs.frozen(kw_only=True)
class NnUNet(OfMasks):
    r"""Images and masks in the raw layout of nnU-Net: ``Dataset001_Name`` or ``Task001_Name``.

    ``imagesTr/CASE_0000.nii.gz``, ``CASE_0001.nii.gz`` and so on are the channels of a sample,
    ``labelsTr/CASE.nii.gz`` is its mask, and its id is ``CASE``. Channels, structures and the
    suffix are those of ``dataset.json``; of version 2 also regions that overlap, and the label
    ``ignore``. Cases that lack a channel or a mask, and masks without images, are named. Case names
    need not tell patients: without a `group_pattern` each case is a group of its own.

    Attributes:
        root: The folder with ``dataset.json``.
        labels: The value or values in masks of each structure. None: as ``dataset.json`` says.
        ignore: Values in masks that count nowhere, beside that of the label ``ignore``.
        folds: nnU-Net's ``splits_final.json``, below `root` or elsewhere. None: the library splits.
        test_fold: The fold of `folds` whose cases of ``val`` are the test.
        group_pattern: A regular expression that is searched in each id; what it captures is the
            sample's group (its patient): ``(patient\d+)``. None: each is a group of its own.
    """

    name: ClassVar[str] = "nnunet"

    root: Path
    labels: Structures | None = attrs.field(default=None, validator=are_structures)
    ignore: tuple[MaskValue, ...] = attrs.field(default=(), validator=are_ignored)
    on_mismatch: OnMismatch = "error"
    tolerances: tuple[float, ...] = ()
    folds: Path | None = None
    test_fold: int = attrs.field(default=0, validator=ge(0))
    group_pattern: Patterns | None = attrs.field(default=None, validator=optional(captures))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Four cases of two channels with masks of two structures."""
        from medpipe.builtin.datasets.drawn import draw_volume, write_json

        for number in range(4):
            case, mask = f"box_{number}", folder / "labelsTr" / f"box_{number}.nii.gz"
            draw_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", number, mask=mask)
            draw_volume(folder / "imagesTr" / f"{case}_0001.nii.gz", number, sign=-1)
        about = {
            "channel_names": {"0": "T1", "1": "T2"},
            "labels": {"background": 0, "shell": 1, "core": 2},
            "numTraining": 4,
            "file_ending": ".nii.gz",
        }
        write_json(folder / DESCRIPTION, about)
        return [cls(root=folder)]

    def build(self) -> Dataset:
        """List the cases, sorted by id.

        Raises:
            DataError: ``dataset.json``, a folder or `folds` is not there or can't be used, or cases
                are not whole.
        """
        return whole(self.build_with_faults())

    def build_with_faults(self) -> Dataset:
        """List the cases as `build` does, with those that are not whole as faults.

        Raises:
            DataError: ``dataset.json``, a folder or `folds` is not there or can't be used.
        """
        root = Path(self.root).expanduser()
        about = described(
            root, "The step nnunet takes a folder in the raw layout of nnU-Net (its nnUNet_raw)"
        )
        labels, ignore = self._structures(root, about)
        meaning = Meaning(labels, ignore, self.tolerances, on_mismatch=self.on_mismatch)
        faults: list[Fault] = []
        end = str(about.get("file_ending", ".nii.gz"))
        images = _files(root / "imagesTr", end, faults)
        masks = _files(root / "labelsTr", end, faults)
        channels = _channels(root, about)
        last = {stem[-5:] for stem in images}
        if end in PICTURES and last == {f"_{channels[0]:04d}"}:
            channels = channels[:1]  # the colours of a picture are in one file
        tested = self._tested(root)
        patterns = () if self.group_pattern is None else compiled(self.group_pattern)
        cases = {stem[:-5] for stem in images if stem[-5:-4] == "_" and stem[-4:].isdecimal()}
        samples = []
        for case in sorted({*cases, *masks}):
            files = [images.get(f"{case}_{channel:04d}") for channel in channels]
            lacking = [
                root / "imagesTr" / f"{case}_{channel:04d}{end}"
                for channel, file in zip(channels, files, strict=True)
                if file is None
            ]
            if case not in masks:
                lacking.append(root / "labelsTr" / f"{case}{end}")
            if lacking:
                message = f"The case {case!r} is not whole: there is no {lacking[0]}."
                faults.append(
                    Fault(kind="missing", message=message, sample=case, path=str(lacking[0]))
                )
                continue
            there = [file for file in files if file is not None]
            samples.append(
                Sample(
                    id=case,
                    image=there[0] if len(there) == 1 else tuple(there),
                    label=meaning.label(masks[case]),
                    group=group_of(patterns, case),
                    split="test" if case in tested else None,
                )
            )
        if not samples and not faults:
            raise DataError(
                f"{root / 'imagesTr'} holds no image whose name ends in _0000{end}. The step "
                "nnunet takes the raw layout of nnU-Net; for other names use image_masks."
            )
        if tested and not any(sample.split for sample in samples):
            raise DataError(
                f"{self.folds} has no case of this data set in fold {self.test_fold}, such as "
                f"{min(tested)!r}."
            )
        notes = []
        if not patterns:
            notes.append(without_patients(len(samples), "case"))
        return Dataset(
            samples=samples,
            task=meaning.task,
            reading=Reading(channels="auto"),
            notes=notes,
            faults=faults,
        )

    def _structures(
        self, root: Path, about: Mapping[str, Any]
    ) -> tuple[Structures, tuple[MaskValue, ...]]:
        """The structures, and the values that count nowhere."""
        if self.labels is not None:
            return self.labels, self.ignore
        labels = dict(labels_of(root, about))
        return labels, (*self.ignore, *several(labels.pop(IGNORE, ())))

    def _tested(self, root: Path) -> frozenset[str]:
        """The cases of the fold that is the test."""
        if self.folds is None:
            return frozenset()
        path = root / Path(self.folds).expanduser()
        try:
            folds = json.loads(path.read_text("utf-8-sig"))
            cases = [str(case) for case in folds[self.test_fold]["val"]]
        except OSError as error:
            raise DataError(f"dataset.folds: {path} can't be read: {error.strerror}.") from error
        except IndexError as error:
            raise DataError(
                f"dataset.test_fold is {self.test_fold}, but {path} has {len(folds)} folds, "
                "counted from 0."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"dataset.folds: {path} must be nnU-Net's splits_final.json: a list with 'train' "
                "and 'val' for each fold."
            ) from error
        return frozenset(cases)


def _channels(root: Path, about: Mapping[str, Any]) -> list[int]:
    """The numbers of the channels."""
    given = about.get("channel_names", about.get("modality"))
    try:
        numbers = sorted(int(number) for number in given or {})
    except (TypeError, ValueError):
        numbers = []
    if not numbers:
        raise DataError(
            f"{root / DESCRIPTION} does not number its channels. It needs channel_names (modality "
            'in version 1), such as {"0": "CT"}.'
        )
    return numbers


def _files(folder: Path, end: str, faults: list[Fault]) -> dict[str, str]:
    """The files of a folder by their names without the suffix."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}{looked_in(folder)}.")
    listing = FolderListing(faults=faults)
    listing.look_below(str(folder), "")
    return {id_[: -len(end)]: path for id_, path in listing.files.items() if id_.endswith(end)}
