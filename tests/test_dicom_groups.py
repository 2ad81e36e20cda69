"""`dicom_groups` of `medpipe.plugin`, for the data sets of plugins."""

from __future__ import annotations

import pytest

from medpipe.plugin import DicomIdentity, dicom_groups


def identities(**patients: str | None) -> dict[str, DicomIdentity]:
    return {
        id_: DicomIdentity(patient=patient, study=f"1.{id_[0]}", series=f"1.{id_}")
        for id_, patient in patients.items()
    }


def test_images_of_a_patient_are_a_group() -> None:
    found = dicom_groups(identities(a1="p", a2="p", b1="q"))
    assert found.group_of == {"a1": "p", "a2": "p", "b1": "q"}
    assert found.keyword_of == {"p": "PatientID", "q": "PatientID"}


@pytest.mark.parametrize("placeholder", [None, "ANON", "000", "xxx"])
def test_without_a_patient_it_is_the_study(placeholder: str | None) -> None:
    some = identities(a1=placeholder, a2=placeholder, b1="q", c1=placeholder)
    found = dicom_groups(some, whole_series=True)
    assert found.group_of == {"a1": "1.a", "a2": "1.a", "b1": "q", "c1": "1.c"}
    assert found.keyword_of["1.a"] == "StudyInstanceUID"


def test_one_id_of_two_issuers_is_two_patients() -> None:
    some = {
        id_: DicomIdentity(patient="7", issuer=issuer, study=f"1.{id_}")
        for id_, issuer in (("a", "north"), ("b", "south"))
    } | {"c": DicomIdentity(patient="8", study="1.c")}
    found = dicom_groups(some, whole_series=True)
    assert found.group_of == {"a": "north/7", "b": "south/7", "c": "8"}


def test_notes_name_a_setting_where_there_is_one() -> None:
    some = identities(a1="p", b1="q")
    (plain,) = dicom_groups(some).notes
    (named,) = dicom_groups(some, setting="dataset.by").notes
    assert plain == "The groups of 2 DICOM images are made from PatientID: 2 patients."
    assert named == plain.replace("patients.", "patients (dataset.by).")
    assert dicom_groups(some, beginning="none").group_of == {}
