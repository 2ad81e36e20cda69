"""Groups from DICOM headers: the patient, or else the study or the series."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.spellings import alike
from medpipe.builtin.datasets.listing.wording import NAMED, counted, listed
from medpipe.plugin import DataError, Fault, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from medpipe.plugin import DicomIdentity, Sample

DicomGroup: TypeAlias = Literal["patient", "study", "series", "none"]
_Level: TypeAlias = Literal["patient", "study", "series"]
_KEYWORDS: Mapping[_Level, str] = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
}
_NOUNS: Mapping[_Level, tuple[str, str]] = {
    "patient": ("patient", "patients"),
    "study": ("study", "studies"),
    "series": ("series", "series"),
}
_ORDER: tuple[_Level, ...] = ("patient", "study", "series")
_NO_ONE = frozenset(
    {
        *("anon", "anonym", "anonymous", "anonymized", "anonymised", "anonymize", "anonymise"),
        *("deidentified", "de-identified", "deid", "removed", "redacted", "unknown", "none"),
        *("null", "nil", "nan", "na", "n/a", "not available", "no id", "noid", "patient", "test"),
        *("patientid", "patient id", "id", "empty", "blank", "undefined", "unspecified", "dummy"),
    }
)
"""Placeholders that anonymisation programs write for a PatientID."""


@attrs.frozen(kw_only=True)
class DicomGroups:
    """Groups from DICOM headers.

    Attributes:
        group_of: The group of each id; ids without a usable identifier are left out.
        keyword_of: The DICOM keyword that each group is made from.
        notes: Sentences on how groups were made, and on identifiers that look alike.
    """

    group_of: Mapping[str, str] = attrs.field(factory=dict)
    keyword_of: Mapping[str, str] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()


def dicom_groups(
    identities: Mapping[str, DicomIdentity],
    *,
    beginning: DicomGroup,
    whole_series: bool,
) -> DicomGroups:
    """Group images by their DICOM headers.

    An identifier that is blank, a placeholder ("ANON", "0", "xxx") or the same in all images is
    not used; then the next level is.

    Args:
        identities: The identifiers in each image's header.
        beginning: The first level to try; ``"none"``: nothing is grouped.
        whole_series: Whether each image is a series, so that series need not be groups.
    """
    if beginning == "none" or not identities:
        return DicomGroups()
    levels: list[_Level] = ["patient", "study"] if whole_series else ["patient", "study", "series"]
    levels = levels[_ORDER.index(beginning) :]
    keys = {level: _keys(identities, level) for level in levels}
    group_of: dict[str, str] = {}
    level_of: dict[str, _Level] = {}
    for level in levels:
        # An image without a PatientID may share its study or series with one that has it.
        above: dict[str, set[str]] = {}
        for id_, key in keys[level].items():
            if id_ in group_of:
                above.setdefault(key, set()).add(group_of[id_])
        for id_, key in keys[level].items():
            if id_ not in group_of:
                known = above.get(key, set())
                group_of[id_] = next(iter(known)) if len(known) == 1 else key
                level_of[id_] = level
    keyword_of = {group_of[id_]: _KEYWORDS[level] for id_, level in reversed(level_of.items())}
    notes = [*_made_from(group_of, level_of, len(identities)), *_oddities(identities, keys)]
    return DicomGroups(group_of=group_of, keyword_of=keyword_of, notes=tuple(notes))


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


def _keys(identities: Mapping[str, DicomIdentity], level: _Level) -> dict[str, str]:
    """The identifier of each image on one level, where it can be used."""
    if level != "patient":
        found = {
            id_: value
            for id_, identity in identities.items()
            if (value := identity.study if level == "study" else identity.series) is not None
        }
        return {} if _says_nothing(found.values(), len(identities)) else found
    people = {
        id_: (identity.issuer, identity.patient)
        for id_, identity in identities.items()
        if identity.patient is not None and not _is_no_one(identity.patient)
    }
    if _says_nothing(people.values(), len(identities)):
        return {}
    issuers: dict[str, set[str]] = {}
    for issuer, patient in people.values():
        issuers.setdefault(patient, set()).update([issuer] if issuer else [])
    several = {patient for patient, names in issuers.items() if len(names) > 1}
    return {
        id_: f"{issuer}/{patient}" if patient in several and issuer else patient
        for id_, (issuer, patient) in people.items()
    }


def _says_nothing(values: Iterable[object], images: int) -> bool:
    """Whether all images have the same value."""
    counts = Counter(values)
    return len(counts) < 2 and images > 1 and sum(counts.values()) == images


def _is_no_one(patient: str) -> bool:
    """Whether a PatientID is a placeholder: a known word, or only zeros or x."""
    plain = patient.casefold().strip(" ^_-.*")
    return not plain or plain in _NO_ONE or set(plain) in ({"0"}, {"x"})


def _made_from(
    group_of: Mapping[str, str], level_of: Mapping[str, _Level], images: int
) -> Iterable[str]:
    for level in _ORDER:
        ids = [id_ for id_, found in level_of.items() if found == level]
        if not ids:
            continue
        number = len({group_of[id_] for id_ in ids})
        noun = _NOUNS[level][number != 1]
        yield (
            f"The groups of {counted(len(ids), 'DICOM image')} are made from {_KEYWORDS[level]}: "
            f"{number:,} {noun} (dataset.dicom_group)."
        )
    rest = images - len(level_of)
    if rest:
        one = rest == 1
        yield (
            f"The {'header' if one else 'headers'} of {counted(rest, 'DICOM image')} "
            f"{'names' if one else 'name'} no patient: "
            f"{'it is a group of its' if one else 'each is a group of its'} own."
        )


def _oddities(
    identities: Mapping[str, DicomIdentity], keys: Mapping[_Level, Mapping[str, str]]
) -> Iterable[str]:
    """Sentences on PatientIDs that look alike, and on studies with several PatientIDs."""
    people = keys.get("patient", {})
    same = alike(people.values())
    if same:
        named = "; ".join(listed(one) for one in same[:NAMED])
        yield (
            "Some PatientIDs differ only in case, in spaces or in how a number is written, and "
            f"are taken for several patients: {named}."
        )
    for level in _ORDER[1:]:
        found: dict[str, set[str]] = {}
        for id_, patient in people.items():
            identity = identities[id_]
            uid = identity.study if level == "study" else identity.series
            if uid is not None:
                found.setdefault(uid, set()).add(patient)
        several = sorted(uid for uid, patients in found.items() if len(patients) > 1)
        if several and len(found) > 1:
            yield (
                f"{len(several):,} {_KEYWORDS[level]}{'s have' if len(several) > 1 else ' has'} "
                f"several PatientIDs, {several[0]!r} "
                f"{listed(sorted(found[several[0]])[:NAMED])}"
                f"{' for one' if len(several) > 1 else ''}: "
                f"a {level} is of one patient, so find out which PatientID is right."
            )
