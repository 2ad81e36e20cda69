"""Groups from DICOM headers: the patient, or else the study or the series."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medpipe.data.readers.dicom.identity import DicomIdentity

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
NAMED = 3
"""How many PatientIDs a sentence names."""


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
    beginning: DicomGroup = "patient",
    whole_series: bool = False,
    setting: str | None = None,
) -> DicomGroups:
    """Group images by their DICOM headers.

    An identifier that is blank, a placeholder ("ANON", "0", "xxx") or the same in all images is
    not used; then the next level is.

    Args:
        identities: The identifiers in each image's header.
        beginning: The first level to try; ``"none"``: nothing is grouped.
        whole_series: Whether each image is a series, so that series need not be groups.
        setting: The parameter by which users choose `beginning`, such as
            ``dataset.dicom_group``; the notes name it.
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
    notes = [
        *_made_from(group_of, level_of, len(identities), f" ({setting})" if setting else ""),
        *_several_patients(identities, keys.get("patient", {})),
    ]
    return DicomGroups(group_of=group_of, keyword_of=keyword_of, notes=tuple(notes))


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
    group_of: Mapping[str, str], level_of: Mapping[str, _Level], images: int, named: str
) -> Iterable[str]:
    for level in _ORDER:
        ids = [id_ for id_, found in level_of.items() if found == level]
        if not ids:
            continue
        number = len({group_of[id_] for id_ in ids})
        noun = _NOUNS[level][number != 1]
        yield (
            f"The groups of {_images(len(ids))} are made from {_KEYWORDS[level]}: "
            f"{number:,} {noun}{named}."
        )
    rest = images - len(level_of)
    if rest:
        one = rest == 1
        yield (
            f"The {'header' if one else 'headers'} of {_images(rest)} "
            f"{'names' if one else 'name'} no patient: "
            f"{'it is a group of its' if one else 'each is a group of its'} own."
        )


def _several_patients(
    identities: Mapping[str, DicomIdentity], people: Mapping[str, str]
) -> Iterable[str]:
    """Sentences on studies and series with several PatientIDs."""
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
                f"{', '.join(map(repr, sorted(found[several[0]])[:NAMED]))}"
                f"{' for one' if len(several) > 1 else ''}: "
                f"a {level} is of one patient, so find out which PatientID is right."
            )


def _images(number: int) -> str:
    return f"{number:,} DICOM image{'s' * (number != 1)}"
