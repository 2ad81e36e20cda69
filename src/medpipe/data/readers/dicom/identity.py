"""Patient, study, series, instance and modality from DICOM headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import Fault
from medpipe.system.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom.dataset import Dataset

TAGS = (
    0x00080005,  # SpecificCharacterSet, by which PatientID is decoded
    0x00080018,
    0x00080060,
    0x00081030,
    0x00100020,
    0x00100021,
    0x0020000D,
    0x0020000E,
)
"""The elements that are read: SOPInstanceUID, Modality, StudyDescription, PatientID, its issuer,
study, series."""
NAMED = 3
"""How many files a sentence names."""
_TRUST = (
    "If DICOM's identifiers are wrong, set dataset.dicom_group = "
    '"none": then a series lies in one folder.'
)


@attrs.frozen(kw_only=True)
class DicomIdentity:
    """What a file's header says of patient, study, series and instance; None: blank or absent.

    Attributes:
        patient: PatientID, without invisible characters.
        issuer: IssuerOfPatientID: who assigned the PatientID.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        modality: Modality, such as ``CT`` or ``MR``.
        study_description: StudyDescription, such as ``CT Thorax``.
    """

    patient: str | None = None
    issuer: str | None = None
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    modality: str | None = None
    study_description: str | None = None


@attrs.frozen(kw_only=True)
class Known:
    """Files compared by their SOPInstanceUID.

    Attributes:
        ids: The files without copies.
        conflicts: Pairs of files that have one UID and two contents, by the second.
        notes: Sentences about both.
    """

    ids: Sequence[str]
    conflicts: Mapping[str, str]
    notes: tuple[str, ...] = ()


def identity_of(dataset: Dataset) -> DicomIdentity:
    """What the header says."""
    return DicomIdentity(
        patient=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        instance=_text(dataset, "SOPInstanceUID"),
        modality=_text(dataset, "Modality"),
        study_description=_text(dataset, "StudyDescription"),
    )


def _text(dataset: Dataset, keyword: str) -> str | None:
    try:
        value: Any = dataset.get(keyword)
    except Exception:  # bytes that no character set explains say nothing
        return None
    if value is None:
        return None
    if not isinstance(value, str):  # several values, which one backslash or more divide
        value = "\\".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return visible(value) or None


def without_copies(
    files: Mapping[str, str], series_of: Mapping[str, object], found: Mapping[str, DicomIdentity]
) -> Known:
    """Compare files that have one SOPInstanceUID, which is globally unique.

    Args:
        files: Path by id.
        series_of: What the files of one image share, by id; files that are images themselves have
            no copies.
        found: Their headers.
    """
    by_uid: dict[str, list[str]] = {}
    for id_, identity in found.items():
        if identity.instance is not None:
            by_uid.setdefault(identity.instance, []).append(id_)
    constant = len(by_uid) == 1 and len(found) > 2  # it says nothing
    if constant or len(by_uid) == len(found):
        return Known(ids=list(found), conflicts={})
    copies: list[str] = []
    conflicts: dict[str, str] = {}
    apart: list[tuple[str, str]] = []
    for first, *others in by_uid.values():
        for other in others:
            same = _same_content(files[first], files[other])
            within = series_of.get(first) is not None and series_of[first] == series_of[other]
            if same and within:
                copies.append(other)
            elif same is False and within:
                conflicts[other] = first
            elif same is False:
                apart.append((first, other))
    notes = []
    if copies:
        one = len(copies) == 1
        notes.append(
            f"{len(copies):,} DICOM {'file is a copy' if one else 'files are copies'} of others in "
            f"the same series and {'was' if one else 'were'} left out, {min(copies)!r}"
            f"{'' if one else ' for one'}."
        )
    if apart:
        first, other = min(apart)
        several = len(apart) > 1
        notes.append(
            f"{len(apart):,} DICOM file{'s have' if several else ' has'} the SOPInstanceUID of "
            f"another file and another content, {other!r} that of {first!r}"
            f"{' for one' if several else ''}. One UID names one image: find out which is right."
        )
    left_out = frozenset(copies)
    return Known(
        ids=[id_ for id_ in found if id_ not in left_out], conflicts=conflicts, notes=tuple(notes)
    )


def _same_content(one: str, other: str) -> bool | None:
    """Whether two files hold the same elements; None where one can't be read."""
    from pydicom import dcmread

    try:
        contents = []
        for path in (one, other):
            with open(path, "rb") as file:  # noqa: PTH123
                contents.append(file.read())
        return contents[0] == contents[1] or bool(dcmread(one) == dcmread(other))
    except Exception:  # what is wrong with it is reported when its pixels are read
        return None


def series_faults(
    groups: Mapping[str, Sequence[str]],
    files: Mapping[str, str],
    found: Mapping[str, DicomIdentity],
    conflicts: Mapping[str, str],
    apart: Callable[[str], object] | None,
    *,
    trusted: bool,
) -> list[Fault]:
    """Series that can't be one image, by their ids; `trusted`: whether to compare PatientID."""
    faults = []
    for id_, ids in groups.items():
        uid = found[ids[0]].series
        problem = _mixed(ids, files, found, conflicts, apart, trusted=trusted)
        if problem:
            faults.append(
                Fault(
                    kind="id",
                    message=f"The series {uid} {problem[0]}.",
                    remedy=problem[1],
                    sample=id_,
                    path=files[ids[0]],
                )
            )
    return faults


def _mixed(
    ids: Sequence[str],
    files: Mapping[str, str],
    found: Mapping[str, DicomIdentity],
    conflicts: Mapping[str, str],
    apart: Callable[[str], object] | None,
    *,
    trusted: bool,
) -> tuple[str, str] | None:
    """Why these files are not one image, and what to do; None: they are."""
    places: dict[object, str] = {}
    people: dict[object, str] = {}
    for id_ in ids:
        if apart is not None:
            places.setdefault(apart(id_), id_)
        if trusted and found[id_].patient is not None:
            people.setdefault(found[id_].patient, id_)
    if len(places) > 1:
        one, other = list(places.values())[:2]
        return (
            f"lies in folders of two classes or splits: {files[one]} and {files[other]}",
            f"One series is one image: put all its files into one of them. {_TRUST}",
        )
    if len(people) > 1:
        (patient, one), (another, other) = list(people.items())[:2]
        return (
            f"is of two patients, {patient!r} in {files[one]} and {another!r} in {files[other]}",
            f"Correct PatientID or SeriesInstanceUID. {_TRUST}",
        )
    for other in ids:
        if other in conflicts:
            return (
                "holds one SOPInstanceUID with two contents: "
                f"{files[conflicts[other]]} and {files[other]}",
                "Remove the wrong one.",
            )
    return None
