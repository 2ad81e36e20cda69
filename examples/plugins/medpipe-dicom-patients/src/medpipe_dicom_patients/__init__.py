"""A plugin of medpipe with a data set of DICOM series by patient."""

from medpipe.plugin import DatasetStep, Step, hookimpl
from medpipe_dicom_patients.dataset import DicomPatients

__all__ = ["STEPS", "DicomPatients"]

STEPS: list[type[Step]] = [DicomPatients]


@hookimpl
def medpipe_datasets() -> list[type[DatasetStep]]:
    """Offer the data set."""
    return [DicomPatients]
