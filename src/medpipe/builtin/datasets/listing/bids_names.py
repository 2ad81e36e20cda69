"""Names of files in BIDS: ``sub-01_ses-1_T1w.nii.gz``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.builtin.datasets.listing.wording import looked_in
from medpipe.plugin import DataError, FolderListing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medpipe.plugin import Fault

SUFFIXES = (".nii.gz", ".nii")


@attrs.frozen(kw_only=True)
class BidsName:
    """A file, and what its name says.

    Attributes:
        id: Its path below the folder, with ``/``.
        path: Its path.
        entities: Such as ``{"sub": "01", "ses": "1"}``.
        ending: What stands before the dot: ``T1w``.
    """

    id: str
    path: str
    entities: Mapping[str, str]
    ending: str

    @property
    def entities_text(self) -> str:
        """``sub-01_ses-1``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())


def bids_files(
    folder: Path, faults: list[Fault], *, subjects_alone: bool = False
) -> list[BidsName]:
    """The NIfTI files below a folder whose names are of a subject, sorted.

    Args:
        folder: The folder.
        faults: Collects what can't be accessed.
        subjects_alone: Whether to look only in its folders ``sub-...``.

    Raises:
        DataError: The folder is not there.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}{looked_in(folder)}.")
    listing = FolderListing(faults=faults)
    if subjects_alone:
        for below in sorted(folder.glob("sub-*")):
            if below.is_dir():
                listing.look_below(str(below), below.name)
    else:
        listing.look_below(str(folder), "")
    names = (_named(id_, path) for id_, path in sorted(listing.files.items()))
    return [name for name in names if name is not None]


def _named(id_: str, path: str) -> BidsName | None:
    """What a name says; None where it is no NIfTI file of a subject."""
    for suffix in SUFFIXES:
        if id_.endswith(suffix):
            *parts, ending = id_.rpartition("/")[2][: -len(suffix)].split("_")
            entities = dict(part.split("-", 1) for part in parts if "-" in part)
            if "sub" in entities and "-" not in ending:
                return BidsName(id=id_, path=path, entities=entities, ending=ending)
    return None
