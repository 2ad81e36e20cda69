"""Groups from DICOM headers: the patient, or else the study or the series."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.spellings import alike
from medpipe.builtin.datasets.listing.wording import NAMED, listed
from medpipe.plugin import DataError, DicomGroups, Fault, dicom_groups, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medpipe.plugin import DicomIdentity, Sample

DicomGroup: TypeAlias = Literal["patient", "study", "series", "none"]


def header_groups(
    identities: Mapping[str, DicomIdentity], *, beginning: DicomGroup, whole_series: bool
) -> DicomGroups:
    """Group images by their headers, with a note on PatientIDs that look alike.

    Args:
        identities: The identifiers in each image's header.
        beginning: The parameter ``dicom_group``.
        whole_series: Whether each image is a series.
    """
    groups = dicom_groups(
        identities,
        beginning=beginning,
        whole_series=whole_series,
        setting="dataset.dicom_group",
    )
    people = {key for key, keyword in groups.keyword_of.items() if keyword == "PatientID"}
    same = alike(people)
    if not same:
        return groups
    named = "; ".join(listed(one) for one in same[:NAMED])
    note = (
        "Some PatientIDs differ only in case, in spaces or in how a number is written, and "
        f"are taken for several patients: {named}."
    )
    return attrs.evolve(groups, notes=(*groups.notes, note))


def with_header_groups(
    samples: list[Sample], groups: DicomGroups, faults: list[Fault] | None, *, given: bool
) -> tuple[list[Sample], list[str]]:
    """The samples with the groups of their headers where they have none.

    Args:
        samples: The samples, some with groups.
        groups: The groups from the headers.
        faults: Collects images of one patient in several groups. None: they are an error.
        given: Whether groups are also given by a pattern or a column.

    Raises:
        DataError: Given groups divide a patient.
    """
    if not groups.group_of:
        return samples, list(groups.notes) if not given else []
    by_group: dict[str, str] = {}
    if given:
        have = {sample.id: sample.group for sample in samples}
        paths = {sample.id: source_of(sample.image) or "" for sample in samples}
        wrong = group_conflicts(groups, have, paths.__getitem__)
        if wrong and faults is None:
            raise DataError(f"{wrong[0]}")
        if faults is not None:
            faults += wrong
        for id_, key in groups.group_of.items():
            group = have.get(id_)
            if group is not None:
                by_group[key] = group
    found = []
    for sample in samples:
        said = groups.group_of.get(sample.id)
        if sample.group is None and said is not None:
            # A name that can't be confused with a given group.
            own = f"{groups.keyword_of[said]} {said}" if given else said
            sample = attrs.evolve(sample, group=by_group.get(said, own))
        found.append(sample)
    return found, list(groups.notes) if not given else []


def series_twice(identities: Mapping[str, DicomIdentity], paths: Mapping[str, str]) -> list[Fault]:
    """Faults for images that are parts of the same series."""
    found = {id_: one.series for id_, one in identities.items() if one.series is not None}
    counts = Counter(found.values())
    if len(counts) < 2 and len(found) > 2:  # the UID is not used
        return []
    members: dict[str, list[str]] = {}
    for id_, uid in found.items():
        members.setdefault(uid, []).append(id_)
    return [
        Fault(
            kind="id",
            message=f"{id_!r} and {other!r} hold one series, {uid}.",
            sample=id_,
            path=paths[id_],
            remedy="Name one folder that holds all files of the series, or set dataset.dicom_group "
            '= "none" if the headers are wrong.',
        )
        for id_, uid in found.items()
        if counts[uid] > 1
        for other in [members[uid][members[uid][0] == id_]]
    ]


def group_conflicts(
    groups: DicomGroups, given: Mapping[str, str | None], path_of: Callable[[str], str]
) -> list[Fault]:
    """Faults for images of one patient (or study, series) that are in several given groups.

    Args:
        groups: The groups from the headers.
        given: The group of each image; None: one of its own.
        path_of: The file of an image.
    """
    members: dict[str, list[str]] = {}
    for id_, key in groups.group_of.items():
        if id_ in given:
            members.setdefault(key, []).append(id_)
    faults = []
    for key, ids in members.items():
        found = {given[id_] for id_ in ids} - {None}
        if len(found) < 2:
            continue
        what = f"{groups.keyword_of[key]} {key!r}"
        several = listed(sorted(map(str, found))[:NAMED])
        more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
        faults += [
            Fault(
                kind="group",
                message=f"The sample {id_!r} has the {what}, whose images are in {len(found):,} "
                f"groups: {several}{more}.",
                sample=id_,
                path=path_of(id_),
                remedy="Give all images of one patient the same group, or set "
                'dataset.dicom_group = "none" if the headers are wrong.',
            )
            for id_ in ids
        ]
    return faults
