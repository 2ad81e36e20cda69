"""The data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from medpipe.plugin import (
    DataError,
    Dataset,
    DatasetStep,
    Fault,
    FolderListing,
    Reading,
    Sample,
    Task,
    dicom_groups,
    find_images,
    source_of,
)
from medpipe_dicom_patients.labels import classes_of_patients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.plugin import DicomIdentity, FaultKind, FoundImages


@attrs.frozen(kw_only=True)
class DicomPatients(DatasetStep):
    """DICOM series below a folder; the series of a patient stay in one split.

    The header says which files are a series, and whose it is (PatientID), wherever the files lie
    and whatever they are called. The class of a series is that of its patient in a CSV file, or
    its StudyDescription.

    Attributes:
        root: The folder.
        labels: A CSV file with a row for each patient. None: StudyDescription is the class.
        patient_column: The column with the PatientID.
        label_column: The column with the class.
        modality: Take only series of this Modality, such as ``CT``. None: all.
    """

    name: ClassVar[str] = "dicom_patients"
    root: Path
    labels: Path | None = None
    patient_column: str = "patient"
    label_column: str = "label"
    modality: str | None = None

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Two series of each of six patients, and a table of their classes."""
        from medpipe_dicom_patients.drawn import draw_patients

        table = draw_patients(folder / "series", patients=6)
        return [cls(root=folder / "series", labels=table), cls(root=folder / "series")]

    def build(self) -> Dataset:
        """List the series, sorted by id.

        Raises:
            DataError: A file, a header or the table is wrong, or a patient has no class.
        """
        return self._listed(None)

    def build_with_faults(self) -> Dataset:
        """List the series as `build` does, with what is wrong with single ones as faults.

        Raises:
            DataError: There are no series, or the table is wrong.
        """
        faults: list[Fault] = []
        return attrs.evolve(self._listed(faults), faults=faults)

    def _listed(self, faults: list[Fault] | None) -> Dataset:
        listing = FolderListing(faults=faults)
        listing.look_below(str(self.root))
        found = find_images(listing, unit="series")
        series = {
            id_: identity
            for id_, identity in found.identities.items()
            if self.modality in (None, identity.modality)
        }
        if not series:
            wanted = f" with the Modality {self.modality}" if self.modality else ""
            more = "".join(f"\n{fault}" for fault in (faults or ())[:10])
            raise DataError(f"dataset.root: {self.root} holds no DICOM series{wanted}.{more}")
        of_patient = self._classes()
        class_of, wrong = self._classes_of(series, found, of_patient)
        if wrong and faults is None:
            raise DataError("\n".join(str(fault) for fault in wrong[:10]))
        if faults is not None:
            faults += wrong
        groups = dicom_groups(series, whole_series=True)
        names = sorted({*class_of.values(), *(of_patient or {}).values()})
        samples = [
            Sample(
                id=id_,
                image=found.images[id_],
                label=names.index(name),
                group=groups.group_of.get(id_),
                extra={"modality": series[id_].modality or ""},
            )
            for id_, name in sorted(class_of.items())
        ]
        return Dataset(
            samples=samples,
            task=Task(names=names),
            reading=Reading(),
            notes=(*found.notes, *self._left_out(found, series), *groups.notes),
        )

    def _classes(self) -> dict[str, str] | None:
        if self.labels is None:
            return None
        return classes_of_patients(
            self.labels, patient_column=self.patient_column, label_column=self.label_column
        )

    def _classes_of(
        self,
        series: Mapping[str, DicomIdentity],
        found: FoundImages,
        of_patient: Mapping[str, str] | None,
    ) -> tuple[dict[str, str], list[Fault]]:
        """The class of each series, and what is wrong with those that have none."""
        class_of: dict[str, str] = {}
        faults: list[Fault] = []
        for id_, identity in series.items():
            path = source_of(found.images[id_]) or ""

            def refuse(
                kind: FaultKind, message: str, remedy: str, *, id_: str = id_, path: str = path
            ) -> None:
                faults.append(
                    Fault(kind=kind, message=message, sample=id_, path=path, remedy=remedy)
                )

            if identity.patient is None:
                refuse("group", f"The series of {path} has no PatientID.", "Write its PatientID.")
            elif of_patient is None and identity.study_description is None:
                refuse(
                    "label",
                    f"The series of {path} has no StudyDescription.",
                    "Give the patients' classes in a file by dataset.labels.",
                )
            elif of_patient is None:
                class_of[id_] = identity.study_description or ""
            elif identity.patient not in of_patient:
                refuse(
                    "label",
                    f"{self.labels} has no row for the patient {identity.patient!r} of {path}.",
                    f"Add a row to {self.labels}.",
                )
            else:
                class_of[id_] = of_patient[identity.patient]
        return class_of, faults

    def _left_out(self, found: FoundImages, series: Mapping[str, object]) -> list[str]:
        notes: list[str] = []
        if others := len(found.images) - len(found.identities):
            notes.append(f"{others} images that are not DICOM were passed over.")
        if others := len(found.identities) - len(series):
            notes.append(f"{others} series of another Modality than {self.modality} were left out.")
        return notes
